"""`drystone dispute`: what it takes on the command line. What a verb does is in `nodes.cli.dispute`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from nodes.cli.options import HOME, HomeOption, LogOption
from nodes.cli.output import reported

if TYPE_CHECKING:
    from nodes.cli.dispute import Where

dispute = typer.Typer(
    help="Hold others to what they signed: proofs, forced updates, demands and challenges. What is proven costs the accused "
    "its whole stake.",
    no_args_is_help=True,
)

BlobsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--blobs", help="Folder or http address to read blobs from; repeatable. Default: every node below --home."
    ),
]
PayerOption = Annotated[
    Optional[Path],
    typer.Option(
        "--key-file", help="Key file or keystore of the account that pays the gas. Default: the operator's key."
    ),
]
PasswordOption = Annotated[
    Optional[Path], typer.Option("--password-file", help="File with the keystore's password. Default: it is asked for.")
]
ReaderOption = Annotated[
    Optional[Path], typer.Option("--reader", help="Key file of an auditor, where only auditors may read contents.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Simulate, and send nothing: it costs nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TaskOption = Annotated[int, typer.Option("--task", help="Number of the task; 0 is any.")]
RoundOption = Annotated[int, typer.Option("--round", help="Number of the round; 0 is any.")]
OneTaskOption = Annotated[int, typer.Option("--task", help="Number of the task.")]
CloudOption = Annotated[
    str,
    typer.Option(
        "--cloud", help="Address of the cloud, or of any edge, that takes the body. Default: the home's cloud."
    ),
]
NumberArgument = Annotated[int, typer.Argument(help="Number of the dispute.")]
WitnessOption = Annotated[
    str, typer.Option("--node", help="Name of the witness, an active edge or cloud below --home; its account pays.")
]
SUBJECT_HELP = "weights, sums, model, scores, rewards or manifest."


def _where(
    home: Path, log: Optional[Path] = None, blobs: Optional[list[str]] = None, key_file: Optional[Path] = None,
    password_file: Optional[Path] = None, dry_run: bool = False, as_json: bool = False,
) -> Where:  # fmt: skip
    from nodes.cli.dispute import Where

    return Where(home, log, blobs, key_file, password_file, dry_run, as_json)


@dispute.command("find")
@reported
def dispute_find(
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, reader: ReaderOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """List everything that can be proven now. Sends nothing."""
    from nodes.cli import dispute as verbs

    verbs.find(_where(home, log, blobs, as_json=as_json), reader)


@dispute.command("omission")
@reported
def dispute_omission(
    name: Annotated[str, typer.Argument(help="Name of the node whose receipt was not kept; its store is below --home.")],
    task: TaskOption = 0, round_: RoundOption = 0, home: HomeOption = HOME, blobs: BlobsOption = None,
    key_file: PayerOption = None, password_file: PasswordOption = None, dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Prove that a promised place was given away. The payer pays the gas; half of the stake goes to the device."""
    from nodes.cli import dispute as verbs

    verbs.omission(_where(home, None, blobs, key_file, password_file, dry_run, as_json), name, task, round_)


