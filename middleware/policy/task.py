"""The policy of a task, and a task."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Final, Literal

import msgspec

from middleware.errors import require
from middleware.policy.architecture import WIDTH_ONE, parse
from middleware.policy.codec import CodecSpec
from middleware.policy.combinations import refusal
from middleware.policy.grid import Grid
from middleware.policy.peers import MOST_PEERS, Peers
from middleware.policy.privacy import LocalPrivacy, Privacy, Promise, RecordPrivacy
from middleware.policy.rule import Rule
from middleware.policy.schedule import Schedule
from middleware.policy.server import Server
from middleware.policy.training import Training
from middleware.types import LIMITS

ARRANGEMENTS: Final = ("flat", "two-level")
PAYS: Final = ("participation", "scores")
MOST_SLICES: Final = 4096
MOST_WIDTHS: Final = 8
MOST_SHARDS: Final = 64  # processes of one cloud
MOST_WEIGHED: Final = (
    1 << 37
)  # samples times grid units: 2**10 times it (a staleness weight), 2**16 times, is below 2**63
STATE_OVERHEAD: Final = 4 * 1024 * 1024  # bytes of a state beside its vectors: the standing of nodes, and lengths

HEX_KEY: Final = re.compile("[0-9a-fA-F]{64}")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a task promises, fixed when it is created. Its bytes are on the ledger, in `TaskCreated`."""

    workload: str  # "digits", or "table:" and the SHA-256 of the file in hex
    model: str  # the model's name, e.g. "mlp:64-256-10"
    parameters: int  # numbers in the model
    rounds: int = 20
    arrangement: str = "flat"
    rule: Rule = Rule()
    grid: Grid = Grid()
    codec: CodecSpec = CodecSpec()
    training: Training = Training()
    min_updates: int = 5
    round_seconds: float = 30.0  # seconds until a round closes without those who are missing
    readers: Literal["public", "auditors"] = "public"
    auditors: tuple[str, ...] = ()  # network keys in hex, to whom content keys are wrapped
    samples_cap: int = 4096  # declared samples count as at most this many
    reward_per_round: int = 1_000_000  # token units shared by the round's paid participants
    seed: int = 0
    pay: str = "participation"
    epoch_rounds: int = 0  # pay = scores: rounds from one settlement to the next; the last round settles too
    evaluation: str = ""  # pay = scores, and rules that measure: root over the hashes of the evaluation slices, in hex
    evaluation_slices: int = 0  # how many there are; each round is measured on one
    server: Server | None = None  # None: the model moves by the aggregate itself
    privacy: Privacy | None = None  # None: the aggregate is released as it is
    local: LocalPrivacy | None = None  # None: updates leave their devices as they are
    records: RecordPrivacy | None = None  # None: devices train without noise
    peers: Peers | None = None  # None: one model, everywhere
    widths: tuple[int, ...] | None = None  # of the models that devices may train, of 256 parts; None: the whole one
    schedule: Schedule | None = None  # None: a round waits for everyone, up to its deadline
    shards: int | None = None  # servers over which the cloud lays the model; None: it is one

    def __post_init__(self) -> None:
        require(0 < self.parameters <= LIMITS.parameters, f"parameters {self.parameters}: at most {LIMITS.parameters}")
        require(self.rounds > 0, "a task needs at least one round")
        require(
            self.arrangement in ARRANGEMENTS,
            f"arrangement {self.arrangement!r}: choose one of {', '.join(ARRANGEMENTS)}",
        )
        if self.arrangement != "flat":
            self._require_together(self.arrangement)
        require(
            self.min_updates >= self.rule.least_updates,
            f"{self.rule.name} with f={self.rule.f} needs at least {self.rule.least_updates} updates, "
            f"but min_updates is {self.min_updates}: raise it, or lower f",
        )
        carried = (self.server.vectors if self.server is not None else 0) + self.rule.carries_vector
        most = (LIMITS.blob_bytes - STATE_OVERHEAD) // 4
        require(
            self.parameters * carried <= most,
            f"{self.parameters} parameters: what this task carries from round to round does not fit a blob, at most "
            f"{most // max(1, carried)} do",
        )
        require(0 < self.round_seconds < math.inf, f"round_seconds {self.round_seconds}: a number above 0")
        require(0 <= self.seed < 1 << 63, f"seed {self.seed}: 0 to 2^63 - 1")
        require(0 < self.samples_cap <= LIMITS.samples, f"samples_cap {self.samples_cap}: 1 to {LIMITS.samples}")
        require(0 <= self.reward_per_round < 1 << 96, "reward_per_round must fit 96 bits")
        require(
            self.readers == "public" or len(self.auditors) > 0,
            "readers = auditors needs at least one auditor key, or nobody could ever check the task",
        )
        require(all(HEX_KEY.fullmatch(key) for key in self.auditors), "an auditor is a network key of 64 hex digits")
        require(self.pay in PAYS, f"pay {self.pay!r}: choose one of {', '.join(PAYS)}")
        if self.pay == "scores":
            self._require_scores()
        else:
            require(self.epoch_rounds == 0, "epochs belong to pay = scores")
            if self.rule.measures:
                require(
                    self.evaluation != "", f"{self.rule.name} measures on the server's own data: name evaluation slices"
                )
                self._require_slices()
            else:
                unset = (self.evaluation, self.evaluation_slices) == ("", 0)
                require(unset, "evaluation slices belong to pay = scores, and to rules that measure")

        made = [one for one in (self.privacy, self.local, self.records) if one is not None]
        require(len(made) <= 1, "one promise of privacy a task: central, local or of records")
        require(
            not made or self.pay == "participation",
            "scores tell of single updates, and --dp hides them: use --pay participation",
        )
        if self.privacy is not None:
            self._require_private()
        if self.local is not None:
            self._require_local(self.local)
        if self.records is not None:
            plain = self.training.proximal is None and self.training.seconds is None
            require(
                plain,
                "DP-SGD bounds each record's gradient and counts its steps: use no --proximal or --seconds with it",
            )
        if self.peers is not None:
            self._require_peers(self.peers)
        if self.widths is not None:
            self._require_widths(self.widths)
        if self.training.seconds is not None:
            self._require_anytime(self.training.seconds)
        if self.schedule is not None and self.schedule.arrivals is not None:
            self._require_arrivals(self.schedule.arrivals, self.schedule.staleness is not None)
        if self.shards is not None:
            self._require_shards(self.shards)

    def _require_shards(self, shards: int) -> None:
        most = min(MOST_SHARDS, self.parameters)
        require(
            2 <= shards <= most, f"shards {shards}: 2 to {most}; a model on one server is the default, leave it out"
        )
        whole = self.peers is None and self.widths is None and self.privacy is None
        require(
            whole and (self.schedule is None or self.schedule.staleness is None),
            "a shard divides its slice of the round's sums: use no --peers, --widths, --staleness or central --dp with --shards",
        )

    def _require_widths(self, widths: tuple[int, ...]) -> None:
        self._require_together("widths")
        descending = all(wider > narrower > 0 for wider, narrower in pairwise(widths))
        require(
            2 <= len(widths) <= MOST_WIDTHS and widths[0] == WIDTH_ONE and descending,
            f"widths {widths}: 2 to {MOST_WIDTHS} parts of {WIDTH_ONE}, from {WIDTH_ONE} down",
        )
        sizes = {one: sum(map(math.prod, parse(self.model).narrowed(one).parameters)) for one in widths}
        require(sizes[WIDTH_ONE] == self.parameters, f"model {self.model} has {sizes[WIDTH_ONE]} parameters")
        require(
            len(set(sizes.values())) == len(widths), f"two of the widths {widths} are the same model: leave one out"
        )
        require(self.pay == "participation", "scores compare whole updates: use --pay participation with --widths")
        require(
            self.privacy is None and self.local is None,
            "noise over whole updates would fill what a narrow model does not hold: use no --dp but records with --widths",
        )
        require(self.peers is None, "edges' own models and models of several widths do not mix: use no --peers")
        require(self.arrivals == 0, "late updates of several widths are not weighed: use no --arrivals with --widths")

    def _require_peers(self, peers: Peers) -> None:
        self._require_together("peers")
        require(
            self.server is None,
            "a server step moves one model, and with --peers each edge has its own: use no --server",
        )
        require(self.pay == "participation", "scores are measured on one model: use --pay participation with --peers")
        require(self.privacy is None, "the noise of --dp-mode central covers one sum: use no --peers with it")
        require(self.arrivals == 0, "with --arrivals an update starts from one older model: use no --peers with it")
        room = LIMITS.blob_bytes - STATE_OVERHEAD
        wanted = self.parameters * 8 * (2 if peers.kind == "choco" else 1) * MOST_PEERS
        require(
            wanted <= room,
            f"{self.parameters} parameters: {MOST_PEERS} edges' models do not fit a blob, at most "
            f"{self.parameters * room // wanted} parameters do",
        )

    def _require_anytime(self, seconds: float) -> None:
        require(
            seconds < self.round_seconds,
            f"devices that train for {seconds:g} s cannot deliver in rounds of {self.round_seconds:g} s: raise round_seconds",
        )
        require(
            self.privacy is None and self.local is None,
            "under --dp every client weighs the same: a fixed time (--seconds) cannot weigh it",
        )

    def _require_arrivals(self, arrivals: int, weighed: bool) -> None:
        if weighed:
            self._require_together("staleness")
        require(
            self.arrangement == "flat",
            "arrivals are counted where updates arrive, and two-level edges pass none on: use --arrangement flat",
        )
        require(
            arrivals >= self.min_updates,
            f"a round of {arrivals} arrivals would be void: min_updates is {self.min_updates}, raise --arrivals or lower it",
        )
        require(
            self.pay == "participation",
            "scores are measured against the round's own model, and with --arrivals updates start from older ones: "
            "use --pay participation",
        )
        require(self.privacy is None, "--dp divides by the clients of a whole round: use no --arrivals with it")
        require(
            not weighed or self.samples_cap << (self.grid.bits - 1) <= MOST_WEIGHED,
            f"samples_cap {self.samples_cap} times a staleness weight does not fit the sums of a {self.grid.bits}-bit grid: "
            f"at most {MOST_WEIGHED >> (self.grid.bits - 1)}",
        )

    def _require_local(self, local: LocalPrivacy) -> None:
        require(self.codec.name == "none", "a codec's payload is cut after it was noised: use --codec none with --dp")
        require(self.samples_cap == 1, "under --dp every client weighs the same: use --samples-cap 1")
        require(
            local.room <= self.grid.limit,
            f"noise on the device needs magnitudes up to {local.room}, the grid ends at {self.grid.limit}: use more "
            "--grid-bits, or a coarser --grid-exponent",
        )

    def _require_private(self) -> None:
        self._require_together("dp")
        require(
            self.arrangement == "flat", "an edge's sums would be out before the noise: use --arrangement flat with --dp"
        )
        require(
            self.readers == "auditors",
            "updates that everyone may read are not private: use --readers auditors with --dp",
        )
        require(self.codec.name == "none", "a codec's payload is cut after it was bounded: use --codec none with --dp")
        require(self.samples_cap == 1, "under --dp every client weighs the same: use --samples-cap 1")

    def _require_together(self, column: str) -> None:
        why = refusal(self.rule, column)
        require(not why, why)

    def _require_scores(self) -> None:
        self._require_together("scores")
        require(
            self.arrangement == "flat",
            "scores need every update in one place: use --arrangement flat, or --pay participation",
        )
        require(
            self.server is None,
            "scores measure what the aggregate is worth as it is: use no server step, or --pay participation",
        )
        require(self.grid.exponent <= 0, "scores need a grid whose unit is at most 1")
        require(
            0 < self.epoch_rounds <= self.rounds, f"epoch_rounds {self.epoch_rounds}: 1 to {self.rounds}, the rounds"
        )
        self._require_slices()

    def _require_slices(self) -> None:
        digits = len(self.evaluation) == 64 and set(self.evaluation) <= set("0123456789abcdef")
        require(digits, "the evaluation root has 64 hex digits")
        require(
            0 < self.evaluation_slices <= MOST_SLICES, f"evaluation_slices {self.evaluation_slices}: 1 to {MOST_SLICES}"
        )

    @property
    def promise(self) -> Promise | None:
        """What the task promises about privacy, whoever adds the noise."""
        return self.privacy or self.local or self.records

    @property
    def backup_devices(self) -> int:
        return self.schedule.backup_devices if self.schedule is not None else 0

    @property
    def backup_edges(self) -> int:
        return self.schedule.backup_edges if self.schedule is not None else 0

    @property
    def arrivals(self) -> int:
        """After how many updates a round is closed; 0 where it waits for who is expected."""
        return (self.schedule.arrivals or 0) if self.schedule is not None else 0


class Task(msgspec.Struct, frozen=True):
    """A task as the ledger knows it."""

    id: int
    cloud: int
    policy: Policy
    policy_hash: bytes
    genesis_model: bytes
    window: int  # seconds until an anchored round is final
    block: int
    open: bool = True
    head: int = 0  # the last anchored round
