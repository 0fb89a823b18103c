"""The workloads that the owner of a node allows, found by name and digest, loaded when a task first needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from middleware.errors import ConfigurationError
from middleware.policy import Policy
from nodes.config import Settings, WorkloadSettings

if TYPE_CHECKING:
    from middleware.learn.workload import Workload


class Workloads:
    """A node runs only what its config lists; a table is recognised by the digest of its file."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.allowed: dict[str, WorkloadSettings] = {}
        self.loaded: dict[tuple[str, str], Workload] = {}

    def _allow(self) -> dict[str, WorkloadSettings]:
        from middleware.learn.workload import workload_id  # loads torch, which an edge never needs

        if not self.allowed:
            for entry in self.settings.config.workloads:
                self.allowed[workload_id(self.source(entry))] = entry
        return self.allowed

    def source(self, entry: WorkloadSettings) -> str:
        """The workload's name with its file made absolute."""
        kind, _, file = entry.name.partition(":")
        return f"{kind}:{self.settings.path(file)}" if file else entry.name

    def require(self, policy: Policy) -> WorkloadSettings:
        """The owner's settings for the policy's workload, or ConfigurationError."""
        entry = self._allow().get(policy.workload)
        if entry is None:
            raise ConfigurationError(
                f"workload {policy.workload} is not allowed on this node: list it under workloads in its config"
            )
        return entry

    def load(self, policy: Policy) -> Workload:
        """The policy's workload with this node's share of the data."""
        from middleware.learn.workload import load_workload

        key = (policy.workload, policy.model)
        if key not in self.loaded:
            entry = self.require(policy)
            share = entry.share
            self.loaded[key] = load_workload(
                self.source(entry), policy.model, client_key=entry.client_key, index=share.index, of=share.of,
                split=share.split, seed=share.seed,
            )  # fmt: skip
        return self.loaded[key]
