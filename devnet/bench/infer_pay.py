"""What does paying for shared inference cost? Gas against one transaction a request, time against a session without receipts; and
are 10,000 requests billed, vouched for and redeemed to the unit?

The requests run over a real edge process on loopback. The path of receipts is measured alone, as what it adds to a request: two
digests, the leaf, the chain and the tree on both sides, and a voucher's signature and check where one is due. The floor is the
round trip of 100 kB through the sealed session against asyncio's plain TCP streams in the same run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from devnet.bench.report import Row, write
from devnet.serving import ServingWorld, serving
from devnet.toolchain import CONTRACTS
from middleware.infer.export import export
from middleware.infer.publish import assembled
from middleware.infer.segments import cut
from middleware.learn import models
from middleware.learn.vector import bind
from middleware.policy.architecture import parse
from middleware.protocol.session import Ledger
from middleware.trust.eip712 import Domain
from middleware.trust.keys import AccountKey, KeyFile
from middleware.trust.voucher import encode_voucher, judge_voucher, sign_voucher
from middleware.wire.session import Course, ReceiptLeaf
from nodes.market import Market, kept_vouchers

REQUESTS: Final = 10_000
DEPOSIT: Final = 10**9
PRICE: Final = 2
ROUND_TRIPS: Final = 400
PAYLOAD: Final = 100_000  # bytes


def network(name: str) -> bytes:
    """The ONNX bytes of a model by its full name, with its first values."""
    module = bind(models.build(name), models.initial(name, 0)).module
    return export(module, parse(name).shape)


async def stream(world: ServingWorld, keys: KeyFile) -> dict[str, Any]:
    """10,000 requests, paid; what every party says of them."""
    model, files = assembled("paid", cut(network("mlp:64-256-10")), unit_macs=1000)
    root = await world.publish(model, files, PRICE)
    await world.market.mint(keys.account.address, DEPOSIT)
    async with world.fleet.ledger() as ledger:
        mine = Market(ledger, keys.account)
        me = (await mine.refresh()).roster().by_key(keys.network.public)
        await mine.open_channel(root, me.parent if me is not None else 0, DEPOSIT)
    sample = np.linspace(0, 1, 64, dtype=np.float32)
    async with world.session("paid", forced="raw") as session:
        times = []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            await session(sample)
            times.append(1000 * (time.perf_counter() - began))
        units = session.running.tally.units
    vouchers = kept_vouchers(world.fleet.folder("edge-1") / "state" / "node.db")
    paid = sum(amount for _, amount in await world.market.redeem(vouchers))
    return {"times": times, "units": units, "vouched": vouchers[0].units, "paid": paid}


def receipts(payload: bytes, count: int = 2000) -> tuple[float, float]:
    """(milliseconds a request of both sides' receipts, of signing and checking one voucher), medians."""
    logits, course = bytes(40), Course(0, 2, "raw")
    session, made, times = bytes(32), [Ledger(), Ledger()], []
    for number in range(count):
        began = time.perf_counter()
        for side in (0, 1):
            asked, answered = hashlib.sha256(payload).digest(), hashlib.sha256(logits).digest()
            made[side] = made[side].add(ReceiptLeaf(session, number, course, asked, answered, 19))
        times.append(1000 * (time.perf_counter() - began))
    key, domain, vouching = AccountKey(b"u" * 32), Domain(1, bytes(20)), []
    for number in range(200):
        began = time.perf_counter()
        signed = encode_voucher(sign_voucher(domain, key, 1, number, made[0].chain))
        judge_voucher(domain, key.address, 1, 0, 10**6, signed)
        vouching.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), statistics.median(vouching)


async def plain_tcp() -> float:
    """Microseconds p50 of 100 kB over asyncio's streams and a short answer, another process answering."""
    words = (
        "import asyncio,struct\n"
        "async def c(r,w):\n"
        "  while True:\n"
        "    n=struct.unpack('>I',await r.readexactly(4))[0]\n"
        "    await r.readexactly(n); w.write(b'x'*64)\n"
        "async def m():\n"
        "  s=await asyncio.start_server(c,'127.0.0.1',0,limit=1<<20); print(s.sockets[0].getsockname()[1],flush=True)\n"
        "  await s.serve_forever()\n"
        "asyncio.run(m())\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", words, stdout=asyncio.subprocess.PIPE)
    try:
        stdout = child.stdout
        if stdout is None:
            raise RuntimeError("the echo has no output")
        port = int(await stdout.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        frame, times = PAYLOAD.to_bytes(4, "big") + bytes(PAYLOAD), []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            writer.write(frame)
            await writer.drain()
            await reader.readexactly(64)
            times.append(1e6 * (time.perf_counter() - began))
        writer.close()
        return statistics.median(times)
    finally:
        child.kill()
        await child.wait()


async def sealed(world: ServingWorld) -> float:
    """Microseconds p50 of 100 kB through a sealed session to the edge process and its short answer."""
    model, files = assembled("wide", cut(network("mlp:30000-2"), 1))
    await world.publish(model, files)
    async with world.session("wide", forced="raw") as session:
        line = session.running.line
        if line is None:
            raise RuntimeError("the edge went away")
        return statistics.median([1e6 * await line._probe(bytes(PAYLOAD)) for _ in range(ROUND_TRIPS)])


async def measure(home: Path) -> tuple[dict[str, Any], float, float]:
    async with serving(home) as world:
        world.bypass()  # what is measured here is the product, not a link
        keys = KeyFile.from_bytes((world.device / "keys.json").read_bytes())
        found = await stream(world, keys)
        return found, await sealed(world), await plain_tcp()


def rows(found: dict[str, Any], session_us: float, tcp_us: float) -> list[Row]:
    (leaf_ms, voucher_ms), (large_ms, _) = receipts(bytes(256)), receipts(bytes(PAYLOAD))
    gas = json.loads((CONTRACTS / "snapshots" / "gas.json").read_text())
    two = int(gas["openChannel"]) + int(gas["redeem, first of a channel"])
    each = int(gas["redeem, again"]) * REQUESTS
    p50 = statistics.median(found["times"])
    every = 32 / 2  # requests from one voucher to the next
    path = leaf_ms + voucher_ms / every
    equal = found["units"] == found["vouched"] and found["paid"] == PRICE * found["units"]
    floor = session_us / tcp_us
    return [
        Row("requests", REQUESTS, "answered and billed"),
        Row(
            "units: sum of answers = voucher, and redeemed = price x units",
            found["units"],
            "units",
            bar="equal",
            ok=equal,
        ),
        Row("transactions", 2, "openChannel, redeem", bar="2", ok=True),
        Row("gas, two transactions", two, "gas", each, two / each),
        Row("latency p50", p50, "ms"),
        Row("one voucher signed and checked, one in 16 requests", voucher_ms, "ms"),
        Row("receipt path a request, both sides", path, "ms", p50, path / p50, "<= 5 % of p50", path <= 0.05 * p50),
        Row("receipts of a request of 100 kB, both sides", large_ms, "ms", bar="<= 0.5 ms", ok=large_ms <= 0.5),
        Row("session round trip, 100 kB p50", session_us, "us", tcp_us, floor, "<= 2.5 x plain TCP", floor <= 2.5),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, session_us, tcp_us = asyncio.run(measure(Path(folder)))
    write("infer-pay", rows(found, session_us, tcp_us))


if __name__ == "__main__":
    main()
