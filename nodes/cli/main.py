"""`drystone`: one console script, verbs as sub-commands. This file parses; what a verb does is in a module beside it.

Nothing heavy is imported here, so that `drystone --help` answers at once: each verb imports what it needs when it runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.dispute_app import dispute
from nodes.cli.model_app import model
from nodes.cli.output import DEBUG, reported

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
node = typer.Typer(help="Nodes: create, run, admit, list.", no_args_is_help=True)
stake = typer.Typer(help="What an owner puts behind its nodes.", no_args_is_help=True)
task = typer.Typer(help="Tasks: create, follow, stop.", no_args_is_help=True)
audit = typer.Typer(help="Check what happened, from the ledger and the blobs alone.", no_args_is_help=True)
for group, name in (
    (devnet, "devnet"), (contracts, "contracts"), (ledger, "ledger"), (account, "account"), (node, "node"),
    (stake, "stake"), (task, "task"), (audit, "audit"), (dispute, "dispute"), (model, "model"),
):  # fmt: skip
    app.add_typer(group, name=name)

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="DRYSTONE_HOME", help="Folder with the address book, keys and nodes.")
]
HOME = Path(".drystone")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
BlobsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--blobs", help="Folder or http address to read blobs from; repeatable. Default: every node below --home."
    ),
]
LogOption = Annotated[
    Optional[Path],
    typer.Option("--log", help="Read the ledger from a file that `audit log --export` wrote, not from the chain."),
]
TaskOption = Annotated[int, typer.Option("--task", help="Number of the task.")]
ScopeOption = Annotated[
    str, typer.Option("--scope", help="public: what anyone can check; auditor: also what needs --key-file to open.")
]
DataOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--data", help="table:FILE to measure rounds again with, where they were; repeatable. The digits need none."
    ),
]
CodecOption = Annotated[
    str, typer.Option(help="none, topk, dgc, qsgd, int8, topk+int8, ..., or auto: see docs/guide/codecs.md.")
]
UploadOption = Annotated[
    Optional[float], typer.Option(help="Codec auto: seconds that an upload should take at most. Default: 2.")
]
SlowLinksOption = Annotated[int, typer.Option(help="The last N devices upload over a slow link.")]
LinkBytesOption = Annotated[float, typer.Option(help="Bytes a second of a slow link.")]
PayOption = Annotated[
    str, typer.Option(help="participation: equal shares each round; scores: by what updates were worth, each epoch.")
]
ArrivalsOption = Annotated[
    Optional[int],
    typer.Option(help="A round closes after so many updates, whoever sent them; 1 is asynchronous SGD."),
]
StalenessOption = Annotated[
    Optional[str],
    typer.Option(help="What an update counts that is t rounds old: inverse (1/t) or polynomial (1/sqrt(1+t))."),
]
CompensationOption = Annotated[
    Optional[float], typer.Option(help="DC-ASGD: strength with which devices move a late gradient to the new model.")
]
SecondsOption = Annotated[
    Optional[float], typer.Option(help="Anytime minibatch: devices train for so long, and weigh what they got through.")
]
EpochOption = Annotated[
    int, typer.Option(help="Rounds from one settlement to the next (pay scores); longer is more even.")
]
AggregatorOption = Annotated[
    str, typer.Option(help="The rule by which updates become one, such as mean or nnm+median; `task rules` lists them.")
]
ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        help="Step by an aggregate: plain, step:ALPHA (of 256), or momentum, adagrad, adam, yogi[:RATE].",
    ),
]
WidthsOption = Annotated[
    Optional[str],
    typer.Option(
        help="Parts of the model that devices may train, from 1 down, such as 1,0.5,0.25: each the widest it can."
    ),
]
PeersOption = Annotated[
    Optional[str],
    typer.Option(
        help="Each edge keeps a model of its own: hierarchical, gossip, choco, push-sum or gosgd (docs/guide/schedules.md)."
    ),
]
GlobalEveryOption = Annotated[
    Optional[int],
    typer.Option(help="Peers: rounds from one average over all edges to the next. Default: the last round."),
]
DpOption = Annotated[
    Optional[float],
    typer.Option(
        "--dp", help="Differential privacy: the epsilon of the whole task, for each client or record (see --dp-mode)."
    ),
]
DpModeOption = Annotated[
    str,
    typer.Option(
        help="central: the cloud adds noise to the sum, for whole clients; local: each device to its update; records: "
        "DP-SGD on each device, for single records."
    ),
]
DpRateOption = Annotated[float, typer.Option(help="Mode records: the probability that a step draws a record.")]
DpStepsOption = Annotated[int, typer.Option(help="Mode records: steps of DP-SGD in a round.")]
DpDeltaOption = Annotated[float, typer.Option(help="The delta of --dp.")]
DpNoiseOption = Annotated[
    Optional[float], typer.Option(help="Noise multiplier of --dp. Default: the least that all rounds can be paid with.")
]
DpClipOption = Annotated[
    float, typer.Option(help="L2 length to which --dp cuts each update, or each record's gradient.")
]
KeyFileOption = Annotated[
    Optional[Path], typer.Option("--key-file", help="Key file of an auditor, or of whoever acts.")
]
KeystoreOption = Annotated[
    Optional[Path],
    typer.Option("--key-file", help="Encrypted keystore of the account that deploys. Default: the operator's key."),
]
PasswordFileOption = Annotated[
    Optional[Path],
    typer.Option("--password-file", help="File whose first line is the password. Default: it is asked for, unseen."),
]


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


# ------------------------------------------------------------------------------------------------------------------ task


@task.command("new")
@reported
def task_new(
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Name of the cloud that runs the task.")] = "cloud",
    workload: Annotated[str, typer.Option(help="digits or table:FILE.")] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 20,
    aggregator: AggregatorOption = "multi-krum",
    tolerate: Annotated[
        Optional[int], typer.Option(help="Lying devices that the rule must survive. Default: 1, and 0 for the mean.")
    ] = None,
    server: ServerOption = "plain",
    arrangement: Annotated[str, typer.Option(help="flat or two-level.")] = "flat",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    density: Annotated[float, typer.Option(help="Fraction of the coordinates that a selection keeps.")] = 0.01,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    backup_edges: Annotated[int, typer.Option(help="Edges that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    stalest: Annotated[
        Optional[int], typer.Option(help="Rounds before the open one that an update may have started. Default: 64.")
    ] = None,
    compensation: CompensationOption = None,
    widths: WidthsOption = None,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    links: Annotated[
        Optional[str], typer.Option(help="Peers: ring, complete, or exponential (push-sum, and its default).")
    ] = None,
    gossip_step: Annotated[
        Optional[float], typer.Option(help="Peers choco: the part of a step towards the copies. Default: 0.25.")
    ] = None,
    peer_density: Annotated[
        Optional[float], typer.Option(help="Peers choco: the fraction of the coordinates that is sent. Default: 0.1.")
    ] = None,
    bit_budget: Annotated[Optional[int], typer.Option(help="Codec digital: bits of one update.")] = None,
    grid_bits: Annotated[
        Optional[int],
        typer.Option(help="Width of the integer grid, 8 to 24 bits. Default: 16; 24 for noise on the device."),
    ] = None,
    grid_exponent: Annotated[Optional[int], typer.Option(help="One grid unit is worth 2 to this power.")] = None,
    min_updates: Annotated[
        Optional[int], typer.Option(help="Fewer updates void the round. Default: what the rule needs.")
    ] = None,
    round_seconds: Annotated[
        float, typer.Option(help="Seconds until a round closes without those who are missing.")
    ] = 30.0,
    epochs: Annotated[Optional[int], typer.Option(help="Local passes over the data in a round.")] = None,
    batch: Annotated[Optional[int], typer.Option(help="Samples in a local batch.")] = None,
    learning_rate: Annotated[Optional[float], typer.Option(help="Local learning rate.")] = None,
    momentum: Annotated[Optional[float], typer.Option(help="Local momentum. Default: 0.9, 0 under dgc.")] = None,
    proximal: Annotated[Optional[float], typer.Option(help="FedProx: mu, the pull towards the round's model.")] = None,
    seconds: SecondsOption = None,
    readers: Annotated[
        Optional[str],
        typer.Option(help="Who may read updates after the round: public or auditors (default under central --dp)."),
    ] = None,
    auditor: Annotated[Optional[list[str]], typer.Option(help="Network key (hex) of an auditor; repeatable.")] = None,
    reward: Annotated[int, typer.Option(help="Token units that a round pays in all.")] = 1_000_000,
    samples_cap: Annotated[
        Optional[int],
        typer.Option(
            help="Declared samples count as at most this many. Default: 4096; 1 for privacy of whole clients."
        ),
    ] = None,
    pay: PayOption = "participation",
    epoch: EpochOption = 10,
    slices: Annotated[int, typer.Option(help="Parts of the evaluation set; a round uses one (pay scores).")] = 4,
    window: Annotated[int, typer.Option(help="Seconds until an anchored round is final and can be claimed.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the model and of local training.")] = 0,
    dp: DpOption = None,
    dp_mode: DpModeOption = "central",
    dp_delta: DpDeltaOption = 1e-5,
    dp_noise: DpNoiseOption = None,
    dp_clip: DpClipOption = 1.0,
    dp_rate: DpRateOption = 0.1,
    dp_steps: DpStepsOption = 20,
    dp_clients: Annotated[int, typer.Option(help="How many clients --dp expects; the sum is divided by it.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Create a task on the ledger and fund its rewards; refused at once if its policy cannot hold."""
    from nodes.cli import task as verbs

    choices = {
        "workload": workload, "client_key": client_key, "model": model, "rounds": rounds, "aggregator": aggregator,
        "server": server, "tolerate": tolerate, "arrangement": arrangement,
        "codec": codec, "density": density, "bit_budget": bit_budget, "upload_seconds": upload_seconds,
        "backup_devices": backup_devices, "backup_edges": backup_edges, "arrivals": arrivals, "staleness": staleness,
        "stalest": stalest, "compensation": compensation, "seconds": seconds, "grid_bits": grid_bits,
        "grid_exponent": grid_exponent, "min_updates": min_updates, "round_seconds": round_seconds, "epochs": epochs,
        "batch": batch, "learning_rate": learning_rate, "momentum": momentum, "proximal": proximal,
        "readers": readers,
        "auditors": tuple(auditor or ()), "reward_per_round": reward, "samples_cap": samples_cap, "seed": seed,
        "pay": pay, "epoch": epoch, "slices": slices, "dp": dp, "dp_delta": dp_delta, "dp_noise": dp_noise,
        "widths": widths, "peers": peers, "global_every": global_every, "links": links, "gossip_step": gossip_step,
        "peer_density": peer_density,
        "dp_clip": dp_clip, "dp_clients": dp_clients, "dp_mode": dp_mode, "dp_rate": dp_rate, "dp_steps": dp_steps,
    }  # fmt: skip
    verbs.new(home, cloud, choices, window, as_json)


