"""A node's settings: one TOML file, overridden by nothing, every default visible here.

Everything that a daemon needs is in this file and on the ledger, so one machine and a thousand differ only in
addresses. Paths are relative to the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from middleware.errors import ConfigurationError
from middleware.types import LIMITS, Limits, Tier

TIERS = {tier.label: tier for tier in Tier}


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a workload's data this device holds when one file is dealt to several devices of a devnet."""

    index: int = 0
    of: int = 1
    split: str = "iid"  # iid | dirichlet:A | client
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ConfigurationError(f"share {self.index} of {self.of}: the index goes from 0 to {self.of - 1}")


class WorkloadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workload that the owner of this node allows to run here."""

    name: str  # "digits" or "table:FILE"
    client_key: str = "client"
    share: Share = Share()


EDGE_LIES: Final = (
    "omit",
    "silent",
    "false-answers",
)  # devnet only: it drops what it promised, takes nothing, or infers wrongly


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node. `parent` is the base address of the node above; a cloud has none."""

    name: str
    tier: str
    state: str = "state"
    keys: str = "keys.json"
    ledger: str = "ledger.json"
    listen: str = ""  # host:port; a device needs none, since devices only call out
    parent: str = ""
    workloads: list[WorkloadSettings] = []
    device: str = "cpu"  # torch device for training and evaluation
    precision: Literal["float32", "bfloat16"] = "float32"  # of matrix products in training
    graphs: bool = True  # on CUDA: record a training step once and replay it
    threads: int = 1  # torch threads, and of one request's inference
    slots: int = 1  # batches of requests that run at once here
    batch: int = 8  # most requests of one model that run together
    model_bytes: int = 2 * 1024 * 1024 * 1024  # of published models' files resident here at once
    attack: str = ""  # devnet only: the lie that this node tells
    width: float = 1.0  # the part of a model's hidden units that this device can train
    slowdown: float = 1.0  # devnet only: training takes this many times as long
    uplink_bytes_per_second: float = 0.0  # devnet only: uploads are held back to this rate; 0 does not
    ledger_poll_seconds: float = 1.0
    finality_blocks: int = 0  # blocks above a transaction before it counts as final; 0 where a block is final at once
    registers: bool = True  # by itself, if the ledger does not know it; False: it waits for the batch that enrols it
    checkpoint_rounds: int = 100  # cloud: rounds between two checkpoints of its log on the ledger; 0: none
    checkpoint_entries: int = 1000  # edge: entries of its log between two checkpoints, from its own account; 0: none
    admit_requests: bool = True  # cloud: pay the gas of registrations that come up from below
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ConfigurationError(f"tier {self.tier!r}: choose one of {', '.join(TIERS)}")
        if not self.name or len(self.name.encode()) > LIMITS.name_bytes:
            raise ConfigurationError(f"name {self.name!r}: 1 to {LIMITS.name_bytes} bytes")
        if self.tier != "cloud" and not self.parent.startswith(("http://", "https://")):
            raise ConfigurationError(f'node {self.name}: a node of tier {self.tier} needs parent = "http://..."')
        if not 0 < self.width <= 1:
            raise ConfigurationError(f"node {self.name}: width {self.width}: a part of the model above 0, at most 1")
        if not 1 <= self.slots <= 64:
            raise ConfigurationError(f"node {self.name}: slots {self.slots}: 1 to 64 batches at once")
        if not 1 <= self.batch <= 64:
            raise ConfigurationError(f"node {self.name}: batch {self.batch}: 1 to 64 requests together")
        if self.slowdown < 1:
            raise ConfigurationError(f"node {self.name}: slowdown {self.slowdown}: a factor of at least 1")
        if self.uplink_bytes_per_second < 0:
            raise ConfigurationError(
                f"node {self.name}: uplink_bytes_per_second {self.uplink_bytes_per_second}: 0, or a rate above it"
            )
        if self.attack:
            self._require_lie()
        if self.tier != "end" and ":" not in self.listen:
            raise ConfigurationError(f'node {self.name}: a node of tier {self.tier} needs listen = "host:port"')

    def _require_lie(self) -> None:
        if self.tier == "end":
            from middleware.maths import attack  # and numpy with it, which most verbs do without

            try:
                attack.require(self.attack)
            except ValueError as error:
                raise ConfigurationError(f"node {self.name}: {error}") from error
        elif self.tier != "edge" or self.attack not in EDGE_LIES:
            raise ConfigurationError(
                f"node {self.name}: no lie {self.attack!r} of tier {self.tier}: edges can tell {', '.join(EDGE_LIES)}"
            )

    @property
    def rank(self) -> Tier:
        return TIERS[self.tier]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host, int(port)


class Settings(msgspec.Struct, frozen=True):
    """A config and the folder that its relative paths start from."""

    folder: Path
    config: NodeConfig

    def path(self, name: str) -> Path:
        return (self.folder / name).resolve()


def read_config(path: Path) -> Settings:
    """The node's settings; ConfigurationError names the file, the key and what would be right."""
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text())
        config = msgspec.convert(tree, NodeConfig)
    except FileNotFoundError as error:
        raise ConfigurationError(f"no config at {path}: write one with `drystone node init`") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return Settings(path.parent.resolve(), config)


def write_config(path: Path, config: NodeConfig) -> None:
    """The inverse of `read_config`, without the settings that are at their default."""
    tree = msgspec.to_builtins(config)
    defaults = msgspec.to_builtins(NodeConfig("-", "edge", listen=":", parent="http://"))
    defaults |= {"listen": "", "parent": ""}
    lines = [
        f"{key} = {_toml(value)}" for key, value in tree.items() if key in ("name", "tier") or value != defaults[key]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return msgspec.json.encode(value).decode()
        case int() | float():
            return repr(value)
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    raise ConfigurationError(f"{value!r} has no place in a TOML file")
