"""Files of published models on a node: which it waits for, who may have them, and where it gets them.

A manifest is public and names every file by its digest, so a digest is no key. A file goes to nodes alone that say who they are,
with a signed `FileRequest`:

    an edge below this cloud      every file: it serves the model
    a device below this node      what the licence lets a device hold, to whoever holds the licence

Manifests, and blobs that no published model names, go to anybody.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from middleware.errors import PeerFault, Unavailable
from middleware.trust.access import require_active
from middleware.types import Tier
from middleware.wire.message import decode_stored
from middleware.wire.model import FileRequest, decode_model_manifest
from nodes.admission import Licences
from nodes.agent import Agent

LOG = logging.getLogger("drystone")
LOOK_SECONDS: Final = 0.5  # between two looks at the ledger for blobs that nobody knows


class ModelFiles:
    """See the head of the module. `named` maps the digest of each file that a manifest here names to (root, whether a device may
    hold it)."""

    def __init__(self, agent: Agent, licences: Licences) -> None:
        self.agent, self.licences = agent, licences
        self.named: dict[bytes, set[tuple[bytes, bool]]] = {}
        self.known: set[bytes] = set()  # roots whose manifest was read
        self.looked = 0.0  # at the ledger, for a blob that nobody knew

    def _learn(self) -> None:
        """Read the manifests that have come since."""
        for root in self.agent.index.licences.models.keys() - self.known:
            data = self.agent.blobs.get(root)
            if data is None:
                continue
            self.known.add(root)
            manifest = decode_model_manifest(data)
            shared = {one.digest for one in manifest.device_files()}
            for one in manifest.files():
                self.named.setdefault(one.digest, set()).add((root, one.digest in shared))

    def _published(self, digest: bytes) -> bool:
        self._learn()
        return digest in self.agent.index.licences.models or digest in self.named

    def awaits(self, digest: bytes) -> bool:
        """Whether this is the cloud, and a published model lacks this file here: whoever published it may bring it."""
        if self.agent.config.rank is not Tier.CLOUD or not self._published(digest):
            return False
        return not self.agent.blobs.has(digest)

    async def obtain(self, digest: bytes) -> bool:
        """Whether the blob is here, fetched from above if it belongs to a published model."""
        agent = self.agent
        if agent.blobs.has(digest):
            return True
        if agent.link is None:
            return False
        if not self._published(digest) and time.monotonic() - self.looked > LOOK_SECONDS:
            # It may have been published a moment ago; asking again and again costs us nothing.
            self.looked = time.monotonic()
            await agent.view.refresh()
        if not self._published(digest):
            return False
        try:
            await agent.fetch_model_file(digest, agent.limits.blob_bytes)
        except (Unavailable, PeerFault) as error:
            LOG.debug("blob %s of a model is not above either: %s", digest.hex()[:16], error)
            return False
        return True

    async def require_reader(self, digest: bytes, request: bytes) -> None:
        """PeerFault unless whoever sent `request`, the stored frame of a `FileRequest` or nothing, may have this blob."""
        self._learn()
        models = self.named.get(digest)
        if not models:
            return
        if not request:
            raise PeerFault("unlicensed", "a file of a published model: say who asks, with a signed request")
        agent = self.agent
        signed = decode_stored(request, FileRequest, agent.limits)
        message = signed.message
        sender = require_active(agent.index.roster(), message.sender)
        agent.require_signed(signed, sender)
        if sender.parent != agent.id:
            raise PeerFault("wrong-parent", f"node {sender.id} does not stand below this one")
        if message.digest != digest:
            raise PeerFault("mismatch", "the signed request is for another file")
        if sender.tier is Tier.EDGE:
            return
        refused = PeerFault("unlicensed", "this file stays at edges: the licence lets no device hold it")
        for root, shared in sorted(models):
            if not shared:
                continue
            try:
                await self.licences.admit(root, message.user, sender)
                return
            except PeerFault as fault:
                refused = fault
        raise refused
