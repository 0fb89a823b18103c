"""A node's outbox and index on a real chain that is reorganised, with the node killed at any point meanwhile.

Whatever happened, `check` proves the promise: each planned call is on the chain once, in order where order matters, and
the index that was kept along the way is the one that a fresh reading gives. What is planned is of three kinds: headers,
of which each fits only behind the one before it; changes of a node; and transfers of one token unit, which a second
time would be seen to happen twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from devnet.chain import Chain
from devnet.kill import Disk, DyingLedger, Fuse, Killed
from ledger.calls import LINEAR, AnchorRound, AnyCall, CreateTask, Mint, Register, SetMeta
from ledger.client import EvmLedger
from ledger.deploy import deploy
from ledger.events import MetaChanged, RoundAnchored, Transfer
from ledger.index import Index
from ledger.outbox import Outbox
from middleware.errors import OurFault
from middleware.policy import Policy, Rule
from middleware.ports import Batch, Event, Head
from middleware.trust.eip712 import Domain, header_hash, registration_digest
from middleware.trust.keys import AccountKey
from middleware.types import ZERO32, Header
from middleware.wire.policy import encode_policy

FAR: Final = 1 << 40  # seconds since 1970
POLICY: Final = encode_policy(Policy("digits", "mlp:64-256-10", 10, rule=Rule("mean", 0), min_updates=1))
STEPS: Final = 400
SAID: Final = (
    "entries",
    "head",
    "cursor",
    "tasks",
    "malformed_tasks",
    "anchored",
    "registrations",
    "funded",
    "claimed",
)
TRANSFERS: Final = 1 << 64  # receivers' addresses start here, far from everybody's


class Volatile(Chain):
    """A chain that keeps everything in memory. One a world: after some thousand blocks with reorganisations among them, anvil
    forgets states that it still needs."""

    def command(self) -> list[str]:
        command = super().command()
        return command[: command.index("--state")]


class Reorganised:
    """One node with one key on one chain. Raises OurFault where the promise is broken."""

    def __init__(self, ledger: EvmLedger, key: AccountKey, finality: int, floor: int, generator: random.Random) -> None:
        self.ledger, self.key, self.finality, self.floor, self.generator = ledger, key, finality, floor, generator
        self.disk = Disk()
        self.index = Index()
        self.wanted: list[tuple[str, bytes]] = []
        self.headers: list[Header] = []
        self.crashes = self.reorganisations = 0
        self.outbox = Outbox(self.disk.open(), ledger, key, finality)

    @classmethod
    async def begin(cls, rpc: str, key: AccountKey, finality: int, generator: random.Random) -> Reorganised:
        """Fresh contracts with one active cloud and its task 1."""
        ledger = EvmLedger(await deploy(rpc, key))
        domain = Domain(ledger.book.chain_id, ledger.book.registry)
        fields = (sha256(b"key").digest(), key.address, key.address, 3, 0, b"cloud".ljust(32, b"\0"), ZERO32, FAR)
        signature = key.sign_digest(registration_digest(domain, *fields))
        await ledger.send(Register(*fields, signature, bytes(64)), key)
        await ledger.send(CreateTask(1, 0, LINEAR, 0, 2, 1, ZERO32, POLICY), key)
        return cls(ledger, key, finality, (await ledger.head()).number, generator)

    async def close(self) -> None:
        self.disk.close()
        await self.ledger.close()

    async def ask(self, method: str, *parameters: Any) -> Any:
        return await self.ledger.rpc.ask(method, *parameters)

    # ----------------------------------------------------------------------------------------------------- what happens

    def plan(self, count: int) -> None:
        for _ in range(count):
            number = len(self.wanted)
            call: AnyCall
            match self.generator.randrange(3):
                case 0:
                    self.headers.append(self._header())
                    call = AnchorRound(self.headers[-1])
                    self.wanted.append(("header", header_hash(self.headers[-1])))
                case 1:
                    call = SetMeta(1, sha256(b"meta %d" % number).digest())
                    self.wanted.append(("meta", call.meta_hash))
                case _:
                    call = Mint((TRANSFERS + number).to_bytes(20, "big"), 1)
                    self.wanted.append(("transfer", call.to))
            self.outbox.plan(call)

    def _header(self) -> Header:
        model = self.headers[-1].model_out if self.headers else ZERO32
        prev = header_hash(self.headers[-1]) if self.headers else ZERO32
        rest = [ZERO32] * 5
        policy, after = sha256(POLICY).digest(), sha256(model).digest()
        number = len(self.headers) + 1
        return Header(1, number, prev, ZERO32, policy, model, ZERO32, 0, ZERO32, ZERO32, after, *rest)

    async def crash(self, point: int) -> bool:
        """Run until the `point`-th place where a process can die, then start again; says whether it came to that."""
        fuse = Fuse(point)
        dying = Outbox(self.disk.open(fuse), DyingLedger(self.ledger, fuse), self.key, self.finality)
        died = False
        try:
            while await dying.drain():
                pass
        except Killed:
            died = True
            self.crashes += 1
        finally:
            self.outbox = Outbox(self.disk.open(), self.ledger, self.key, self.finality)
        return died

    async def reorganise(self, depth: int, shorter: bool) -> None:
        """Other blocks in the place of the newest `depth`, or none; what was in them is gone."""
        head = int(await self.ask("eth_blockNumber"), 16)
        depth = min(depth, head - self.floor)
        if depth <= 0:
            return
        if shorter:
            await self.ask("anvil_rollback", depth)
        else:
            await self.ask("anvil_reorg", depth, [])
        self.reorganisations += 1

    async def mine(self, blocks: int) -> None:
        await self.ask("anvil_mine", hex(blocks))

    async def follow(self) -> None:
        """The index, as a daemon keeps it."""
        self.index.extend(await self.ledger.entries(self.index.cursor))
        self.index.final(self.finality)

    # ------------------------------------------------------------------------------------------------------ the promise

    async def settle(self) -> None:
        """Deliver everything until it is final."""
        for _ in range(STEPS):
            while await self.outbox.drain():
                pass
            if self.outbox.pending() == 0:
                return
            await self.mine(max(1, self.finality))
            await asyncio.sleep(0)
        query = "SELECT function, state, nonce, block, reverts FROM outbox WHERE state != 'FINAL' ORDER BY number"
        left = self.outbox.connection.execute(query).fetchall()
        nonce, pool = await self.ledger.nonce(self.key.address), await self.ask("txpool_status")
        raise OurFault(
            f"not delivered after {STEPS} steps: {left}; the chain's next nonce is {nonce}, its pool has {pool}"
        )

    async def check(self) -> None:
        await self.follow()
        fresh = Index()
        async with EvmLedger(self.ledger.book) as reader:
            fresh.extend(await reader.entries(None))
        require_same(self.index, fresh)
        self._check_final(fresh)
        found = [kind for entry in fresh.entries if (kind := self._kind(entry.event)) is not None]
        if (lost := Counter(self.wanted) - Counter(found)) or (doubled := Counter(found) - Counter(self.wanted)):
            raise OurFault(f"lost: {list(lost)}; doubled: {list(doubled) if not lost else '?'}")
        if [kind for kind in found if kind[0] == "header"] != [kind for kind in self.wanted if kind[0] == "header"]:
            raise OurFault("headers are out of order")

    def _check_final(self, fresh: Index) -> None:
        """What counts as final is on the chain, and is all that is deep enough: more, where the chain was longer before."""
        kept = self.index.final(self.finality)
        count = len(kept.entries)
        if kept.entries != fresh.entries[:count] or count < len(fresh.final(self.finality).entries):
            raise OurFault("what the kept index calls final is not what is on the chain")
        again = Index()
        again.extend(Batch(tuple(kept.entries), fresh.head or Head(0, b"", 0)))
        require_same(kept, again, ("tasks", "anchored", "registrations", "funded", "claimed"))

    def _kind(self, event: Event) -> tuple[str, bytes] | None:
        match event:
            case RoundAnchored():
                return "header", event.header_hash
            case MetaChanged():
                return "meta", event.meta_hash
            case Transfer() if int.from_bytes(event.to, "big") < 1 << 96:
                return "transfer", event.to
        return None


def require_same(kept: Index, fresh: Index, names: Sequence[str] = SAID) -> None:
    """OurFault unless both say the same of everything."""
    for name in names:
        if getattr(kept, name) != getattr(fresh, name):
            raise OurFault(f"the kept index and a fresh one differ in {name}")
    for block in sorted({entry.position.block for entry in fresh.entries}):
        if kept.node_at(1, block) != fresh.node_at(1, block):
            raise OurFault(f"the kept index and a fresh one differ in the node at block {block}")
    if kept.roster().nodes != fresh.roster().nodes:
        raise OurFault("the kept index and a fresh one differ in the roster")
