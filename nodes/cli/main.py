"""`drystone`: one console script, verbs as sub-commands. The modules called *_app parse; what a verb does is beside them.

Nothing heavy is imported here, so that `drystone --help` answers at once: each verb imports what it needs when it runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nodes.cli.audit_app import audit
from nodes.cli.dispute_app import dispute
from nodes.cli.model_app import model
from nodes.cli.node_app import node, stake
from nodes.cli.options import HOME, HomeOption, JsonOption, KeystoreOption, PasswordFileOption
from nodes.cli.output import DEBUG, reported
from nodes.cli.run_app import run
from nodes.cli.task_app import task

app = typer.Typer(
    name="drystone",
    help="Owners who do not trust each other compute together: train over devices, edges and a cloud, and check it all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
devnet = typer.Typer(help="A chain on this machine, for trying things out.", no_args_is_help=True)
contracts = typer.Typer(help="The contracts on the ledger.", no_args_is_help=True)
account = typer.Typer(help="Accounts that pay for transactions.", no_args_is_help=True)
ledger = typer.Typer(help="A ledger without a chain: a signed log, and its anchors on a chain.", no_args_is_help=True)
app.add_typer(run)
for group, name in (
    (devnet, "devnet"), (contracts, "contracts"), (ledger, "ledger"), (account, "account"), (node, "node"),
    (stake, "stake"), (task, "task"), (audit, "audit"), (dispute, "dispute"), (model, "model"),
):  # fmt: skip
    app.add_typer(group, name=name)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


# ---------------------------------------------------------------------------------------------------------------- devnet


@devnet.command("up")
@reported
def devnet_up(
    home: HomeOption = HOME,
    port: Annotated[int, typer.Option(help="Port of the chain's RPC on 127.0.0.1.")] = 8545,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks; 0 mines each transaction at once.")] = 0.0,
) -> None:
    """Start a chain and keep it until Ctrl-C; its state survives a restart."""
    from nodes.cli import chain

    chain.up(home, port, block_time)


@contracts.command("deploy")
@reported
def contracts_deploy(
    home: HomeOption = HOME,
    rpc: Annotated[str, typer.Option(help="JSON-RPC address of the chain.")] = "http://127.0.0.1:8545",
    key_file: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy the contracts with the operator's key, or the one in --key-file, and write the address book."""
    from nodes.cli import chain

    chain.deploy_contracts(home, rpc, key_file, password_file, as_json)


# ---------------------------------------------------------------------------------------------------------------- ledger


@ledger.command("init")
@reported
def ledger_init(
    home: HomeOption = HOME,
    listen: Annotated[str, typer.Option(help="host:port where the log will be served.")] = "127.0.0.1:8600",
    as_json: JsonOption = False,
) -> None:
    """Begin a local log in the place of a chain: its key, its first blocks and the address book that names it."""
    from nodes.cli import ledger as verbs

    verbs.init(home, listen, as_json)


@ledger.command("serve")
@reported
def ledger_serve(
    home: HomeOption = HOME,
    listen: Annotated[str, typer.Option(help="host:port to serve on. Default: the address book's.")] = "",
) -> None:
    """Keep the local log below --home and serve it until Ctrl-C."""
    from nodes.cli import ledger as verbs

    verbs.serve(home, listen)


@ledger.command("compare")
@reported
def ledger_compare(
    first: Annotated[Path, typer.Argument(help="A record that `audit log --export` wrote.")],
    second: Annotated[Path, typer.Argument(help="Another member's record of the same log.")],
    as_json: JsonOption = False,
) -> None:
    """Hold two members' records of one local log against each other: a fork exits 3 and shows both signed blocks."""
    from nodes.cli import ledger as verbs

    verbs.compare(first, second, as_json)


@ledger.command("restore")
@reported
def ledger_restore(
    record: Annotated[Path, typer.Argument(help="The newest record of the log that any member exported.")],
    home: HomeOption = HOME,
) -> None:
    """Write a local log's file anew from a member's record, where the file was lost and its key was not."""
    from nodes.cli import ledger as verbs

    verbs.restore(home, record)


@ledger.command("anchor")
@reported
def ledger_anchor(
    ledger_book: Annotated[Path, typer.Option("--ledger-book", help="Address book of the contracts on the chain.")],
    key_file: Annotated[Path, typer.Option("--key-file", help="Key of the chain's node that speaks for the log.")],
    home: HomeOption = HOME,
    rpc: Annotated[str, typer.Option(help="JSON-RPC address of the chain. Default: the address book's.")] = "",
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the local log's root on a chain as a node's checkpoint; once more is no harm."""
    from nodes.cli import ledger as verbs

    verbs.anchor(home, ledger_book, rpc, key_file, password_file, as_json)


@account.command("new")
@reported
def account_new(
    key_file: Annotated[Path, typer.Option("--key-file", help="The file to write; it must not exist.")],
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account key in an encrypted file (web3 secret storage, version 3), which geth and wallets read too."""
    from nodes.cli import account as verbs

    verbs.new(key_file, password_file, as_json)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
