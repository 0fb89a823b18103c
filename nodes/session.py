"""Shared inference from an app on a device, in three lines:

    async with Session("nodes/phone", "activity") as session:
        reply = await session(window)

No node is named: the folder is the device's own, its settings name the ledger and the edge. The session reads the ledger once,
finds the model by its name or root, fetches what the licence lets this device hold, and opens the line to its edge. Where the
model has a price it pays by the newest channel that the device's account has with that edge; `vouchers.json` in the state folder
remembers what each channel has vouched for, so an edge that claims more finds out that it is not believed.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec

from ledger.client import AddressBook
from ledger.connect import connect
from ledger.index import Index
from ledger.licences import PaymentChannel
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.infer.plan import Considered, Constraints, Weights
from middleware.trust.eip712 import Domain
from middleware.trust.keys import KeyFile, sign_message
from middleware.trust.voucher import encode_voucher, sign_voucher
from middleware.types import Node, Status
from middleware.wire.commitment import Context
from middleware.wire.model import MODEL_BYTES, MOST_SEGMENTS, FileRequest, decode_model_manifest
from nodes.config import Settings, read_config
from nodes.inference import DeviceSession, Reach, Sample
from nodes.kept import Keeper
from nodes.line import Identity
from nodes.link import Link
from nodes.models import Fetch, load
from nodes.reply import Reply
from nodes.store import Blobs

TOLD = "inference.json"  # in the state folder: what the open session has done, for `drystone top`


class Session:
    """See the head of the module. `keep`: what was sent and answered stays in the state folder, for `drystone audit session`;
    `forced` and `slowdown` are for measurements (`nodes.inference`)."""

    def __init__(
        self, folder: Path | str, model: str, *, constraints: Constraints = Constraints(), weights: Weights = Weights(),
        forced: str = "", slowdown: float = 1.0, keep: bool = False,
    ) -> None:  # fmt: skip
        path = Path(folder)
        self.settings: Settings = read_config(path if path.suffix == ".toml" else path / "node.toml")
        self.model, self.constraints, self.weights = model, constraints, weights
        self.forced, self.slowdown, self.keep = forced, slowdown, keep
        self.stack = AsyncExitStack()
        self.device: DeviceSession | None = None

    async def __aenter__(self) -> Session:
        try:
            self.device = await self.stack.enter_async_context(await self._prepared())
        except BaseException:
            await self.stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def __call__(self, sample: Sample) -> Reply:
        """The answer to one sample, wherever it is made; see `DeviceSession`."""
        return await self.running(sample)

    @property
    def running(self) -> DeviceSession:
        if self.device is None:
            raise ConfigurationError("the session is not open: use it with `async with`")
        return self.device

    def explain(self) -> list[Considered]:
        """Every way that was considered, the chosen one first."""
        return self.running.explain()

    async def _prepared(self) -> DeviceSession:
        settings, config = self.settings, self.settings.config
        stands = await standing(settings)
        http = await self.stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        fetch, me, edge, index = stands.fetch(http), stands.me, stands.edge, stands.index
        root = await self._find(index, fetch)
        loaded = await load(root, fetch, MOST_SEGMENTS, config.threads)
        await asyncio.get_running_loop().run_in_executor(None, loaded.warm)
        who = Identity(me.id, stands.keys.network, me.account, stands.context, config.limits)
        published, state = index.licences.models[root], settings.path(config.state)
        wallet = None
        if published.price:
            channels = index.licences.channels_of(root, me.account, edge.id)
            if channels:
                domain = Domain(stands.book.chain_id, stands.book.models)
                wallet = ChannelWallet(domain, stands.keys, channels[0], state)
        return DeviceSession(
            loaded, http, Reach(config.parent, who, edge), self.constraints, self.weights, wallet, self.forced, self.slowdown,
            state / TOLD, Keeper(state) if self.keep else None,
        )  # fmt: skip

    async def _find(self, index: Index, fetch: Fetch) -> bytes:
        """The root of the model: by its hex, or the newest one of that name."""
        published = index.licences.models
        if len(self.model) == 64 and set(self.model) <= set("0123456789abcdef"):
            root = bytes.fromhex(self.model)
            if root not in published:
                raise ConfigurationError(
                    f"the ledger knows no model {self.model[:16]}: `drystone model list` shows them"
                )
            return root
        names, why = [], ""
        for root in sorted(published, key=lambda one: -published[one].position.block):
            try:
                name = decode_model_manifest(await fetch(root, MODEL_BYTES)).name
            except (Unavailable, PeerFault) as error:  # nobody here has it, so it cannot be run here either
                why = f" ({error})"
                continue
            names.append(name)
            if name == self.model:
                return root
        found = ", ".join(names) or "none"
        raise ConfigurationError(f"no model called {self.model!r} can be had here; there are: {found}{why}")


class ChannelWallet:
    """Pays one session by a channel; what was vouched for before stays on disk."""

    def __init__(self, domain: Domain, keys: KeyFile, channel: PaymentChannel, folder: Path) -> None:
        self.domain, self.keys, self.number, self.file = domain, keys, channel.id, folder / "vouchers.json"
        self.channel = channel.id.to_bytes(32, "big")
        self.redeemed = channel.redeemed
        self.before = 0

    def begin(self) -> None:
        """A line was opened, which counts from nothing: what the channel vouched for so far lies before it."""
        self.before = max(self.redeemed, self._kept().get(str(self.number), 0))

    def _kept(self) -> dict[str, int]:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise ConfigurationError(
                f"{self.file} is not what sessions write: {error}; it says what was paid"
            ) from error

    def voucher(self, units: int, chain: bytes) -> bytes:
        """For `units` of this session and all that the channel vouched for before it. On disk before it leaves."""
        total = self.before + units
        kept = {**self._kept(), str(self.number): total}
        partial = self.file.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(kept))
        os.replace(partial, self.file)
        return encode_voucher(sign_voucher(self.domain, self.keys.account, self.number, total, chain))


class Standing(msgspec.Struct, frozen=True):
    """A device's keys, and who it is on the ledger now."""

    settings: Settings
    keys: KeyFile
    book: AddressBook
    index: Index
    me: Node
    edge: Node

    @property
    def context(self) -> Context:
        return Context(self.book.chain_id, self.book.ledger)

    def fetch(self, http: aiohttp.ClientSession) -> Fetch:
        """Gets files of models from this device's folder, or else from its edge, by signed requests."""
        config = self.settings.config
        link, blobs = Link(config.parent, http, config.limits), Blobs(self.settings.path(config.state) / "blobs")

        async def fetched(digest: bytes, most_bytes: int) -> bytes:
            data = blobs.get(digest)
            if data is None:
                request = FileRequest(self.me.id, time.time_ns(), digest, self.me.account)
                signed = sign_message(self.context, self.keys.network, request, config.limits)
                data = await link.blob(digest, most_bytes, signed.stored())
                blobs.put(data, digest)
            return data

        return fetched


async def standing(settings: Settings) -> Standing:
    """Read the ledger once. ConfigurationError for a node that is no device, or none that is active."""
    config = settings.config
    if config.tier != "end":
        raise ConfigurationError(f"node {config.name} is no device: sessions start at tier end")
    keys = KeyFile.from_bytes(_read(settings.path(config.keys), "node init"))
    book = AddressBook.from_bytes(_read(settings.path(config.ledger), "contracts deploy"))
    index = Index()
    async with connect(book) as ledger:
        index.extend(await ledger.entries(None))
    roster = index.roster()
    me = roster.by_key(keys.network.public)
    if me is None or me.status is not Status.ACTIVE:
        raise ConfigurationError("the ledger does not know this device as active: run it once, and have it admitted")
    edge = roster.nodes.get(me.parent)
    if edge is None:
        raise ConfigurationError(f"the ledger knows no edge {me.parent} above this device")
    return Standing(settings, keys, book, index, me, edge)


def _read(path: Path, verb: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"no file {path}: `drystone {verb}` writes it") from error
