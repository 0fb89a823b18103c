"""Options that several verbs take, word for word the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

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
ShardsOption = Annotated[
    Optional[int], typer.Option(help="Sharded parameter server: processes over which the cloud lays the model.")
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
