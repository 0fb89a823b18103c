"""A chain that is rewound below what a node had seen deep under its head: the node says so, signs nothing, and stops acting
until it reads its own past again; after a restart too."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from devnet.simulation import in_memory
from ledger.events import StatusChanged, entry_of
from middleware.errors import PeerFault
from middleware.ports import Batch, Cursor, Entry, Head, Position
from middleware.trust.keys import AccountKey, NetworkKey
from middleware.types import LIMITS, Seen
from middleware.wire.message import Poll
from nodes.agent import Agent
from nodes.chain import ChainView
from nodes.config import NodeConfig, Settings
from nodes.store import Store

REGISTRY = b"\x02" * 20
CONTEXT = in_memory(AccountKey(bytes(range(1, 33))))[1]
BLOCKS = LIMITS.witness_blocks + 6


class Mined:
    """A chain with one entry in each block; `fork(at)` mines everything from block `at` on again."""

    def __init__(self) -> None:
        self.entries_: list[Entry] = []
        self.mine(BLOCKS, b"first")

    def mine(self, count: int, tag: bytes) -> None:
        for number in range(len(self.entries_) + 1, len(self.entries_) + count + 1):
            digest = hashlib.sha256(b"%s %d" % (tag, number)).digest()
            position = Position(number, digest, 1000 + number, digest, 0, 50_000, b"\x09" * 20)
            event = StatusChanged(id=1, status=2)
            self.entries_.append(entry_of(position, event, b"\x07" * 20))

    def fork(self, at: int, tag: bytes, blocks: int = 0) -> None:
        blocks = blocks or len(self.entries_) + 1 - at
        del self.entries_[at - 1 :]
        self.mine(blocks, tag)

    async def entries(self, cursor: Cursor | None) -> Batch:
        last = self.entries_[-1].position
        return Batch(tuple(self.entries_), Head(last.block, last.block_hash, last.time), None if cursor is None else 0)


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Mined:
    from ledger.index import Index

    monkeypatch.setattr(Index, "_take", lambda self, event, at: None)
    return Mined()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def agent_on(chain: Mined, folder: Path, session: aiohttp.ClientSession) -> Agent:
    config = NodeConfig("edge-1", "edge", listen="127.0.0.1:1", parent="http://127.0.0.1:1")
    view = ChainView(chain, 0.01)  # type: ignore[arg-type]
    keys = NetworkKey(b"\x05" * 32), AccountKey(b"\x06" * 32)
    agent = Agent(Settings(folder, config), *keys, REGISTRY, view, Store(folder), session, CONTEXT)
    agent.id = 2
    return agent


def poll(agent: Agent) -> Poll:
    return Poll(1, agent.sequence())


async def test_a_node_notes_the_newest_block_that_lies_deep_enough(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    agent = agent_on(chain, tmp_path, session)
    await agent.view.refresh()
    deep = chain.entries_[BLOCKS - LIMITS.witness_blocks - 1].position
    assert agent.store.witness() == Seen(deep.block, deep.block_hash) == agent.seen()
    assert agent.view.rewound == ""


async def test_a_node_stops_on_a_chain_that_lost_what_it_had_seen_deep_below_the_head(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    agent = agent_on(chain, tmp_path, session)
    await agent.view.refresh()
    agent.sign(poll(agent))
    seen = agent.store.witness()
    chain.fork(seen.block, b"again")
    await agent.view.refresh()
    assert f"block {seen.block} with hash {seen.hash.hex()[:16]}" in agent.view.rewound
    assert "rewound" in agent.view.rewound
    with pytest.raises(PeerFault, match="rewound"):
        agent.sign(poll(agent))
    with pytest.raises(PeerFault, match="rewound"):
        agent.receipt(1, 1, 0, b"\x01" * 32)
    assert agent.store.witness() == seen  # the note stays: it is the evidence
    waiting = asyncio.ensure_future(agent.sound())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_chain_that_was_cut_short_stops_a_node_too(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    agent = agent_on(chain, tmp_path, session)
    await agent.view.refresh()
    chain.fork(2, b"again", blocks=1)
    await agent.view.refresh()
    assert "now at block 2" in agent.view.rewound


async def test_a_restart_does_not_make_a_node_forget(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    first = agent_on(chain, tmp_path, session)
    await first.view.refresh()
    first.store.close()
    chain.fork(1, b"again")
    second = agent_on(chain, tmp_path, session)
    await second.view.refresh()
    assert "rewound" in second.view.rewound


async def test_a_reorganisation_above_that_depth_is_weather(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    agent = agent_on(chain, tmp_path, session)
    await agent.view.refresh()
    chain.fork(agent.store.witness().block + 1, b"again")
    await agent.view.refresh()
    assert agent.view.rewound == ""
    agent.sign(poll(agent))


async def test_a_node_goes_on_when_its_past_is_there_again(
    chain: Mined, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    agent = agent_on(chain, tmp_path, session)
    await agent.view.refresh()
    mine = list(chain.entries_)
    chain.fork(1, b"again")
    await agent.view.refresh()
    assert agent.view.rewound
    chain.entries_ = mine
    await agent.view.refresh()
    assert agent.view.rewound == ""
    agent.sign(poll(agent))
    await asyncio.wait_for(agent.sound(), 1.0)
