"""`drystone node`: create, run, admit, list."""

from __future__ import annotations

import asyncio
from pathlib import Path

from middleware.errors import ConfigurationError, Unavailable
from middleware.types import Tier
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table

GAS_WEI = 10**18  # what a new cloud gets from the operator of a devnet to pay for its transactions


def init(
    home: Path, name: str, tier: str, listen: str, parent: str, workloads: list[str], client_key: str, share: str,
    split: str, seed: int, attack: str,
) -> None:  # fmt: skip
    from nodes.config import NodeConfig, Share, WorkloadSettings
    from nodes.create import create_node

    place = Home(home)
    index, _, of = share.partition("/")
    if not (index.isdigit() and of.isdigit()):
        raise ConfigurationError(f"share {share!r}: write I/N, e.g. 0/8")
    settings = [
        WorkloadSettings(_absolute(workload), client_key, Share(int(index), int(of), split, seed))
        for workload in workloads
    ]
    config = NodeConfig(
        name=name, tier=tier, listen=listen, parent=parent, workloads=settings if tier != "edge" else [], attack=attack,
        ledger=str(place.ledger_file.resolve()),
    )  # fmt: skip
    keys = create_node(place.node_folder(name), config)
    print(f"{name}: network key {keys.network.public.hex()}")
    print(f"run it:   drystone node run --tier {tier} --config {place.node_folder(name) / 'node.toml'}")
    if config.rank is Tier.CLOUD and place.operator_file.exists() and not place.address_book().operator:
        _fund(place, keys.account.address)
        print("funded:   1 ETH from the operator, for its transactions")


def _absolute(workload: str) -> str:
    kind, _, file = workload.partition(":")
    return f"{kind}:{Path(file).resolve()}" if file else workload


def _fund(place: Home, address: bytes) -> None:
    from ledger.deploy import transfer

    asyncio.run(transfer(place.address_book().rpc, place.operator(), address, GAS_WEI))


def run(config: Path, tier: str) -> None:
    from nodes import daemon

    daemon.main(config, tier)


def change(home: Path, verb: str, names: list[str], every: bool) -> None:
    from nodes.operator import Operator

    async def act() -> list[str]:
        async with Home(home).ledger() as ledger:
            operator = Operator(ledger, Home(home).operator())
            nodes = await operator.pending() if every else await operator.find(names)
            if not nodes:
                raise Unavailable(
                    "no node is pending: start it, it registers by itself" if every else "name at least one node"
                )
            await operator.change(verb, nodes)
            return [node.name for node in nodes]

    for name in asyncio.run(act()):
        print(f"{verb}: {name}")


def listing(home: Path, as_json: bool) -> None:
    roster = Home(home).read_index().roster()
    nodes = [node for _, node in sorted(roster.nodes.items())]
    if as_json:
        print_json([_row(node) for node in nodes])
        return
    names = {node.id: node.name for node in nodes}
    rows = [
        (
            node.id,
            node.name,
            node.tier.label,
            node.status.name.lower(),
            names.get(node.parent, "-"),
            node.net_key.hex()[:16],
        )
        for node in nodes
    ]
    print_table(
        f"{len(nodes)} nodes at block {roster.block}", ("id", "name", "tier", "status", "parent", "network key"), rows
    )


def _row(node: object) -> dict[str, object]:
    import msgspec

    row: dict[str, object] = msgspec.structs.asdict(node)  # type: ignore[arg-type]
    row["tier"], row["status"] = row["tier"].label, row["status"].name.lower()  # type: ignore[attr-defined]
    return row
