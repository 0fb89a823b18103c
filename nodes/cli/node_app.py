"""`drystone node` and `drystone stake`: what they take on the command line. What a verb does is in the modules beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.options import HOME, HomeOption, JsonOption
from nodes.cli.output import reported

node = typer.Typer(help="Nodes: create, run, admit, list.", no_args_is_help=True)
stake = typer.Typer(help="What an owner puts behind its nodes.", no_args_is_help=True)

# ------------------------------------------------------------------------------------------------------------------ node


@node.command("init")
@reported
def node_init(
    name: Annotated[str, typer.Argument(help="A name of at most 32 bytes, unique on the ledger.")],
    tier: Annotated[str, typer.Option(help="cloud, edge or end.")],
    home: HomeOption = HOME,
    listen: Annotated[str, typer.Option(help="host:port to serve on (cloud, edge).")] = "",
    parent: Annotated[
        str, typer.Option(help="Address of the node above, e.g. http://127.0.0.1:9000 (edge, end).")
    ] = "",
    workload: Annotated[
        Optional[list[str]], typer.Option(help="Workload that may run here: digits or table:FILE; repeatable.")
    ] = None,
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    share: Annotated[str, typer.Option(help="I/N: hold part I (from 0) of N of the data.")] = "0/1",
    split: Annotated[str, typer.Option(help="How the data is dealt: iid, dirichlet:A or client.")] = "dirichlet:0.5",
    seed: Annotated[int, typer.Option(help="Seed of the deal.")] = 0,
    attack: Annotated[str, typer.Option(help="Devnet only: the lie that this node tells, e.g. negate.")] = "",
) -> None:
    """Make a node's folder: keys, settings, and on a devnet the gas that a cloud needs."""
    from nodes.cli import node as verbs

    verbs.init(home, name, tier, listen, parent, workload or ["digits"], client_key, share, split, seed, attack)


@node.command("run")
@reported
def node_run(
    config: Annotated[Path, typer.Option(help="The node's TOML file.")],
    tier: Annotated[str, typer.Option(help="cloud, edge or end; must agree with the file.")] = "",
) -> None:
    """Run one node until Ctrl-C."""
    from nodes.cli import node as verbs

    verbs.run(config, tier)


@node.command("admit")
@reported
def node_admit(
    names: Annotated[Optional[list[str]], typer.Argument(help="Names of the nodes to admit.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Admit every pending node.")] = False,
    home: HomeOption = HOME,
) -> None:
    """Admit registered nodes, as the registrar."""
    from nodes.cli import node as verbs

    verbs.change(home, "admit", names or [], every)


@node.command("suspend")
@reported
def node_suspend(
    names: Annotated[list[str], typer.Argument(help="Names of the nodes.")], home: HomeOption = HOME
) -> None:
    """Suspend nodes: out from the next round on, until reinstated."""
    from nodes.cli import node as verbs

    verbs.change(home, "suspend", names, False)


@node.command("reinstate")
@reported
def node_reinstate(
    names: Annotated[list[str], typer.Argument(help="Names of the nodes.")], home: HomeOption = HOME
) -> None:
    """Let suspended nodes back in."""
    from nodes.cli import node as verbs

    verbs.change(home, "reinstate", names, False)


@node.command("revoke")
@reported
def node_revoke(
    names: Annotated[list[str], typer.Argument(help="Names of the nodes.")], home: HomeOption = HOME
) -> None:
    """Revoke nodes for good."""
    from nodes.cli import node as verbs

    verbs.change(home, "revoke", names, False)


@node.command("register")
@reported
def node_register(
    name: Annotated[str, typer.Argument(help="Name of a node that `node init` made.")],
    home: HomeOption = HOME,
    parent: Annotated[
        str, typer.Option("--parent-node", help="The node above, by name, when it is not below --home.")
    ] = "",
) -> None:
    """Put a node on the ledger as the operator's own, instead of letting it register by itself."""
    from nodes.cli import stake as verbs

    verbs.register(home, name, parent)


@node.command("enrol")
@reported
def node_enrol(
    names: Annotated[list[str], typer.Argument(help="Devices that `node init` made.")],
    home: HomeOption = HOME,
    parent: Annotated[
        str, typer.Option("--parent-node", help="The edge above, by name, when it is not below --home.")
    ] = "",
    cloud: Annotated[
        str, typer.Option(help="Address of the cloud that hands out the list. Default: below --home.")
    ] = "",
) -> None:
    """Register any number of devices with one transaction, as the operator's own."""
    from nodes.cli import stake as verbs

    verbs.enrol(home, names, parent, cloud)


@node.command("rotate")
@reported
def node_rotate(name: Annotated[str, typer.Argument(help="Name of the node.")], home: HomeOption = HOME) -> None:
    """Give a node a new network key; the old one signs no further round."""
    from nodes.cli import stake as verbs

    verbs.rotate(home, name)


@node.command("list")
@reported
def node_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the nodes that the ledger knows."""
    from nodes.cli import node as verbs

    verbs.listing(home, as_json)


# ----------------------------------------------------------------------------------------------------------------- stake

AmountArgument = Annotated[int, typer.Argument(min=1, help="Token units.")]
NameArgument = Annotated[str, typer.Argument(help="Name or number of the node.")]


@stake.command("add")
@reported
def stake_add(name: NameArgument, amount: AmountArgument, home: HomeOption = HOME) -> None:
    """Put stake behind a node; enough of it admits a pending one."""
    from nodes.cli import stake as verbs

    verbs.add(home, name, amount)


@stake.command("unbond")
@reported
def stake_unbond(name: NameArgument, amount: AmountArgument, home: HomeOption = HOME) -> None:
    """Begin to take stake back, as the node's owner."""
    from nodes.cli import stake as verbs

    verbs.unbond(home, name, amount)


@stake.command("withdraw")
@reported
def stake_withdraw(name: NameArgument, home: HomeOption = HOME) -> None:
    """Take back what has finished unbonding, as the node's owner."""
    from nodes.cli import stake as verbs

    verbs.withdraw(home, name)


@stake.command("show")
@reported
def stake_show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Print who has what at stake."""
    from nodes.cli import stake as verbs

    verbs.show(home, as_json)
