"""What every node is, whatever its tier: keys, a place on the ledger, a memory, a way to sign and to judge."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import aiohttp

from ledger.calls import Register
from ledger.index import Index
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.policy import Task
from middleware.trust import eip712
from middleware.trust.access import unproven_members
from middleware.trust.keys import AccountKey, NetworkKey, require_message_signature, sign_message, sign_receipt
from middleware.types import ZERO32, Limits, Node, Receipt, Roster, Seen, Status, Tier
from middleware.wire.commitment import Context, pack_name
from middleware.wire.members import decode_members
from middleware.wire.message import M, ReceiptReply, Registration, Signed
from middleware.wire.model import FileRequest
from nodes.chain import ChainView
from nodes.config import Settings
from nodes.http import Meters
from nodes.link import Link
from nodes.store import Store

LOG = logging.getLogger("drystone")
P = ParamSpec("P")
T = TypeVar("T")

SMALL_BYTES = 1 << 18  # below this, work is done in place: handing it to a thread costs more than it saves
REGISTRATION_SECONDS = 3600  # how long a signed registration may be relayed
STEP_SECONDS = 0.2  # between two looks at something that has not happened yet


class Agent:
    """One node's identity and resources; the capabilities of a tier are built on it."""

    def __init__(
        self,
        settings: Settings,
        network: NetworkKey,
        account: AccountKey,
        registry: bytes,
        view: ChainView,
        store: Store,
        session: aiohttp.ClientSession,
        context: Context,
    ) -> None:
        self.settings = settings
        self.config = settings.config
        self.network, self.account, self.registry = network, account, registry
        self.view, self.store, self.context = view, store, context
        self.domain = eip712.Domain(context.chain_id, context.ledger)
        self.limits: Limits = self.config.limits
        self.blobs = store.blobs
        self.meters = Meters()
        self.link = (
            Link(self.config.parent, session, self.limits, self.config.uplink_bytes_per_second)
            if self.config.parent
            else None
        )
        self.pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="work")
        view.remember(store.witness(), store.set_witness, self.depth)
        self.id = 0
        self.state = "starting"
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # an exception of our own

    def fail(self, error: BaseException | None) -> None:
        """A fault of our own ends the process: a supervisor restarts it from what is on disk."""
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)

    @property
    def index(self) -> Index:
        return self.view.index

    @property
    def parent(self) -> Link:
        if self.link is None:
            raise ConfigurationError(f"node {self.config.name} has no parent")
        return self.link

    async def work(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run pure work on `size` bytes: in place when small, on a thread when it would hold up the loop."""
        if size < SMALL_BYTES:
            return function(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.pool, lambda: function(*args, **kwargs))

    # ---------------------------------------------------------------------------------------------------------- signing

    def sequence(self) -> int:
        """Above every number used before, across restarts and (by the clock) across a lost store."""
        return self.store.next_sequence(time.time_ns())

    def sign(self, message: M) -> Signed[M]:
        """The message, signed. PeerFault("overloaded") while the ledger is not the one that this node knew: nothing is
        signed then."""
        if self.view.rewound:
            raise PeerFault("overloaded", self.view.rewound)
        return sign_message(self.context, self.network, message, self.limits)

    def receipt(self, task: int, round: int, index: int, leaf: bytes) -> Signed[ReceiptReply]:
        """The promise that `leaf` is number `index` of the round here. The caller stores it before it is sent."""
        receipt = Receipt(task, round, self.id, index, leaf)
        signature = sign_receipt(self.domain, self.account, receipt)
        return self.sign(ReceiptReply(self.id, self.sequence(), receipt, signature))

    def require_signed(self, signed: Signed[M], node: Node) -> None:
        """PeerFault("forged") unless `node`'s network key signed the message for this ledger."""
        require_message_signature(self.context, node.net_key, signed)

    # ----------------------------------------------------------------------------------------------------------- ledger

    def task(self, number: int) -> Task:
        task = self.index.tasks.get(number)
        if task is None:
            raise PeerFault("wrong-task", f"the ledger knows no task {number}")
        return task

    @property
    def depth(self) -> int:
        """Blocks below the head from which on this node vouches for a block."""
        return max(self.limits.witness_blocks, self.config.finality_blocks)

    def seen(self) -> Seen:
        """The newest block with an entry of ours that is deep enough to vouch for; zeros while there is none."""
        return self.index.witness(self.index.head_block - self.depth)

    async def sound(self) -> None:
        """Return once the ledger has the past that this node saw: at once, or never on one that was rewound."""
        while self.view.rewound:
            await asyncio.sleep(STEP_SECONDS)

    def require_same_past(self, seen: Seen) -> None:
        """PeerFault("mismatch") when another node vouches for a block that this node's ledger does not have."""
        if seen != Seen() and not self.index.holds(seen):
            raise PeerFault(
                "mismatch", f"block {seen.block} is not {seen.hash.hex()[:16]} here: the ledger was rewound or forked"
            )

    def me(self) -> Node | None:
        return self.index.roster().by_key(self.network.public)

    def roster_at(self, block: int) -> Roster:
        return self.index.roster(min(block, self.index.head_block))

    async def join(self, register: Callable[[Register], object] | None) -> None:
        """Be on the ledger and active; register first when needed. `register` sends with this node's own gas."""
        while not await self.view.refresh():
            self.state = "waiting for the ledger"
            await asyncio.sleep(STEP_SECONDS)
        parent = 0
        while self.config.rank is not Tier.CLOUD and parent == 0:
            self.state = f"waiting for the parent at {self.config.parent} to be on the ledger"
            try:
                parent = int(str((await self.parent.describe()).get("id", 0)))
            except Unavailable as error:
                LOG.debug("%s", error)
            if parent == 0:
                await asyncio.sleep(STEP_SECONDS)
        sent_at = float("-inf")
        while True:
            await self.view.refresh()
            await self.learn_lists()
            me = self.me()
            if me is not None and me.status is Status.ACTIVE:
                break
            if me is not None:
                self.state = (
                    f"{me.status.name.lower()}: a registrar admits it with `drystone node admit {self.config.name}`"
                )
            elif not self.config.registers:
                self.state = "waiting for the batch that enrols this node: `drystone node enrol` registers it"
            elif time.monotonic() - sent_at > 5:
                sent_at = time.monotonic()
                self.state = "registering"
                await self._register(parent, register)
            await asyncio.sleep(STEP_SECONDS)
        self.id = me.id
        self.state = "active"
        LOG.info("node %s is number %d on the ledger", self.config.name, self.id)

    async def learn_lists(self) -> None:
        """The lists of batches that the ledger names, from here or from the parent. One that nobody has yet is asked for
        again later."""
        for batch in self.index.unlisted():
            data = self.blobs.get(batch.list)
            try:
                if data is None and self.link is not None:
                    data = await self.link.blob(batch.list, self.limits.blob_bytes)
                if data is not None:
                    domain = eip712.Domain(self.context.chain_id, self.registry)
                    bad = await self.work(SMALL_BYTES, unproven_members, domain, batch.owner, decode_members(data))
                    self.index.learn(data, bad)
                    self.blobs.put(data, batch.list)
                    if bad:
                        LOG.warning("batch %d names %d nodes that did not agree to it", batch.first, len(bad))
            except (Unavailable, PeerFault) as error:
                LOG.debug("the list of batch %d is not here: %s", batch.first, error)

    async def follow_lists(self) -> None:
        """Learn what is new for as long as the node lives."""
        while True:
            await self.learn_lists()
            await asyncio.sleep(self.config.ledger_poll_seconds)

    async def _register(self, parent: int, register: Callable[[Register], object] | None) -> None:
        call = self.registration(parent)
        if register is not None:
            register(call)
            return
        message = Registration(
            sender=0, sequence=self.sequence(), net_key=call.net_key, account=call.account, owner=call.owner,
            tier=self.config.rank, parent=call.parent, name=call.name, meta_hash=call.meta_hash,
            deadline=call.deadline, account_signature=call.account_signature, net_key_proof=call.net_key_proof,
        )  # fmt: skip
        try:
            await self.parent.post(self.sign(message).frame())
        except (Unavailable, PeerFault) as error:
            LOG.warning("registration not taken yet: %s", error)

    def registration(self, parent: int) -> Register:
        """The registration that both keys sign; anyone may pay for it."""
        account, deadline = self.account.address, int(time.time()) + REGISTRATION_SECONDS
        name, tier = pack_name(self.config.name), self.config.rank
        digest = eip712.registration_digest(
            eip712.Domain(self.context.chain_id, self.registry),
            net_key=self.network.public, account=account, owner=account, tier=tier, parent=parent,
            name=name, meta_hash=ZERO32, deadline=deadline,
        )  # fmt: skip
        return Register(
            net_key=self.network.public, account=account, owner=account, tier=int(tier), parent=parent, name=name,
            meta_hash=ZERO32, deadline=deadline, account_signature=self.account.sign_digest(digest),
            net_key_proof=self.network.sign_digest(digest),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------ blobs

    async def fetch_model_file(self, digest: bytes, most_bytes: int) -> bytes:
        """A file of a published model, from here or else from the parent, which wants to know who asks."""
        data = self.blobs.get(digest)
        if data is None:
            request = self.sign(FileRequest(self.id, self.sequence(), digest, self.account.address))
            data = await self.parent.blob(digest, most_bytes, request.stored())
            self.blobs.put(data, digest)
        return data

    async def fetch(self, digest: bytes, most_bytes: int) -> bytes:
        """A blob from here or from the parent; kept once it was checked."""
        data = self.blobs.get(digest)
        if data is not None and hashlib.sha256(data).digest() == digest:
            return data
        data = await self.parent.blob(digest, most_bytes)
        self.blobs.put(data, digest)
        return data


def random_bytes(count: int) -> bytes:
    """The operating system's randomness, handed to the core as an argument."""
    return os.urandom(count)
