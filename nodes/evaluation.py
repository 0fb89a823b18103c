"""The evaluation data of a task that pays scores, or whose rule measures: its slices, and what one of them tells of a round.

A cloud measures its own rounds with it, an auditor measures them again. The digits are at hand everywhere; a table is, where
its file is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from middleware.errors import ConfigurationError
from middleware.policy import Policy
from middleware.trust import roots

if TYPE_CHECKING:
    from middleware.learn.workload import Workload

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def evaluation_root(workload: Workload, slices: int) -> bytes:
    """What a policy commits to: the root over the hashes of the slices of the workload's test part."""
    from middleware.learn.importance import slice_hashes

    return roots.evaluation_root(slice_hashes(workload.test(), slices))


class Evaluation:
    """The workloads that can be measured here. `tables` are sources such as table:FILE."""

    def __init__(self, tables: Iterable[str] = (), device: str = "cpu") -> None:
        self.tables, self.device = list(tables), device
        self._sources: dict[str, str] | None = None
        self._workloads: dict[tuple[str, str], Workload] = {}
        self._roots: dict[tuple[str, str, int], bytes] = {}

    def root(self, policy: Policy) -> bytes | None:
        """The root over this node's own slices, or None when it does not have the data."""
        key = (policy.workload, policy.model, policy.evaluation_slices)
        workload = self._workload(policy)
        if workload is not None and key not in self._roots:
            self._roots[key] = evaluation_root(workload, policy.evaluation_slices)
        return self._roots.get(key)

    def measure(self, policy: Policy, model: Floats, move: Doubles, slice: int) -> Doubles | None:
        """v (d,) at `model` for the round's `move`, both in the model's units. None when this node does not have the
        data, or when the model is past measuring."""
        workload = self._workload(policy)
        return None if workload is None else measure(workload, policy, model, move, slice, self.device)

    def error(self, policy: Policy, model: Floats, slice: int) -> tuple[float, float] | None:
        """(the fraction of a slice that `model` gets wrong, its mean loss there). None where the data is not at hand."""
        workload = self._workload(policy)
        return None if workload is None else error(workload, policy, self.device, model, slice)

    def _workload(self, policy: Policy) -> Workload | None:
        from middleware.learn.workload import load_workload, workload_id

        if self._sources is None:
            self._sources = {"digits": "digits"} | {workload_id(source): source for source in self.tables}
        source, key = self._sources.get(policy.workload), (policy.workload, policy.model)
        if source is None:
            return None
        if key not in self._workloads:
            self._workloads[key] = load_workload(source, policy.model)
        return self._workloads[key]


def measure(
    workload: Workload, policy: Policy, model: Floats, move: Doubles, slice: int, device: str = "cpu"
) -> Doubles | None:
    """v (d,) of a workload's slice; None when the loss has no finite derivatives at `model`."""
    from middleware.learn.importance import importance, slices

    samples = slices(workload.test(), policy.evaluation_slices)[slice]
    try:
        return importance(workload, model, move, samples, device)
    except ConfigurationError:
        return None


def error(workload: Workload, policy: Policy, device: str, model: Floats, slice: int) -> tuple[float, float]:
    """(the fraction of a workload's slice that `model` gets wrong, its mean loss there)."""
    from middleware.learn.importance import slices
    from middleware.learn.train import evaluate

    samples = slices(workload.test(), policy.evaluation_slices)[slice]
    accuracy, loss = evaluate(workload, model, device, samples)
    return 1 - accuracy, loss
