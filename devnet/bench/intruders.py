"""Can a stranger hurt a node? 20,000 random and mutated messages at each endpoint of a running cloud and edge; a million
with LONG=1.

A quarter are random bytes, a quarter are well-formed frames signed with a key that the ledger does not know, the rest are
such frames with bytes flipped, cut or inserted. None may be accepted, none may make a 5xx, and both daemons have to be the
same processes afterwards, still serving a task.

    make bench Q=intruders [LONG=1]
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp

from devnet.bench.report import Row, write
from devnet.chain import operator_key
from devnet.fleet import Fleet, Shape
from middleware.trust.keys import KeyFile, sign_message
from middleware.types import EdgeLeaf, Leaf, Tier
from middleware.wire.commitment import Context, pack_name
from middleware.wire.message import EdgeReport, Message, Poll, Registration, Update
from nodes.operator import Choices, Operator, policy_of

LONG = bool(os.environ.get("LONG"))
EACH = 500_000 if LONG else 20_000  # at each of the two
CONNECTIONS = 16
PATHS = ("/v1/upload/", "/v1/blob/", "/v1/proof/")


def frames(context: Context, keys: KeyFile, generator: random.Random) -> list[bytes]:
    """One frame of each kind that a node takes, whole, signed by a stranger who claims to be a member."""
    body = generator.randbytes(300)
    digest = hashlib.sha256(body).digest()
    empty = hashlib.sha256(b"{}").digest()
    sequence = time.time_ns()
    leaf = Leaf(1, 1, 4, 2, sequence, 10, digest, generator.randbytes(32), empty)
    edge = EdgeLeaf(1, 1, 2, generator.randbytes(32), 1, bytes(32))
    messages: list[tuple[Message, bytes]] = [
        (Poll(4, sequence, 0, 0), b""),
        (Poll(2, sequence, 0, 0), b""),
        (Update(4, sequence, leaf, (), b"{}", digest, len(body)), body),
        (EdgeReport(2, sequence, edge, generator.randbytes(65), 10, (), digest, len(body)), body),
        (
            Registration(
                0, sequence, keys.network.public, keys.account.address, keys.account.address, Tier.END, 2, pack_name("stranger"),
                bytes(32), 1 << 40, generator.randbytes(65), generator.randbytes(64),
            ),
            b"",
        ),
    ]  # fmt: skip
    return [sign_message(context, keys.network, message).frame(body) for message, body in messages]


def mutate(frame: bytes, generator: random.Random) -> bytes:
    """One to eight bytes flipped, or a cut, or an insertion."""
    data = bytearray(frame)
    match generator.randrange(4):
        case 0:
            return bytes(data[: generator.randrange(len(data))])
        case 1:
            at = generator.randrange(len(data))
            data[at:at] = generator.randbytes(generator.randrange(1, 64))
        case _:
            for _ in range(generator.randrange(1, 9)):
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(data)


def hostile(context: Context, seed: int) -> Callable[[], bytes]:
    generator = random.Random(seed)
    keys = KeyFile.generate(generator.randbytes)
    valid = frames(context, keys, generator)

    def draw() -> bytes:
        kind = generator.randrange(4)
        if kind == 0:
            return generator.randbytes(generator.randrange(0, 400))
        frame = generator.choice(valid)
        return frame if kind == 1 else mutate(frame, generator)

    return draw


async def flood(base: str, draw: Callable[[], bytes], count: int) -> Counter[int]:
    """Statuses of `count` posts to /v1/message; -1 for a connection that the server cut."""
    seen: Counter[int] = Counter()
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def one() -> None:
            for _ in left:
                try:
                    async with session.post(f"{base}/v1/message", data=draw()) as answer:
                        await answer.read()
                        seen[answer.status] += 1
                except aiohttp.ClientError:
                    seen[-1] += 1

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return seen


async def probe(base: str, count: int, seed: int) -> Counter[int]:
    """Statuses of random GETs below the other endpoints."""
    generator, seen = random.Random(seed), Counter[int]()
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            tail = generator.choice(
                [
                    generator.randbytes(32).hex(),
                    "%00",
                    "../../keys.json",
                    "1/1/4",
                    "9" * 30 + "/1/1",
                    "x/y/z",
                    generator.randbytes(8).hex(),
                ]
            )
            async with session.get(base + generator.choice(PATHS) + tail) as answer:
                await answer.read()
                seen[answer.status] += 1
    return seen


async def attack() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder), Shape(devices=5, edges=1)) as fleet:
        await fleet.start(print)
        async with fleet.ledger() as ledger:
            task = await Operator(ledger, operator_key().account).create_task(
                "cloud", policy_of(Choices(rounds=20_000, round_seconds=5.0)), 0
            )
        if fleet.book is None:
            raise RuntimeError("the fleet did not start")
        context = Context(fleet.book.chain_id, fleet.book.ledger)
        pids = {name: child.child.pid for name, child in fleet.processes.all.items() if child.child}
        for number, (name, base) in enumerate(
            (("cloud", fleet.cloud), ("edge", f"http://127.0.0.1:{fleet.edge_ports[0]}"))
        ):
            seen = await flood(base, hostile(context, number), EACH)
            rest = await probe(base, EACH // 10, number)
            print(name, dict(seen), dict(rest), flush=True)
            errors = sum(count for status, count in (seen + rest).items() if status >= 500)
            accepted = sum(count for status, count in seen.items() if 200 <= status < 300)
            total = sum(seen.values()) + sum(rest.values())
            rows.append(Row(f"{name}: messages", total, "sent", bar=f">= {EACH:,}", ok=total >= EACH))
            rows.append(Row(f"{name}: 5xx answers", errors, "answers", bar="0", ok=errors == 0))
            rows.append(Row(f"{name}: accepted", accepted, "messages", bar="0", ok=accepted == 0))
        alive = all(
            child.running and child.child and child.child.pid == pids[name]
            for name, child in fleet.processes.all.items()
        )
        async with aiohttp.ClientSession() as session, session.get(f"{fleet.cloud}/status") as answer:
            settled = len((await answer.json())["rounds"][str(task)])
        rows.append(Row("every process is the one that was started", float(alive), "bool", bar="1", ok=alive))
        rows.append(Row("rounds settled meanwhile", settled, "rounds", bar="> 0", ok=settled > 0))
    return rows


if __name__ == "__main__":
    os.environ.setdefault("DRYSTONE_LOG", "ERROR")
    write("intruders", asyncio.run(attack()))
