"""`drystone stake` and the owner's part of `drystone node`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.trust.keys import KeyFile
from middleware.types import LIMITS
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table
from nodes.config import Settings, write_config
from nodes.link import Link
from nodes.owner import Owner

T = TypeVar("T")
LIST_SECONDS = 30.0  # that a cloud may take to read the block of a batch


def register(home: Path, name: str, parent: str) -> None:
    place = Home(home)
    settings = _settings(place, name)
    siblings = [other.config for other in place.nodes()]
    keys = KeyFile.from_bytes(settings.path(settings.config.keys).read_bytes())

    async def act(owner: Owner) -> str:
        above = (await owner.find([parent]))[0].id if parent else await owner.parent_of(settings.config, siblings)
        node = await owner.register(settings.config, keys, above)
        return f"{name} is node {node.id}, {node.status.name.lower()}, owned by 0x{owner.key.address.hex()}"

    print(_as_owner(place, act))


def enrol(home: Path, names: list[str], parent: str, cloud: str) -> None:
    place = Home(home)
    found = [_settings(place, name) for name in names]
    siblings = [other.config for other in place.nodes()]

    async def act(owner: Owner) -> tuple[int, bytes]:
        members = []
        for settings in found:
            keys = KeyFile.from_bytes(settings.path(settings.config.keys).read_bytes())
            above = (await owner.find([parent]))[0].id if parent else await owner.parent_of(settings.config, siblings)
            members.append((settings.config, keys, above))
        for settings in found:  # before the ledger knows them, or a node that is started meanwhile registers by itself
            write_config(settings.folder / "node.toml", msgspec.structs.replace(settings.config, registers=False))
        return await owner.enrol(members)

    first, data = _as_owner(place, act)
    digest = hashlib.sha256(data).digest()
    kept = place.folder / "batches" / digest.hex()
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    print(f"{len(names)} devices are nodes {first} to {first + len(names) - 1}; their list is {kept}")
    asyncio.run(_bring(cloud or place.cloud_address(), digest, data))
    print("the cloud has the list: edges and devices fetch it from there")


async def _bring(cloud: str, digest: bytes, data: bytes) -> None:
    """Hand a list to a cloud, which takes it once it has read the batch's block."""
    deadline = time.monotonic() + LIST_SECONDS
    async with aiohttp.ClientSession() as session:
        link = Link(cloud, session, LIMITS)
        while True:
            try:
                await link.put_blob(digest, data)
                return
            except (Unavailable, PeerFault) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the cloud at {cloud} did not take the list ({error}); put the file into its state/blobs folder "
                        f"as {digest.hex()[:2]}/{digest.hex()}, or run the cloud and enrol again"
                    ) from error
                await asyncio.sleep(0.2)


def rotate(home: Path, name: str) -> None:
    place = Home(home)
    settings = _settings(place, name)

    async def act(owner: Owner) -> str:
        node = (await owner.find([name]))[0]
        return (await owner.rotate(node, settings.path(settings.config.keys))).public.hex()

    print(f"{name}: network key {_as_owner(place, act)}")
    print("restart the node: it signs with the new key from the next round on")


def add(home: Path, name: str, amount: int) -> None:
    async def act(owner: Owner) -> None:
        await owner.stake((await owner.find([name]))[0], amount)

    _as_owner(Home(home), act)
    print(f"{amount:,} token units staked for {name}")


def unbond(home: Path, name: str, amount: int) -> None:
    async def act(owner: Owner) -> None:
        await owner.unstake((await owner.find([name]))[0], amount)

    _as_owner(Home(home), act)
    print(f"{amount:,} token units of {name} are unbonding; they stay slashable until `drystone stake withdraw {name}`")


def withdraw(home: Path, name: str) -> None:
    async def act(owner: Owner) -> None:
        await owner.withdraw((await owner.find([name]))[0])

    _as_owner(Home(home), act)
    print(f"what {name} had unbonding was paid to its owner")


def show(home: Path, as_json: bool) -> None:
    from ledger.stakes import stakes

    index = Home(home).read_index()
    roster, found = index.roster(), stakes(index.entries)
    if as_json:
        print_json({str(number): stake for number, stake in found.items()})
        return
    rows = [
        (
            number, roster.nodes[number].name, f"{stake.bonded:,}", f"{stake.unbonding:,}", f"{stake.slashed:,}",
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stake.until)) if stake.unbonding else "-",
        )
        for number, stake in sorted(found.items())
    ]  # fmt: skip
    print_table("stakes, in token units", ("id", "name", "bonded", "unbonding", "slashed", "free at"), rows)


def _settings(place: Home, name: str) -> Settings:
    found = next((settings for settings in place.nodes() if settings.config.name == name), None)
    if found is None:
        raise ConfigurationError(f"no node {name} below {place.folder}: make it with `drystone node init {name}`")
    return found


def _as_owner(place: Home, act: Callable[[Owner], Awaitable[T]]) -> T:
    async def run() -> T:
        async with place.ledger() as ledger:
            return await act(Owner(ledger, place.operator()))

    return asyncio.run(run())
