from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import models, vector
from middleware.learn.hardware import Hardware
from middleware.learn.train import LARGEST_LOSS, central, evaluate, train
from middleware.learn.workload import Classification, Samples, genesis, load_pooled, load_workload
from middleware.policy import Policy, Rule, Training

POLICY = Policy(
    workload="digits", model="mlp:64-32-10", parameters=64 * 32 + 32 + 330, training=Training(2, 16, 0.1, 0.9)
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As daemons do: for steps this small a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def share() -> Classification:
    return load_workload("digits", POLICY.model, index=2, of=8, split="dirichlet:0.5", seed=1)


def with_plan(**changes: float) -> Policy:
    return msgspec.structs.replace(POLICY, training=msgspec.structs.replace(POLICY.training, **changes))


def test_training_is_torchs_own_sgd_with_momentum(share: Classification) -> None:
    model = genesis(POLICY)
    result = train(share, POLICY, model, round=3, node=5)
    bound = vector.bind(share.model(), model)
    optimiser = torch.optim.SGD(bound.module.parameters(), lr=0.1, momentum=0.9)
    generator = np.random.default_rng([0, 3, 5])
    features, labels = map(torch.from_numpy, share.data())
    for _ in range(2):
        order = torch.from_numpy(generator.permutation(len(labels)))
        for rows in torch.split(order, 16):
            optimiser.zero_grad(set_to_none=False)
            torch.nn.functional.cross_entropy(bound.module(features[rows]), labels[rows]).backward()
            optimiser.step()
    assert np.allclose(result.update, vector.flatten(bound.module) - model, atol=1e-6)
    assert np.abs(result.update).max() > 0.01


def test_an_update_says_what_it_is_made_of(share: Classification) -> None:
    result = train(share, POLICY, genesis(POLICY), 1, 1)
    assert result.update.dtype == np.float32
    assert result.update.shape == (POLICY.parameters,)
    assert result.samples == len(share.data())
    assert result.steps == 2 * math.ceil(result.samples / 16)
    assert 0 < result.metrics["loss"] < math.log(10)


def test_training_repeats_to_the_bit_and_differs_by_round_and_node(share: Classification) -> None:
    model = genesis(POLICY)
    updates = [train(share, POLICY, model, *place).update.tobytes() for place in ((1, 1), (1, 1), (2, 1), (1, 2))]
    assert updates[0] == updates[1]
    assert len(set(updates)) == 3
    assert model.tobytes() == genesis(POLICY).tobytes()


def test_training_touches_no_global_generator(share: Classification) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(share, POLICY, genesis(POLICY), 1, 1)
    assert torch.equal(torch.rand(3), expected)


def test_training_that_diverges_says_so(share: Classification) -> None:
    with pytest.raises(ConfigurationError, match="diverged in round 1: lower the learning rate"):
        train(share, with_plan(learning_rate=1e20), genesis(POLICY), 1, 1)


def test_evaluation_counts_what_is_right(share: Classification) -> None:
    data = share.test()
    right = np.zeros(POLICY.parameters, np.float32)
    right[-10] = 5.0  # the bias of class 0: every sample is called a 0
    accuracy, loss = evaluate(share, right)
    zeros = float((data.labels == 0).mean())
    assert accuracy == pytest.approx(zeros)
    assert loss == pytest.approx(math.log(math.exp(5) + 9) - 5 * zeros, rel=1e-5)


def test_a_ruined_model_still_has_a_loss_to_report(share: Classification) -> None:
    for value in (3e38, np.nan):
        accuracy, loss = evaluate(share, np.full(POLICY.parameters, value, np.float32))
        assert loss == LARGEST_LOSS
        assert 0 <= accuracy <= 0.2


def test_central_training_learns_the_digits_with_the_steps_it_is_given() -> None:
    pooled = load_pooled("digits", POLICY.model, indices=range(8), of=8, split="iid", seed=0)
    curve = central(pooled, POLICY, [80] * 5)
    assert len(curve) == 5
    assert curve[0] < 0.9 < curve[-1]
    assert central(pooled, POLICY, [40] * 10)[1::2] == curve
    assert central(pooled, POLICY, [0]) == [evaluate(pooled, genesis(POLICY))[0]]


def test_a_batch_larger_than_the_share_is_one_step_an_epoch(share: Classification) -> None:
    assert train(share, with_plan(batch=10_000), genesis(POLICY), 1, 1).steps == 2


class Line:
    """The smallest workload of somebody else: two classes of points."""

    def model(self) -> torch.nn.Module:
        return models.build("mlp:1-2")

    def data(self) -> Samples:
        points = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
        return Samples(points, (points[:, 0] > 0).astype(np.int64))

    def test(self) -> Samples:
        return self.data()

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.multi_margin_loss(logits, labels)


def test_a_workload_of_somebody_else_needs_only_the_protocol() -> None:
    policy = Policy(workload="line", model="mlp:1-2", parameters=4, training=Training(20, 8, 0.3, 0.0))
    model = genesis(policy)
    model = model + train(Line(), policy, model, 1, 1).update
    assert evaluate(Line(), model)[0] > 0.95


def test_fedprox_stays_nearer_the_rounds_model_and_without_mu_is_fedavg(share: Classification) -> None:
    model, places = genesis(POLICY), (1, 1)
    far, near, nearest = (
        train(share, msgspec.structs.replace(POLICY, training=Training(5, 16, proximal=mu)), model, *places).update
        for mu in (None, 1.0, 10.0)
    )
    assert np.linalg.norm(nearest) < np.linalg.norm(near) < np.linalg.norm(far)
    plain = train(share, msgspec.structs.replace(POLICY, training=Training(5, 16)), model, *places).update
    np.testing.assert_array_equal(far, plain)


def test_fedprox_step_is_the_gradient_and_mu_times_the_distance(share: Classification) -> None:
    """Two full-batch steps without momentum: w2 = w1 - lr (g(w1) + mu (w1 - w0))."""
    model, size = genesis(POLICY), len(share.data())

    def steps(count: int, start: np.ndarray, mu: float | None) -> np.ndarray:
        plan = Training(count, size, 0.1, 0.0, mu)
        return train(share, msgspec.structs.replace(POLICY, training=plan), start, 1, 1).update

    first = model + steps(1, model, None)
    expected = steps(1, first, None) - np.float32(0.1 * 2.0) * (first - model)
    np.testing.assert_allclose(steps(2, model, 2.0), (first - model) + expected, rtol=1e-3, atol=1e-6)


def test_bfloat16_training_learns_about_what_float32_learns(share: Classification) -> None:
    model = genesis(POLICY)
    wide, narrow = (
        train(share, POLICY, model, 1, 1, Hardware(precision=precision)).update for precision in ("float32", "bfloat16")
    )
    assert 0 < np.linalg.norm(wide - narrow) < 0.1 * np.linalg.norm(wide)


@pytest.mark.cuda
def test_training_on_a_gpu_learns_what_the_cpu_learns(share: Classification) -> None:
    model = genesis(POLICY)
    on_cpu, on_gpu = (train(share, POLICY, model, 1, 1, Hardware(device)).update for device in ("cpu", "cuda"))
    assert np.linalg.norm(on_cpu - on_gpu) < 1e-2 * np.linalg.norm(on_cpu)


def test_eight_devices_with_a_liar_learn_the_digits() -> None:
    """The demo without the network: the integers, the rule and the training meet their bars together."""
    from middleware.maths import aggregate, grid

    name = "mlp:64-256-10"
    policy = Policy(workload="digits", model=name, parameters=models.count(name), rule=Rule("multi-krum", 1))
    shares = [load_workload("digits", name, index=i, of=8, split="dirichlet:0.5", seed=0) for i in range(8)]
    model, left_out = genesis(policy), set()
    for number in range(1, 11):
        updates = [train(share, policy, model, number, node).update for node, share in enumerate(shares)]
        updates[0] = -10 * updates[0]
        rows = [grid.to_grid(update, policy.grid.bits, policy.grid.exponent)[0] for update in updates]
        result = aggregate.aggregate("multi-krum", rows, [len(share.data()) for share in shares], 1)
        left_out |= {index for index, weight in enumerate(result.weights) if weight == 0}
        model = grid.apply(model, aggregate.divide(result.sums, result.total), policy.grid.exponent)
    assert left_out == {0}
    assert evaluate(shares[0], model)[0] > 0.92


class Ticking:
    """A clock that a worker of this speed sees: each look at it takes one over its speed."""

    def __init__(self, speed: float) -> None:
        self.now, self.speed = 0.0, speed

    def __call__(self) -> float:
        self.now += 1 / self.speed
        return self.now


def test_anytime_minibatch_weights_of_speeds_one_two_and_four_are_a_seventh_two_and_four() -> None:
    share = load_workload("digits", POLICY.model, index=2, of=8, split="iid", seed=1)
    policy = with_plan(batch=1, seconds=10.0)
    results = [train(share, policy, genesis(POLICY), 1, 1, clock=Ticking(speed)) for speed in (1, 2, 4)]
    assert [result.samples for result in results] == [10, 20, 40]
    assert [result.steps for result in results] == [10, 20, 40]


def test_anytime_minibatch_counts_the_samples_of_every_pass_and_takes_one_step_at_least(share: Classification) -> None:
    one = train(share, with_plan(batch=16, seconds=1e-9), genesis(POLICY), 1, 1, clock=Ticking(1))
    assert (one.steps, one.samples) == (1, 16)
    many = train(share, with_plan(batch=10_000, seconds=3.0), genesis(POLICY), 1, 1, clock=Ticking(1))
    assert (many.steps, many.samples) == (3, 3 * len(share.data()))


def test_anytime_minibatch_is_the_same_training_as_by_epochs_when_it_ends_with_one(share: Classification) -> None:
    steps = train(share, POLICY, genesis(POLICY), 1, 1).steps
    timed = train(share, with_plan(seconds=float(steps)), genesis(POLICY), 1, 1, clock=Ticking(1))
    assert timed.update.tobytes() == train(share, POLICY, genesis(POLICY), 1, 1).update.tobytes()


def test_a_fixed_time_without_a_clock_is_refused(share: Classification) -> None:
    with pytest.raises(ConfigurationError, match="a clock must be given"):
        train(share, with_plan(seconds=1.0), genesis(POLICY), 1, 1)


@pytest.mark.parametrize("speed", [4.0, 0.4])
def test_anytime_minibatch_takes_the_same_time_of_a_worker_that_is_ten_times_slower(
    share: Classification, speed: float
) -> None:
    clock = Ticking(speed)
    train(share, with_plan(seconds=25.0), genesis(POLICY), 1, 1, clock=clock)
    assert clock.now == pytest.approx(25.0, abs=2 / speed + 1e-6), "to a step"
