"""Models of several widths in one task (HeteroFL): what a round makes of them, audited."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from ledger.audit.check import verify
from middleware.errors import ConfigurationError, PeerFault
from middleware.learn.train import train
from middleware.learn.workload import genesis, load_workload
from middleware.policy import WIDTH_ONE, Peers, Policy, Rule, Training
from middleware.policy.architecture import parse
from middleware.protocol import update as updates
from middleware.protocol import widths
from middleware.types import Verdict
from middleware.wire import tensors
from middleware.wire.message import Metrics, Update, decode_stored
from middleware.wire.policy import decode_policy, encode_policy
from tests.sim.history import DEVICES, History, policy_of

MODEL = "mlp:12-20-10-6"
PARAMETERS = sum(int(np.prod(shape)) for shape in parse(MODEL).parameters)
WIDTHS = (256, 128, 64)


def wide(**changes: object) -> Policy:
    return policy_of(**{"model": MODEL, "parameters": PARAMETERS, "rule": Rule("mean", 0), "widths": WIDTHS, **changes})


class Mixed(History):
    """Devices of all widths: whole, half, a quarter, whole."""

    dealt: tuple[int, ...] = (256, 128, 64, 256)

    def width_of(self, node: int) -> int:
        return self.dealt[DEVICES.index(node)]

    def metrics_of(self, node: int, number: int) -> Metrics:
        return {**super().metrics_of(node, number), widths.WIDTH: self.width_of(node)}

    def update_of(self, node: int, number: int) -> np.ndarray:
        count = widths.length(self.policy, self.width_of(node))
        return np.asarray(self.numbers.normal(0, 0.01, count), np.float32)


@pytest.mark.parametrize("arrangement", ["flat", "two-level"])
@pytest.mark.parametrize("codec", ["none", "topk+int8"])
def test_heterofl_a_history_of_several_widths_is_valid_to_the_bit(arrangement: str, codec: str) -> None:
    policy = wide(arrangement=arrangement, codec=msgspec.structs.replace(policy_of().codec, name=codec, density=0.3))
    history = Mixed(policy).run()
    report = verify(history.record, history.store)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()


def test_heterofl_each_number_is_averaged_over_the_devices_that_hold_it() -> None:
    history = Mixed(wide(), 1).run()
    model = tensors.decode_model(history.store.blobs[history.manifests[0].model_out], PARAMETERS)
    before = tensors.decode_model(history.store.blobs[history.manifests[0].model_in], PARAMETERS)
    moved = (model - before) / history.policy.grid.step
    total, holders = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
    for edge in history.manifests[0].edges:
        for row in edge.updates:
            message = decode_stored(row.frame, Update).message
            body = history.store.blobs[message.leaf.ciphertext]
            integers = updates.judge(message, body, row.content_key, history.policy).integers
            mask = widths.held(history.policy, history.width_of(message.sender))
            mask = np.ones(PARAMETERS, bool) if mask is None else mask
            total += integers * message.leaf.weight
            holders += mask * message.leaf.weight
            assert not integers[~mask].any()
    assert np.abs(moved - total / holders).max() <= 0.51
    assert len(set(holders)) == 3


def test_heterofl_with_one_width_it_is_fedavg_bit_for_bit() -> None:
    class Whole(Mixed):
        dealt = (WIDTH_ONE,) * len(DEVICES)

    one, plain = Whole(wide()).run(), History(wide(widths=None)).run()
    assert [manifest.model_out for manifest in one.manifests] == [manifest.model_out for manifest in plain.manifests]


def test_heterofl_the_slice_of_the_whole_model_is_what_the_device_trained() -> None:
    policy = Policy(
        "digits",
        "mlp:64-16-10",
        1210,
        rule=Rule("mean", 0),
        widths=(256, 128),
        training=Training(epochs=1, momentum=0.0),
    )
    whole, mask = genesis(policy), widths.held(policy, 128)
    assert mask is not None
    workload = load_workload("digits", policy.model).narrowed(widths.name_of(policy, 128), 2.0)
    start = whole[mask]
    learned = train(workload, policy, start, 1, 5).update
    integers = np.rint(learned / policy.grid.step).astype(np.int16)
    moved = whole + updates.widened(integers, policy, 128).astype(np.float32) * np.float32(policy.grid.step)
    assert np.array_equal(moved[mask], start + integers.astype(np.float32) * np.float32(policy.grid.step))
    assert np.array_equal(moved[~mask], whole[~mask])
    assert np.abs(integers).max() > 0


class SaysHalf(Mixed):
    """A device sends a whole update and says that it is of half the width."""

    def metrics_of(self, node: int, number: int) -> Metrics:
        return {**super().metrics_of(node, number), widths.WIDTH: 128}


class SaysThird(Mixed):
    def metrics_of(self, node: int, number: int) -> Metrics:
        return {**super().metrics_of(node, number), widths.WIDTH: 85}


@pytest.mark.parametrize("liar", [SaysHalf, SaysThird])
def test_an_update_of_another_width_than_it_says_is_off_the_grid(liar: type[Mixed]) -> None:
    with pytest.raises(PeerFault, match="off-grid"):
        liar(wide()).run()


def test_a_device_takes_the_widest_model_that_it_can_train() -> None:
    policy = wide()
    assert [widths.chosen(policy, part) for part in (1.0, 0.9, 0.5, 0.25)] == [256, 128, 128, 64]
    with pytest.raises(ConfigurationError, match=r"narrowest is 0\.25"):
        widths.chosen(policy, 0.2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"widths": (128, 64)}, "from 256 down"),
        ({"widths": (256,)}, "2 to 8"),
        ({"widths": (256, 256)}, "from 256 down"),
        ({"widths": (256, 255)}, "the same model"),
        ({"rule": Rule("median", 1)}, "--aggregator mean"),
        ({"peers": Peers("gosgd")}, "--peers"),
        ({"parameters": PARAMETERS + 1}, "parameters"),
    ],
)
def test_what_widths_do_not_go_together_with_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        wide(**changes)


def test_a_policy_with_widths_has_one_spelling() -> None:
    assert decode_policy(encode_policy(wide())) == wide()
    assert b"widths" not in encode_policy(wide(widths=None))
