"""A cloud, an edge and a device as processes around a signed log, with a published model: what examples and benchmarks of shared
inference start from. The device's link to its edge, and the edge's to the cloud, are relays of a chosen rate and delay."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from devnet.fleet import Fleet, Shape
from devnet.shaping import LOOK_SECONDS, ShapedLink
from middleware.infer.plan import Constraints, Weights
from middleware.wire.model import ModelManifest
from nodes.config import read_config, write_config
from nodes.market import Market
from nodes.session import Session

LOG = logging.getLogger("drystone")
FAST: Final = 1e9  # bytes a second: no bound that is felt
MEGABIT: Final = 125_000.0  # bytes
FOREVER: Final = (1 << 64) - 1


class ServingWorld:
    """See the module. Everything lies below `fleet.home`."""

    def __init__(self, fleet: Fleet, market: Market) -> None:
        self.fleet, self.market = fleet, market
        self.links: dict[str, ShapedLink] = {}
        self.roots: dict[str, bytes] = {}

    @property
    def device(self) -> Path:
        """The folder of the device, whose parent is the shaped link."""
        return self.fleet.home / "phone"

    async def publish(self, model: ModelManifest, files: dict[bytes, bytes], price: int = 0) -> bytes:
        """Publish a model, bring its files, and license the device."""
        root = await self.market.publish(model, price, 5000)
        await self.market.bring(self.fleet.cloud, model, files)
        me = (await self.market.refresh()).roster().by_name("device-1")
        if me is not None:
            await self.market.grant(root, me.account, FOREVER, FOREVER)
        self.roots[model.name] = root
        return root

    async def shape(self, link: str, bytes_per_second: float, delay_ms: float) -> None:
        """Change a link, "edge" or "cloud" by its upper end; returns when the relay has seen it."""
        self.links[link].change(bytes_per_second, delay_ms)
        await asyncio.sleep(3 * LOOK_SECONDS)

    def bypass(self) -> None:
        """Let the device call its edge directly, past the relay."""
        _reparent(self.fleet.folder("device-1"), self.device, self.fleet.edge_ports[0], 1)

    def session(
        self, model: str, constraints: Constraints = Constraints(), forced: str = "", slowdown: float = 1.0,
        weights: Weights = Weights(),
    ) -> Session:  # fmt: skip
        return Session(self.device, model, constraints=constraints, forced=forced, slowdown=slowdown, weights=weights)


@asynccontextmanager
async def serving(home: Path, tell: Any = None, slots: int = 1) -> AsyncIterator[ServingWorld]:
    """The world, up and admitted; every process ends with it. The device's daemon is stopped once it is on the ledger: an app
    needs its folder only."""
    with Fleet(home, Shape(devices=1, edges=1), on="local") as fleet:
        await fleet.start(tell or (lambda what: None))
        async with fleet.ledger() as ledger:
            made = ServingWorld(fleet, Market(ledger, fleet.operator))
            fleet.kill("device-1")
            made.links["edge"] = ShapedLink(fleet.processes, "link-edge", fleet.edge_ports[0], FAST, 0.0)
            made.links["cloud"] = ShapedLink(fleet.processes, "link-cloud", fleet.cloud_port, FAST, 0.0)
            fleet.kill("edge-1")
            _reparent(fleet.folder("edge-1"), fleet.folder("edge-1"), made.links["cloud"].port, slots)
            _reparent(fleet.folder("device-1"), made.device, made.links["edge"].port, slots)
            fleet.restart("edge-1")
            await joined(fleet)
            yield made


def _reparent(folder: Path, to: Path, port: int, slots: int) -> None:
    """A node's folder with another address of its parent."""
    settings = read_config(folder / "node.toml")
    to.mkdir(parents=True, exist_ok=True)
    if to != folder:
        shutil.copyfile(folder / "keys.json", to / "keys.json")
    parent = f"http://127.0.0.1:{port}"
    write_config(to / "node.toml", msgspec.structs.replace(settings.config, parent=parent, slots=slots))


async def joined(fleet: Fleet) -> None:
    """Until the edge answers again and knows who it is."""
    import aiohttp

    address = f"http://127.0.0.1:{fleet.edge_ports[0]}/status"
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            try:
                async with http.get(address) as answer:
                    if (await answer.json())["state"] == "active":
                        return
            except aiohttp.ClientError as error:
                LOG.debug("the edge is starting: %s", error)
            await asyncio.sleep(0.1)
