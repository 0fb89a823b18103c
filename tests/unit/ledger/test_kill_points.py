"""Kill the outbox at every point, and in random sequences, on a ledger that loses blocks meanwhile: each intent is on the
chain exactly once. What is sent are token transfers of a unit each, which a second time would be seen to happen twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.kill import Disk, DyingLedger, Fuse, Killed
from ledger.calls import Mint
from ledger.events import Transfer
from ledger.memory import MemoryLedger, Transaction
from ledger.outbox import MOST_RAISE, PATIENCE_BLOCKS, Outbox
from ledger.spec import Specification
from middleware.errors import Unavailable
from middleware.ports import Call, Fees, Head, Outcome, SignedTransaction, Signer, Spent
from middleware.trust.keys import AccountKey

KEY = AccountKey(b"\x07" * 32)
ADDRESSES = {
    name: bytes([n]) * 20 for n, name in enumerate(("Authority", "Credit", "Registry", "Ledger", "Rewards"), 1)
}
STEPS = 60
INTENTS = 3


def make() -> Specification:
    return Specification(1, ADDRESSES, admin=KEY.address)


def mint(number: int) -> Mint:
    """Not idempotent: the receiver of a doubled one has two units."""
    return Mint((number + 1).to_bytes(20, "big"), 1)


async def minted(ledger: MemoryLedger) -> Counter[int]:
    found = [entry.event for entry in (await ledger.entries(None)).entries]
    return Counter(int.from_bytes(event.to, "big") - 1 for event in found if isinstance(event, Transfer))


async def finish(disk: Disk, ledger: MemoryLedger, finality: int) -> Outbox:
    """A new process on the same disk, until everything is final."""
    outbox = Outbox(disk.open(), ledger, KEY, finality)
    for _ in range(STEPS):
        with suppress(Unavailable):  # a stranger's transaction stands in the way until it is outbid or mined
            await outbox.drain()
        if outbox.pending() == 0:
            return outbox
        if not ledger.mine():
            ledger.mine_empty()
    raise AssertionError(f"not delivered after {STEPS} steps: {outbox.status()}")


async def live(disk: Disk, ledger: MemoryLedger, fuse: Fuse, finality: int, reorganise: bool) -> bool:
    """One process from its start to `fuse`; says whether it survived. Halfway the chain loses two blocks."""
    try:
        outbox = Outbox(disk.open(fuse), DyingLedger(ledger, fuse), KEY, finality)
        for number in range(INTENTS):
            outbox.plan(mint(number))
        for step in range(8):
            await outbox.drain()
            if not ledger.mine():
                ledger.mine_empty()
            if reorganise and step == 3:
                ledger.roll_back(2)
    except Killed:
        return False
    return True


@pytest.mark.parametrize("automine", [True, False])
@pytest.mark.parametrize("finality", [0, 2])
@pytest.mark.parametrize("reorganise", [False, True])
async def test_killed_at_every_point_each_intent_is_on_the_chain_once(
    automine: bool, finality: int, reorganise: bool
) -> None:
    for point in count():
        disk, ledger = Disk(), MemoryLedger(make, automine=automine)
        survived = await live(disk, ledger, Fuse(point), finality, reorganise)
        outbox = Outbox(disk.open(), ledger, KEY, finality)
        for number in range(INTENTS):
            outbox.plan(mint(number))  # whoever was killed before it planned everything plans it when it is back
        outbox = await finish(disk, ledger, finality)
        assert await minted(ledger) == Counter(range(INTENTS)), f"killed at point {point}"
        assert outbox.status()["FINAL"] == INTENTS
        assert await ledger.nonce(KEY.address) == INTENTS
        disk.close()
        if survived:
            assert point > 100
            return


@pytest.mark.parametrize("finality", [0, 2])
async def test_killed_twice_at_every_pair_of_points_each_intent_is_on_the_chain_once(finality: int) -> None:
    longest = Fuse()
    await live(Disk(), MemoryLedger(make, automine=False), longest, finality, False)
    for first in range(0, longest.burnt, 7):
        for second in range(0, longest.burnt - first, 13):
            disk, ledger = Disk(), MemoryLedger(make, automine=False)
            await live(disk, ledger, Fuse(first), finality, False)
            await live(disk, ledger, Fuse(second), finality, False)
            await live(disk, ledger, Fuse(), finality, False)
            await finish(disk, ledger, finality)
            assert await minted(ledger) == Counter(range(INTENTS)), f"killed at points {first} and {second}"
            disk.close()


class Lagging(DyingLedger):
    """Many servers behind one address: each answer comes from one that is up to two blocks behind, and so may the next be."""

    ledger: MemoryLedger

    def __init__(self, ledger: MemoryLedger, fuse: Fuse, generator: random.Random, most: int) -> None:
        super().__init__(ledger, fuse)
        self.generator, self.most = generator, most

    def _newest(self) -> int:
        return max(0, len(self.ledger.blocks) - 1 - self.generator.randint(0, self.most))

    def _count(self, address: bytes, newest: int) -> int:
        return sum(
            block.raw is not None and sender_of(block.raw) == address for block in self.ledger.blocks[: newest + 1]
        )

    async def head(self) -> Head:
        await super().head()
        return self.ledger.blocks[self._newest()].head

    async def nonce(self, address: bytes) -> int:
        await super().nonce(address)
        return self._count(address, self._newest())

    async def receipt(self, transaction: bytes) -> Outcome | None:
        found = await super().receipt(transaction)
        return found if found is not None and found.block <= self._newest() else None

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        found = await super().spent(address, nonce, since)
        return found if found is not None and found.block <= self._newest() else None

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        self.fuse.burn()
        newest = self._newest()
        if self._count(sender, newest) < nonce:
            raise Unavailable("this server is behind")
        behind = MemoryLedger(make)
        for block in self.ledger.blocks[1 : newest + 1]:
            behind._append(block.raw, block.head.time, block.head.hash)
        await behind.simulate(call, sender)

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        await self.simulate(call, key.address)
        return await super().sign(call, key, nonce, fees)


def sender_of(raw: bytes) -> bytes:
    return msgspec.json.decode(raw, type=Transaction).sender


# What happens to a node and to its chain, in any order: (what, how much).
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.integers(1, 3)),
        st.tuples(st.just("drain"), st.integers(1, 4)),
        st.tuples(st.just("die"), st.integers(0, 90)),
        st.tuples(st.just("mine"), st.integers(1, 4)),
        st.tuples(st.just("lose"), st.integers(1, 6)),
        st.tuples(st.just("return"), st.integers(1, 6)),
        st.tuples(st.just("dear"), st.integers(1, 50)),
        st.tuples(st.just("stranger"), st.integers(1, 2)),
        st.tuples(st.just("lag"), st.integers(0, 3)),
    ),
    min_size=4,
    max_size=24,
)


class Story:
    """A node, its disk and its chain, through what happens to them."""

    def __init__(self, automine: bool, finality: int, seed: int) -> None:
        self.disk, self.ledger, self.finality = Disk(), MemoryLedger(make, automine=automine), finality
        self.planned = self.strangers = self.lag = self.longest = 0
        self.generator = random.Random(seed)
        self.outbox = self.restart(Fuse())

    def restart(self, fuse: Fuse) -> Outbox:
        servers = Lagging(self.ledger, fuse, self.generator, self.lag)
        return Outbox(self.disk.open(fuse), servers, KEY, self.finality)

    async def happen(self, what: str, much: int) -> None:
        match what:
            case "plan":
                for _ in range(much):
                    self.outbox.plan(mint(self.planned))
                    self.planned += 1
            case "drain":
                for _ in range(much):
                    await self.outbox.drain()
            case "die":
                fuse = Fuse(much)
                dying = self.restart(fuse)
                with suppress(Killed, Unavailable):
                    for _ in range(3):
                        await dying.drain()
                        self.ledger.mine()
                self.outbox = self.restart(Fuse())
            case "mine":
                for _ in range(much):
                    if not self.ledger.mine():
                        self.ledger.mine_empty()
            case "lose" | "return":
                await self.lose(much, what == "return")
            case "dear":
                self.ledger.base_fee = much
            case "stranger":
                await self.stranger()
            case "lag":
                self.lag = much
                self.outbox = self.restart(Fuse())

    async def lose(self, blocks: int, back_to_the_pool: bool) -> None:
        """A reorganisation no deeper than finality, counted from the longest that the chain has been: nothing that was
        final is lost. What the lost blocks held is gone, or waits again."""
        height = len(self.ledger.blocks) - 1
        self.longest = max(self.longest, height)
        depth = min(blocks, self.finality - (self.longest - height), height)
        if depth <= 0:
            return
        lost = [block.raw for block in self.ledger.blocks[-depth:] if block.raw is not None]
        self.ledger.roll_back(depth)
        automine, self.ledger.automine = self.ledger.automine, False
        for raw in lost if back_to_the_pool else ():
            await self.ledger.send_raw(raw)
        self.ledger.automine = automine

    async def stranger(self) -> None:
        """Another program with the same key takes the next nonce for a call of its own, and pays well for it."""
        nonce = await self.ledger.nonce(KEY.address)
        self.strangers += 1
        signed = await self.ledger.sign(mint(10_000 + self.strangers), KEY, nonce, Fees(10**6, 10**6))
        self.ledger.waiting.pop((KEY.address, nonce), None)
        await self.ledger.send_raw(signed.raw)
        self.ledger.mine()


@settings(max_examples=300, deadline=None)
@given(happenings=HAPPENINGS, automine=st.booleans(), finality=st.sampled_from([0, 1, 3, 6]), seed=st.integers(0, 99))
def test_whatever_happens_each_intent_is_on_the_chain_once(
    happenings: list[tuple[str, int]], automine: bool, finality: int, seed: int
) -> None:
    async def play() -> None:
        story = Story(automine, finality, seed)
        for what, much in happenings:
            try:
                await story.happen(what, much)
            except Unavailable:
                continue  # the weather: what was planned stays planned
        outbox = await finish(story.disk, story.ledger, finality)
        found = await minted(story.ledger)
        assert {number: found[number] for number in range(story.planned)} == dict.fromkeys(range(story.planned), 1)
        assert outbox.status()["FINAL"] == story.planned
        story.disk.close()

    asyncio.run(play())


# ------------------------------------------------------------------------------------ what the stories above once did wrong


class Failing(MemoryLedger):
    """While it is in a bad mood, calls that simulate well fail in their blocks."""

    bad_mood = False

    def _execute(self, raw: bytes, head: Head) -> Outcome:
        kept = self.specification
        if self.bad_mood:
            self.specification = Specification(1, ADDRESSES, admin=b"\x01" * 20)
        outcome = super()._execute(raw, head)
        self.specification = kept
        return outcome


async def test_a_failure_that_a_reorganisation_may_undo_is_not_tried_again_under_another_nonce() -> None:
    disk, ledger = Disk(), Failing(make, automine=False)
    outbox = Outbox(disk.open(), ledger, KEY, 2)
    outbox.plan(mint(0))
    await outbox.drain()
    first = ledger.waiting[KEY.address, 0]
    ledger.bad_mood = True
    ledger.mine()
    ledger.bad_mood = False
    await outbox.drain()
    assert (outbox.status()["SENT"], ledger.waiting) == (1, {})
    ledger.roll_back(1)
    await ledger.send_raw(first)  # as the chain's node does with what it had in a block
    await finish(disk, ledger, 2)
    assert (await minted(ledger), await ledger.nonce(KEY.address)) == (Counter([0]), 1)
    disk.close()


async def test_a_failure_that_is_deep_is_tried_again() -> None:
    disk, ledger = Disk(), Failing(make, automine=False)
    outbox = Outbox(disk.open(), ledger, KEY, 2)
    outbox.plan(mint(0))
    await outbox.drain()
    ledger.bad_mood = True
    ledger.mine()
    ledger.bad_mood = False
    await finish(disk, ledger, 2)
    assert (await minted(ledger), await ledger.nonce(KEY.address)) == (Counter([0]), 2)
    disk.close()


async def test_a_nonce_that_the_chain_lost_below_ours_is_filled_without_effect() -> None:
    disk, ledger = Disk(), MemoryLedger(make, automine=False)
    await ledger.send_raw((await ledger.sign(mint(77), KEY, 0, Fees(9, 9))).raw)
    ledger.mine()
    outbox = Outbox(disk.open(), ledger, KEY, 0)
    outbox.plan(mint(0))
    await outbox.drain()
    ledger.roll_back(1)  # the transaction before ours is gone for good; ours still waits at the chain's node
    assert list(ledger.waiting) == [(KEY.address, 1)]
    await finish(disk, ledger, 0)
    assert (await minted(ledger), await ledger.nonce(KEY.address)) == (Counter([0]), 2)
    disk.close()


async def test_a_call_that_stands_first_priced_out_and_would_fail_makes_way() -> None:
    disk, ledger = Disk(), Failing(make, automine=False)
    outbox = Outbox(disk.open(), ledger, KEY, 0)
    outbox.plan(mint(0))
    await outbox.drain()
    ledger.base_fee = 100
    ledger.specification.roles.clear()
    ledger.specification = Specification(1, ADDRESSES, admin=b"\x01" * 20)
    for _ in range(PATIENCE_BLOCKS + 1):
        ledger.mine_empty()
        await outbox.drain()
    assert ledger.mine()
    await outbox.drain()
    assert (outbox.status()["REFUSED"], await minted(ledger)) == (1, Counter())
    disk.close()


async def test_an_attempt_that_waits_for_ever_is_not_raised_for_ever() -> None:
    disk, ledger = Disk(), MemoryLedger(make, automine=False)
    outbox = Outbox(disk.open(), ledger, KEY, 0)
    outbox.plan(mint(0))
    for _ in range(400):
        await outbox.drain()
        ledger.mine_empty()
    paid = msgspec.json.decode(ledger.waiting[KEY.address, 0], type=Transaction).most
    asked = (await ledger.fees()).most
    assert asked * MOST_RAISE // 2 < paid <= asked * MOST_RAISE
    disk.close()


class Counting(MemoryLedger):
    asked = 0

    async def receipt(self, transaction: bytes) -> Outcome | None:
        self.asked += 1
        return await super().receipt(transaction)


async def test_what_waits_for_depth_is_not_asked_for_again_and_again() -> None:
    disk, ledger = Disk(), Counting(make)
    outbox = Outbox(disk.open(), ledger, KEY, 20)
    for number in range(3):
        outbox.plan(mint(number))
    await outbox.drain()
    asked = ledger.asked
    for _ in range(10):
        await outbox.drain()
    assert ledger.asked == asked
    for _ in range(20):
        ledger.mine_empty()
    await outbox.drain()
    assert (outbox.status()["FINAL"], ledger.asked) == (3, asked + 3)
    disk.close()


async def test_what_failed_on_another_branch_does_not_refuse_what_follows_it() -> None:
    """The first is mined; another branch has it too, but there it failed, and so the second is refused there."""
    disk, ledger = Disk(), Failing(make, automine=False)
    outbox = Outbox(disk.open(), ledger, KEY, 3)
    outbox.plan(mint(0))
    await outbox.drain()
    first = ledger.waiting[KEY.address, 0]
    ledger.mine()
    await outbox.drain()
    assert outbox.status()["MINED"] == 1
    ledger.roll_back(1)
    ledger.bad_mood = True
    await ledger.send_raw(first)
    ledger.mine()
    ledger.bad_mood = False
    outbox.plan(mint(1))
    kept, ledger.specification = ledger.specification, Specification(1, ADDRESSES, admin=b"\x01" * 20)
    await outbox.drain()
    assert outbox.status()["REFUSED"] == 0
    ledger.specification = kept
    await finish(disk, ledger, 3)
    assert await minted(ledger) == Counter([0, 1])
    disk.close()
