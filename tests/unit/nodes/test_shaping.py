"""The relay holds bytes back by its rate and delay, and drops none."""

from __future__ import annotations

import asyncio
import contextlib

from devnet.chain import free_port
from devnet.shaping import Rate, relay


async def test_everything_arrives_in_order_and_not_before_its_time() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(50_000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target, port = server.sockets[0].getsockname()[1], free_port()
    task = asyncio.create_task(relay(port, target, Rate(1e6, 20.0)))
    try:
        loop = asyncio.get_running_loop()
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0)  # the relay is about to listen
        sent = bytes(range(250)) * 200
        began = loop.time()
        writer.write(sent)
        received = await reader.readexactly(len(sent))
        took = loop.time() - began
        writer.close()
    finally:
        task.cancel()
        server.close()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert received == sent
    assert took >= 2 * (50_000 / 1e6) + 2 * 0.02 - 0.02, "both ways, at the rate and the delay"
