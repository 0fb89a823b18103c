"""Random reorganisations and crashes on a real chain: nothing is lost or doubled, and the index is what a fresh one is."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

import eth_account  # noqa: F401  (its import raises the recursion limit, which a property must not do)
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from devnet.chain import operator_key
from devnet.processes import Processes
from devnet.reorganise import Reorganised, Volatile

HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.integers(1, 3)),
        st.tuples(st.just("drain"), st.integers(1, 2)),
        st.tuples(st.just("crash"), st.integers(0, 80)),
        st.tuples(st.just("reorg"), st.integers(1, 6)),
        st.tuples(st.just("rollback"), st.integers(1, 6)),
        st.tuples(st.just("mine"), st.integers(1, 4)),
        st.tuples(st.just("follow"), st.just(0)),
        st.tuples(st.just("check"), st.just(0)),
    ),
    min_size=3,
    max_size=14,
)


@pytest.mark.slow
@settings(
    max_examples=30, deadline=None, phases=(Phase.explicit, Phase.generate)
)  # a chain's step is too dear to shrink
@given(happenings=HAPPENINGS, finality=st.sampled_from([0, 1, 4]), automine=st.booleans(), seed=st.integers(0, 99))
def test_whatever_is_reorganised_each_call_is_on_the_chain_once_and_the_index_is_a_fresh_one(
    happenings: list[tuple[str, int]], finality: int, automine: bool, seed: int
) -> None:
    async def play(rpc: str) -> None:
        world = await Reorganised.begin(rpc, operator_key().account, finality, random.Random(seed))
        await world.ask("evm_setAutomine", automine)
        try:
            for what, much in happenings:
                await happen(world, what, much)
            await world.settle()
            await world.check()
            assert world.outbox.status()["FINAL"] == len(world.wanted)
        finally:
            await world.ask("evm_setAutomine", True)
            await world.close()

    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        chain = Volatile(Path(folder) / "chain")
        chain.start(processes)
        asyncio.run(play(chain.rpc))


async def happen(world: Reorganised, what: str, much: int) -> None:
    match what:
        case "plan":
            world.plan(much)
        case "drain":
            for _ in range(much):
                await world.outbox.drain()
        case "crash":
            await world.crash(much)
        case "reorg" | "rollback":
            await world.reorganise(much, what == "rollback")
            await world.follow()
        case "mine":
            await world.mine(much)
        case "follow":
            await world.follow()
        case "check":
            await world.settle()
            await world.check()