@dispute.command("equivocation")
@reported
def dispute_equivocation(
    name: Annotated[str, typer.Argument(help="Name of the edge or cloud that signed two things.")],
    task: TaskOption = 0, round_: RoundOption = 0, home: HomeOption = HOME, blobs: BlobsOption = None,
    key_file: PayerOption = None, password_file: PasswordOption = None, dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Prove two signatures for one place, or for one round. Half of the stake goes to the payer."""
    from nodes.cli import dispute as verbs

    where = _where(home, None, blobs, key_file, password_file, dry_run, as_json)
    verbs.against(where, name, verbs.EQUIVOCATION, task, round_, "two signatures for one thing")


@dispute.command("sender")
@reported
def dispute_sender(
    name: Annotated[str, typer.Argument(help="Name of the edge that took in what it must not.")],
    task: TaskOption = 0, round_: RoundOption = 0, home: HomeOption = HOME, blobs: BlobsOption = None,
    key_file: PayerOption = None, password_file: PasswordOption = None, dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Prove an inactive or a duplicate sender under a signed root. Half of the stake goes to the payer."""
    from nodes.cli import dispute as verbs

    where = _where(home, None, blobs, key_file, password_file, dry_run, as_json)
    verbs.against(where, name, verbs.SENDERS, task, round_, "a sender that must not stand there")


@dispute.command("sum")
@reported
def dispute_sum(
    task: TaskOption = 0, round_: RoundOption = 0, home: HomeOption = HOME, blobs: BlobsOption = None,
    reader: ReaderOption = None, key_file: PayerOption = None, password_file: PasswordOption = None,
    dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Prove a wrong sum, weight or coordinate by one chunk. Half of the stake goes to the payer; a cloud's round is struck."""
    from nodes.cli import dispute as verbs

    verbs.sums(_where(home, None, blobs, key_file, password_file, dry_run, as_json), task, round_, reader)


@dispute.command("ignored")
@reported
def dispute_ignored(
    task: TaskOption = 0, home: HomeOption = HOME, blobs: BlobsOption = None, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Prove that the cloud left a forced update unread for an hour. Half of the stake goes to the payer."""
    from nodes.cli import dispute as verbs

    verbs.ignored(_where(home, None, blobs, key_file, password_file, dry_run, as_json), task)


@dispute.command("collect")
@reported
def dispute_collect(
    kind: Annotated[str, typer.Argument(help="The offence, as `dispute find` names it, e.g. omission.")],
    name: Annotated[str, typer.Argument(help="Name of the accused.")],
    round_: Annotated[int, typer.Option("--round", help="Number of the round.")],
    task: OneTaskOption = 1, home: HomeOption = HOME, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Pay out what somebody's proof seized: half to its beneficiary, the rest is burned. Anybody may, for the gas."""
    from nodes.cli import dispute as verbs

    verbs.collect(_where(home, None, None, key_file, password_file, dry_run, as_json), kind, name, task, round_)


@dispute.command("force")
@reported
def dispute_force(
    name: Annotated[str, typer.Argument(help="Name of the device; its store and key are below --home.")],
    task: TaskOption = 0, round_: RoundOption = 0,
    relay: Annotated[
        Optional[Path], typer.Option("--relay", help="Write the signed request here, for somebody else to send and pay.")
    ] = None,
    cloud: CloudOption = "", home: HomeOption = HOME, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Force a device's update into the open round, past an edge that does not answer. The payer pays the gas, no bond."""
    from nodes.cli import dispute as verbs

    verbs.force(_where(home, None, None, key_file, password_file, dry_run, as_json), name, task, round_, relay, cloud)


@dispute.command("relay")
@reported
def dispute_relay(
    file: Annotated[Path, typer.Argument(help="What `dispute force --relay` wrote.")],
    cloud: CloudOption = "", home: HomeOption = HOME, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Send somebody's forced update. The payer pays the gas, no bond; only the device's signature counts."""
    from nodes.cli import dispute as verbs

    verbs.relay(_where(home, None, None, key_file, password_file, dry_run, as_json), file, cloud)


@dispute.command("demand")
@reported
def dispute_demand(
    round_: Annotated[int, typer.Argument(help="Number of the round.")],
    edge: Annotated[str, typer.Option("--edge", help="Name of the edge whose data is withheld.")],
    kind: Annotated[str, typer.Option("--kind", help="leaf, chunk or signature.")] = "leaf",
    index: Annotated[int, typer.Option("--index", help="Place of the leaf in the edge's tree.")] = 0,
    chunk: Annotated[int, typer.Option("--chunk", help="Number of the chunk of 256 integers.")] = 0,
    task: OneTaskOption = 1, home: HomeOption = HOME, blobs: BlobsOption = None, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Demand withheld data against the Court's bond: an answer costs the payer the bond, silence the accused its stake."""
    from nodes.cli import dispute as verbs

    where = _where(home, None, blobs, key_file, password_file, dry_run, as_json)
    verbs.demand(where, task, round_, edge, kind, index, chunk)


@dispute.command("answer")
@reported
def dispute_answer(
    number: NumberArgument,
    node: Annotated[str, typer.Option("--node", help="Name of a node below --home whose key opens the content.")] = "",
    home: HomeOption = HOME, blobs: BlobsOption = None, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Answer a demand from the stores below --home. The payer pays the gas and earns the bond."""
    from nodes.cli import dispute as verbs

    verbs.answer(_where(home, None, blobs, key_file, password_file, dry_run, as_json), number, node)


@dispute.command("expire")
@reported
def dispute_expire(
    number: NumberArgument, home: HomeOption = HOME, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """End a demand that nobody answered in time: the accused loses its stake, the challenger gets its bond back."""
    from nodes.cli import dispute as verbs

    verbs.expire(_where(home, None, None, key_file, password_file, dry_run, as_json), number)


@dispute.command("challenge")
@reported
def dispute_challenge(
    round_: Annotated[int, typer.Argument(help="Number of the round.")],
    subject: Annotated[str, typer.Option("--subject", help=SUBJECT_HELP)],
    claim: Annotated[str, typer.Option("--claim", help="What it should be, in hex. Default: computed by replaying.")] = "",
    task: OneTaskOption = 1, home: HomeOption = HOME, blobs: BlobsOption = None, reader: ReaderOption = None,
    key_file: PayerOption = None, password_file: PasswordOption = None, dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Ask witnesses to compute a result again. The payer puts up the Court's bond, and loses it if the header was right."""
    from nodes.cli import dispute as verbs

    where = _where(home, None, blobs, key_file, password_file, dry_run, as_json)
    verbs.challenge(where, task, round_, subject, claim, reader)


@dispute.command("commit")
@reported
def dispute_commit(
    number: NumberArgument, node: WitnessOption,
    digest: Annotated[str, typer.Option("--digest", help="What was computed, in hex. Default: by replaying.")] = "",
    home: HomeOption = HOME, blobs: BlobsOption = None, reader: ReaderOption = None, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Commit a witness to what it computed. Costs gas, paid by the witness's account; those who agree share a lost bond."""
    from nodes.cli import dispute as verbs

    where = _where(home, None, blobs, key_file, password_file, dry_run, as_json)
    verbs.commit(where, number, node, digest, reader)


@dispute.command("reveal")
@reported
def dispute_reveal(
    number: NumberArgument, node: WitnessOption, home: HomeOption = HOME, key_file: PayerOption = None,
    password_file: PasswordOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Reveal what a witness committed to. Costs gas, paid by the witness's account."""
    from nodes.cli import dispute as verbs

    verbs.reveal(_where(home, None, None, key_file, password_file, dry_run, as_json), number, node)


@dispute.command("conclude")
@reported
def dispute_conclude(
    number: NumberArgument,
    lapse: Annotated[bool, typer.Option("--lapse", help="End a challenge that the council left undecided.")] = False,
    home: HomeOption = HOME, key_file: PayerOption = None, password_file: PasswordOption = None,
    dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """End a challenge: three witnesses that agree decide it, otherwise the council is asked. Anybody may, for the gas."""
    from nodes.cli import dispute as verbs

    verbs.conclude(_where(home, None, None, key_file, password_file, dry_run, as_json), number, lapse)


@dispute.command("withdraw")
@reported
def dispute_withdraw(
    home: HomeOption = HOME, key_file: PayerOption = None, password_file: PasswordOption = None,
    dry_run: DryRunOption = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Take out the payer's shares of bonds that others lost."""
    from nodes.cli import dispute as verbs

    verbs.withdraw(_where(home, None, None, key_file, password_file, dry_run, as_json))
