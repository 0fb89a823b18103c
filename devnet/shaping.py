"""A link of a given rate and delay between processes: a relay on loopback that holds bytes back.

    python -m devnet.shaping LISTEN_PORT TARGET_PORT CONTROL_FILE

One process of its own, so that what it does costs neither end any time. Each direction of each connection has the whole rate: a
byte leaves when all before it had time to pass, and arrives a delay later. The control file holds "BYTES_PER_SECOND DELAY_MS"; it
is read again and again, so both can change while bytes flow. There is no loss and no competition between connections, and TCP's
own slow start happens on loopback, where it is not felt.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from devnet.chain import free_port
from devnet.processes import Processes

CHUNK_BYTES: Final = 1 << 14
HELD_BYTES: Final = 1 << 18  # between the ends before the relay stops reading


class Rate:
    """What both directions of every connection keep to."""

    def __init__(self, bytes_per_second: float, delay_ms: float) -> None:
        self.bytes_per_second, self.delay = bytes_per_second, delay_ms / 1000


async def relay(port: int, target: int, rate: Rate) -> None:
    """Serve until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, far_writer, rate), _carry(far_reader, writer, rate), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: Rate) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_BYTES // CHUNK_BYTES)

    async def deliver() -> None:
        while True:
            when, data = await waiting.get()
            pause = when - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            if not data:
                writer.close()
                return
            writer.write(data)

    delivering = asyncio.create_task(deliver())
    free = loop.time()
    try:
        while data := await reader.read(CHUNK_BYTES):
            free = max(free, loop.time()) + len(data) / rate.bytes_per_second
            await waiting.put((free + rate.delay, data))
    except ConnectionError:
        delivering.cancel()
        writer.close()
        return
    await waiting.put((free + rate.delay, b""))
    await delivering


class ShapedLink:
    """A relay in a process of `processes`, in front of a port; `port` is where to connect instead."""

    def __init__(self, processes: Processes, name: str, target: int, bytes_per_second: float, delay_ms: float) -> None:
        self.port = free_port()
        self.control = processes.folder / f"{name}.rate"
        self.control.write_text(f"{bytes_per_second} {delay_ms}\n")
        words = [str(self.port), str(target), str(self.control)]
        processes.start(name, [sys.executable, "-m", "devnet.shaping", *words])

    def change(self, bytes_per_second: float, delay_ms: float) -> None:
        """From within LOOK_SECONDS on."""
        self.control.write_text(f"{bytes_per_second} {delay_ms}\n")


LOOK_SECONDS: Final = 0.02  # between two looks at the file that holds the rate


async def _follow(path: Path, rate: Rate) -> None:
    last = ""
    while True:
        text = path.read_text()
        if text != last and text.endswith("\n"):
            bytes_per_second, delay_ms = map(float, text.split())
            rate.bytes_per_second, rate.delay, last = bytes_per_second, delay_ms / 1000, text
        await asyncio.sleep(LOOK_SECONDS)


def main(words: Sequence[str]) -> None:
    port, target, control = int(words[0]), int(words[1]), Path(words[2])
    rate = Rate(1e9, 0.0)

    async def both() -> None:
        await asyncio.gather(relay(port, target, rate), _follow(control, rate))

    asyncio.run(both())


if __name__ == "__main__":
    main(sys.argv[1:])
