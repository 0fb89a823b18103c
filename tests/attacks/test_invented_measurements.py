"""The cloud invents what a rule measured on its data, so that a friend's update stays in."""

from __future__ import annotations

from ledger.audit.check import verify
from ledger.audit.replay import manifest_weights
from middleware.protocol.update import Floats
from middleware.types import Verdict
from tests.sim.history import DEVICES
from tests.sim.test_measured import Data, Measuring, distance, measured


class Invents(Measuring):
    """In round 2 the cloud's rule is told that good is bad, so the liar stays in and an honest device is left out."""

    def measure(self, model: Floats, slice: int) -> tuple[float, float]:
        error, loss = distance(model, slice)
        return (1 - error, 1000 - loss) if len(self.headers) == 1 else (error, loss)


def test_invented_measurements_are_named_by_whoever_has_the_data() -> None:
    history, honest = Invents(measured()).run(), Measuring(measured()).run()
    weights = [manifest_weights(one.manifests[1]) for one in (honest, history)]
    assert weights[0][DEVICES[0]] == 0 < weights[1][DEVICES[0]]
    assert verify(history.record, history.store).verdict is Verdict.VALID
    report = verify(history.record, history.store, evaluation=Data())
    assert report.first is not None
    assert (report.first.subject, report.first.round, report.verdict) == ("measurements", 2, Verdict.INVALID)
    assert "anchor transaction" in report.first.proven_by
