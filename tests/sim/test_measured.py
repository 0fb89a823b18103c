"""Rules that measure on the server's own data, audited: repeated from the record, and measured again where the data is."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from ledger.audit.check import examine, verify
from middleware.policy import Policy, Rule
from middleware.protocol import settlement as settling
from middleware.protocol.measuring import slice_of
from middleware.protocol.settlement import Opening, Reported, Settlement
from middleware.protocol.update import Floats
from middleware.types import Verdict
from middleware.wire.state import encode_state
from tests.sim.history import DEVICES, DOMAIN, PARAMETERS, TASK, History, policy_of

ROOT = hashlib.sha256(b"evaluation").digest()


def measured(screen: str = "fang-lfr") -> Policy:
    return policy_of(rule=Rule(f"{screen}:mean", 1), min_updates=3, evaluation=ROOT.hex(), evaluation_slices=3)


def distance(model: Floats, slice: int) -> tuple[float, float]:
    """A quadratic loss around a point that depends on the slice; the error falls with it."""
    point = np.random.default_rng(slice).normal(0, 1, PARAMETERS)
    loss = float(np.mean((model.astype(np.float64) - point) ** 2))
    return 1 - 1 / (1 + loss), loss


class Data:
    """An auditor's evaluation data."""

    def __init__(self, root: bytes | None = ROOT) -> None:
        self.known = root

    def root(self, policy: Policy) -> bytes | None:
        return self.known

    def measure(self, policy: Policy, model: Floats, move: np.ndarray, slice: int) -> np.ndarray | None:
        return None

    def error(self, policy: Policy, model: Floats, slice: int) -> tuple[float, float] | None:
        return distance(model, slice)


class Measuring(History):
    """The first device sends what takes the model away from where the loss is small."""

    def update_of(self, node: int, number: int) -> np.ndarray:
        learned = super().update_of(node, number)
        return learned if node != DEVICES[0] else np.asarray(2 * np.sign(self.model), np.float32)

    def measure(self, model: Floats, slice: int) -> tuple[float, float]:
        return distance(model, slice)

    def settle(self, opening: Opening, received: list[Reported], forced: settling.Forced) -> Settlement:
        return settling.settle(DOMAIN.context, self.policy, opening, received, forced, self.measure)


@pytest.mark.parametrize("screen", ["fang-err", "fang-lfr", "fang-union"])
def test_an_honest_history_is_valid_with_and_without_the_data(screen: str) -> None:
    history = Measuring(measured(screen)).run()
    for data in (Data(), None):
        report = verify(history.record, history.store, evaluation=data)
        assert report.verdict is Verdict.VALID, report.first and report.first.line()
        assert any("measured with" in words for words in report.not_checked) == (data is None)
    for number in (1, 2, 3):
        settlement = examine(history.record, history.store).rounds[TASK, number].settlement
        assert settlement is not None and settlement.state.measured
        chosen = slice_of(history.headers[number - 1].inputs_root, TASK, number, 3)
        assert 0 <= chosen < 3


def test_without_the_record_the_round_cannot_be_repeated() -> None:
    history = Measuring(measured()).run()
    del history.store.blobs[history.manifests[1].state]
    report = verify(history.record, history.store)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert report.first is not None and report.first.fault == "withheld-blob"


class Shortens(Measuring):
    def settled(self, number: int, settlement: Settlement) -> Settlement:
        if number != 2:
            return settlement
        kept = settlement.state.measured
        return self.restated(settlement, kept[:-1])

    def restated(self, settlement: Settlement, answers: tuple[tuple[float, float], ...]) -> Settlement:
        state = msgspec.structs.replace(settlement.state, measured=answers)
        blob = encode_state(state)
        manifest = msgspec.structs.replace(settlement.manifest, state=hashlib.sha256(blob).digest())
        return msgspec.structs.replace(settlement, manifest=manifest, state=state, state_blob=blob)


class Lengthens(Shortens):
    def settled(self, number: int, settlement: Settlement) -> Settlement:
        answers = (*settlement.state.measured, (0.5, 0.5))
        return self.restated(settlement, answers) if number == 2 else settlement


@pytest.mark.parametrize(("kind", "subject"), [(Shortens, "aggregate"), (Lengthens, "state")])
def test_a_record_that_is_too_short_or_too_long_is_named(kind: type[Shortens], subject: str) -> None:
    report = verify(*(lambda h: (h.record, h.store))(kind(measured()).run()))
    assert report.first is not None
    assert (report.first.verdict, report.first.subject, report.first.round) == (Verdict.INVALID, subject, 2)