@task.command("rules")
@reported
def task_rules(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the rules by which updates become one: what each needs, and what it goes together with."""
    from nodes.cli import task as verbs

    verbs.rules(as_json, markdown)


@task.command("list")
@reported
def task_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the tasks on the ledger."""
    from nodes.cli import task as verbs

    verbs.listing(home, as_json)


@task.command("show")
@reported
def task_show(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Address of the cloud. Default: the one below --home.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show a task: its policy, its rounds, and what it waits for."""
    from nodes.cli import task as verbs

    verbs.show(home, number, cloud, as_json)


@task.command("watch")
@reported
def task_watch(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Address of the cloud. Default: the one below --home.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Follow a task until it ends (one JSON object a round with --json)."""
    from nodes.cli import task as verbs

    verbs.watch(home, number, cloud, as_json)


@task.command("stop")
@reported
def task_stop(number: Annotated[int, typer.Argument(help="Number of the task.")], home: HomeOption = HOME) -> None:
    """End a task on the ledger; the open round is abandoned."""
    from nodes.cli import task as verbs

    verbs.stop(home, number)


@task.command("claim")
@reported
def task_claim(
    number: Annotated[int, typer.Argument(help="Number of the task.")],
    home: HomeOption = HOME,
    blobs: BlobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pay out what the last final round's rewards root owes each node; the operator's key pays the gas."""
    from nodes.cli import task as verbs

    verbs.claim(home, number, blobs or [], as_json)


# ----------------------------------------------------------------------------------------------------------------- audit


@audit.command("log")
@reported
def audit_log(
    home: HomeOption = HOME,
    log: LogOption = None,
    export: Annotated[Optional[Path], typer.Option(help="Write the whole ledger record to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ledger's record, event by event, or export it."""
    from nodes.cli import audit as verbs

    verbs.log(home, log, export, as_json)


@audit.command("task")
@reported
def audit_task(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print what the record says of a task."""
    from nodes.cli import audit as verbs

    verbs.task(home, log, blobs or [], number, as_json)


@audit.command("round")
@reported
def audit_round(
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a round's header and manifest: who took part, with which weight."""
    from nodes.cli import audit as verbs

    verbs.round(home, log, blobs or [], task_number, number, as_json)


@audit.command("node")
@reported
def audit_node(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a node's history: registration, status, keys, and its part in each round."""
    from nodes.cli import audit as verbs

    verbs.node(home, log, blobs or [], task_number, name, as_json)


@audit.command("update")
@reported
def audit_update(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print one update with its inclusion proof up to the header on the ledger."""
    from nodes.cli import audit as verbs

    verbs.update(home, log, blobs or [], task_number, name, number, as_json)


@audit.command("verify")
@reported
def audit_verify(
    task_number: TaskOption = 0,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None,
    scope: ScopeOption = "public", key_file: KeyFileOption = None, data: DataOption = None,
    anchors: Annotated[
        Optional[Path],
        typer.Option(help="Address book or exported record of the chain that a local log was anchored on."),
    ] = None,
    anchored_by: Annotated[str, typer.Option(help="Name or number of the node whose checkpoints are this log's.")] = "",
    noise_secret: Annotated[
        Optional[Path], typer.Option(help="File with the secret of a private task's noise, to repeat it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check the whole history: VALID exits 0, INVALID 3 and names the first wrong thing, UNVERIFIABLE 4."""
    from nodes.cli import audit as verbs

    verbs.verify(
        home, log, blobs or [], task_number, scope, key_file, as_json, data or [], anchors, anchored_by, noise_secret
    )


@audit.command("replay")
@reported
def audit_replay(
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None,
    scope: ScopeOption = "public", key_file: KeyFileOption = None, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Recompute every aggregate, model, score and reward of a task and compare them to the bit."""
    from nodes.cli import audit as verbs

    verbs.replay(home, log, blobs or [], task_number, scope, key_file, as_json, data or [])


@audit.command("tamper")
@reported
def audit_tamper(
    fault: Annotated[str, typer.Argument(help="Name of one fault, e.g. padded-reward. Default: all.")] = "",
    run: Annotated[
        Optional[Path], typer.Option(help="A finished run of `drystone demo`; it stays as it is. Default: a new one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run that is made.")] = 0,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
) -> None:
    """Put each fault into a copy of a run and show that the audit names it; exits 0 only when all are caught."""
    from nodes.cli import tamper as verbs

    verbs.tamper(run, fault, seed, as_json, markdown)


@audit.command("explain")
@reported
def audit_explain(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Say why a node was paid what it was paid in a round, with the proof to the rewards root."""
    from nodes.cli import audit as verbs

    verbs.explain(home, log, blobs or [], task_number, name, number, as_json)


@audit.command("bundle")
@reported
def audit_bundle(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    task_number: TaskOption = 1,
    block: Annotated[
        Optional[int], typer.Option(help="Block whose state is proven; by default the one that anchored the round.")
    ] = None,
    rpc: Annotated[
        Optional[str], typer.Option(help="Node of the chain to ask instead of the address book's, such as an archive node.")
    ] = None,
    home: HomeOption = HOME, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write a file that proves a node's update and reward against one block hash, with no node to be trusted."""
    from nodes.cli import bundle as verbs

    verbs.bundle(home, blobs or [], task_number, name, number, out, block, rpc, as_json)


@audit.command("verify-bundle")
@reported
def audit_verify_bundle(
    file: Annotated[Path, typer.Argument(help="File that `audit bundle` wrote.")],
    block_hash: Annotated[Optional[str], typer.Option(help="Hash of the bundle's block, from a source you trust.")] = None,
    ledger: Annotated[
        Optional[str], typer.Option(help="Address of the ledger; by default the address book's below --home.")
    ] = None,
    chain_id: Annotated[
        Optional[int], typer.Option(help="Id of the chain; by default the address book's below --home.")
    ] = None,
    home: HomeOption = HOME, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check such a file offline: VALID exits 0, INVALID 3, UNVERIFIABLE 4 while no block hash is given."""
    from nodes.cli import bundle as verbs

    verbs.verify_bundle(home, file, block_hash, ledger, chain_id, as_json)


# ------------------------------------------------------------------------------------------------------------------ demo


@app.command("demo")
@reported
def demo(
    workload: Annotated[
        str, typer.Option(help="digits, or table:FILE for a .npz or .csv with X, y and maybe client, test.")
    ] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    devices: Annotated[int, typer.Option(help="Devices to start.")] = 8,
    edges: Annotated[int, typer.Option(help="Edges to start; devices are dealt to them in blocks.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 20,
    byzantine: Annotated[str, typer.Option(help="N[:ATTACK]: the first N devices lie.")] = "1",
    aggregator: AggregatorOption = "multi-krum",
    server: ServerOption = "plain",
    arrangement: Annotated[str, typer.Option(help="flat or two-level.")] = "flat",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    slow_links: SlowLinksOption = 0,
    link_bytes: LinkBytesOption = 1e5,
    split: Annotated[str, typer.Option(help="iid, dirichlet:A or client.")] = "dirichlet:0.5",
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    slow: Annotated[int, typer.Option(help="The last so many devices take ten times as long to train.")] = 0,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    compensation: CompensationOption = None,
    widths: WidthsOption = None,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    seconds: SecondsOption = None,
    pay: PayOption = "participation",
    epoch: EpochOption = 10,
    dp: DpOption = None,
    dp_mode: DpModeOption = "central",
    dp_delta: DpDeltaOption = 1e-5,
    dp_noise: DpNoiseOption = None,
    dp_clip: DpClipOption = 1.0,
    dp_rate: DpRateOption = 0.1,
    dp_steps: DpStepsOption = 20,
    seed: Annotated[int, typer.Option(help="Seed of the deal, the model and the training.")] = 0,
    on: Annotated[
        str, typer.Option("--ledger", help="evm: a chain on this machine; local: a signed log, no chain.")
    ] = "evm",
    out: Annotated[Path, typer.Option(help="Folder for the report, the picture and the record.")] = Path("runs/demo"),
    as_json: JsonOption = False,
) -> None:
    """Start a chain and three tiers as processes, train with liars among them, anchor, pay, and audit it all."""
    from nodes.cli import demo as verbs

    verbs.run(
        out, as_json, workload=workload, client_key=client_key, devices=devices, edges=edges, rounds=rounds,
        byzantine=byzantine, aggregator=aggregator, server=server,
        arrangement=arrangement, codec=codec, upload_seconds=upload_seconds,
        slow_links=slow_links, link_bytes=link_bytes, split=split, model=model, seed=seed,
        pay=pay, epoch=epoch, ledger=on, dp=dp, dp_delta=dp_delta, dp_noise=dp_noise, dp_clip=dp_clip,
        slow=slow, backup_devices=backup_devices, arrivals=arrivals, staleness=staleness, compensation=compensation,
        seconds=seconds, widths=widths, peers=peers, global_every=global_every,
        dp_mode=dp_mode, dp_rate=dp_rate, dp_steps=dp_steps,
    )  # fmt: skip


@app.command("sim")
@reported
def sim(
    workload: Annotated[
        str,
        typer.Option(help="digits, mnist, hapt, or table:FILE for a .npz or .csv with X, y and maybe client, test."),
    ] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    devices: Annotated[int, typer.Option(help="Devices to simulate.")] = 1000,
    edges: Annotated[int, typer.Option(help="Edges; devices are dealt to them in blocks.")] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 5,
    byzantine: Annotated[str, typer.Option(help="N[:ATTACK]: the first N devices lie.")] = "0",
    aggregator: Annotated[
        str, typer.Option(help="The rule, such as mean or nnm+median; `task rules` lists them.")
    ] = "trimmed-mean",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    density: Annotated[float, typer.Option(help="Fraction of the coordinates that a selection keeps.")] = 0.01,
    slow_links: SlowLinksOption = 0,
    link_bytes: LinkBytesOption = 1e5,
    partition: Annotated[str, typer.Option(help="Who holds what: iid, dirichlet:A or client.")] = "iid",
    samples: Annotated[
        int, typer.Option(help="Samples that each device draws; 0 deals the data, or draws where there is too little.")
    ] = 0,
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    epochs: Annotated[int, typer.Option(help="Passes over its samples that a device trains in a round.")] = 5,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    batch: Annotated[int, typer.Option(help="Samples in a batch.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Step size of local training.")] = 0.05,
    momentum: Annotated[
        Optional[float], typer.Option(help="Momentum of local training. Default: 0.9, and 0 under codec dgc.")
    ] = None,
    wire: Annotated[
        bool,
        typer.Option("--wire/--no-wire", help="Keys, signatures, sealing and trees as on the wire, or none of them."),
    ] = True,
    ledger: Annotated[
        Optional[bool],
        typer.Option("--ledger/--no-ledger", help="Anchor each round on a ledger in memory. Default: as --wire."),
    ] = None,
    slow: Annotated[int, typer.Option(help="The last so many devices take ten times as long for an update.")] = 0,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    server: ServerOption = "plain",
    seed: Annotated[int, typer.Option(help="Seed of the deal, the model and the training.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads that training may use.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the report and the picture.")] = Path("runs/sim"),
    as_json: JsonOption = False,
) -> None:
    """Simulate thousands of devices in one process, with the code that daemons run."""
    from nodes.cli import sim as verbs

    verbs.run(
        out, as_json, threads, workload=workload, client_key=client_key, devices=devices, edges=edges, rounds=rounds,
        byzantine=byzantine, aggregator=aggregator, codec=codec, density=density, upload_seconds=upload_seconds,
        slow_links=slow_links, link_bytes=link_bytes, split=partition, samples=samples,
        model=model, epochs=epochs, batch=batch, learning_rate=learning_rate, momentum=momentum, wire=wire,
        ledger=wire if ledger is None else ledger, seed=seed, slow=slow, backup_devices=backup_devices, arrivals=arrivals,
        staleness=staleness, server=server, peers=peers, global_every=global_every,
    )  # fmt: skip


@app.command("bench")
@reported
def bench(
    name: Annotated[Optional[str], typer.Argument(help="Which one; without a name they are listed.")] = None,
    long: Annotated[bool, typer.Option("--long", help="The long form, of those that have one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure on this machine what the documents claim: a table, pictures, and JSON in runs/bench."""
    from nodes.cli import bench as verbs

    if name is None:
        verbs.show(as_json)
    elif status := verbs.run(name, long, as_json):
        raise typer.Exit(status)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
