"""One stem, several apps (catalogue of inference, 1.9: MainStream)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from middleware.errors import ConfigurationError
from middleware.infer.export import export
from middleware.infer.segments import Runner, cut
from middleware.infer.sharing import App, Head, Share, SharedTrunk, choose, cost, event_f1

RATES = (1.0, 3.0, 10.0)


def base() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(8, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 10),
    )  # fmt: skip


def head(seed: int, depth: int) -> nn.Sequential:
    """An app's own layers behind the first `depth` of the base."""
    torch.manual_seed(seed)
    rest = base()[depth:]
    for layer in rest:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.1)
    return rest


def test_mainstream_three_apps_run_the_stem_once_a_frame_and_get_what_separate_runs_give() -> None:
    layers, depths = base().eval(), {"cars": 4, "people": 6, "smoke": 4}
    heads = {name: head(seed, depth).eval() for seed, (name, depth) in enumerate(depths.items())}

    def through(chain: nn.Sequential, taken: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return chain(torch.from_numpy(taken)).numpy()

    shared = SharedTrunk(
        lambda first, last, taken: through(layers[first:last], taken), len(layers),
        {name: Head(depths[name], lambda taken, chain=chain: through(chain, taken)) for name, chain in heads.items()},
    )  # fmt: skip
    frames = np.random.default_rng(0).normal(size=(5, 1, 3, 16, 16)).astype(np.float32)
    for frame in frames:
        found = shared.frame(frame)
        for name, depth in depths.items():
            alone = through(nn.Sequential(*layers[:depth], *heads[name]), frame)
            assert np.array_equal(found[name], alone)
    assert shared.ran == [5] * 6 + [0] * 2


def test_mainstream_segments_in_onnxruntime_cost_the_stem_and_the_sum_of_the_heads() -> None:
    parts = cut(export(base(), (3, 16, 16)), 4)
    runner = Runner([part.onnx for part in parts])
    depth = len(parts) - 1
    counted = {"stem": 0, "heads": 0}

    def stem(first: int, last: int, taken: np.ndarray) -> np.ndarray:
        counted["stem"] += sum(part.macs for part in parts[first:last])
        return runner.run(first, last, taken)

    def tail(taken: np.ndarray) -> np.ndarray:
        counted["heads"] += parts[depth].macs
        return runner.run(depth, depth + 1, taken)

    shared = SharedTrunk(stem, depth, {name: Head(depth, tail) for name in "abc"})
    frame = np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)
    found = shared.frame(frame)
    assert counted == {"stem": sum(part.macs for part in parts[:depth]), "heads": 3 * parts[depth].macs}
    whole = runner.run(0, len(parts), frame)
    assert all(np.abs(one - whole).max() <= 1e-5 for one in found.values())


def test_mainstream_only_as_much_of_the_stem_runs_as_those_who_look_need() -> None:
    shared = SharedTrunk(
        lambda first, last, taken: taken + np.float32(last - first), 4,
        {"early": Head(1, lambda taken: taken), "late": Head(3, lambda taken: taken), "raw": Head(0, lambda taken: taken)},
    )  # fmt: skip
    start = np.zeros(1, np.float32)
    assert {name: float(one[0]) for name, one in shared.frame(start).items()} == {"early": 1, "late": 3, "raw": 0}
    assert list(shared.frame(start, ["early"])) == ["early"]
    assert shared.ran == [2, 1, 1, 0]
    with pytest.raises(ConfigurationError, match="not on this trunk"):
        shared.frame(start, ["nobody"])


def some_apps(generator: np.random.Generator, count: int, segments: int) -> list[App]:
    """Apps that see less in a frame, and cost less, the more they share."""
    apps = []
    for number in range(count):
        forks = tuple(sorted(generator.choice(np.arange(segments + 1), 3, replace=False).tolist()))
        recalls = tuple(np.sort(generator.uniform(0.1, 0.9, 3))[::-1].tolist())
        own = tuple(float(2 * (segments - fork) + generator.uniform(0, 1)) for fork in forks)
        apps.append(App(f"app {number}", forks, own, recalls, recalls, float(generator.uniform(0.2, 2))))
    return apps


def test_mainstream_depths_and_rates_are_the_best_of_all_combinations() -> None:
    generator = np.random.default_rng(2)
    trunk = [2.0] * 5
    for _ in range(15):
        apps = some_apps(generator, 3, 5)
        budget = float(generator.uniform(5, 300))
        found = choose(apps, trunk, RATES, budget)
        assert found.ms_per_second <= budget
        assert cost(apps, trunk, found.shares) <= found.ms_per_second + 1e-9
        best = 0.0
        every = [[Share(fork, rate) for fork in app.forks for rate in (0.0, *RATES)] for app in apps]
        for picked in itertools.product(*every):
            shares = {app.name: share for app, share in zip(apps, picked, strict=True)}
            if cost(apps, trunk, shares) <= budget:
                best = max(best, sum(event_f1(app, shares[app.name]) for app in apps) / len(apps))
        assert found.quality == pytest.approx(best)


def test_mainstream_beats_sharing_as_little_and_as_much_as_can_be() -> None:
    generator = np.random.default_rng(3)
    trunk = [2.0] * 5
    gains = []
    for budget in (30.0, 60.0, 120.0, 240.0, 480.0):
        apps = some_apps(generator, 4, 5)
        chosen = choose(apps, trunk, RATES, budget).quality
        fixed = [choose([_only(app, place) for app in apps], trunk, RATES, budget).quality for place in (0, -1)]
        assert chosen >= max(fixed) - 1e-9
        gains.append([chosen - one for one in fixed])
    least, most = np.mean(gains, axis=0)
    assert least > 0.01
    assert most > 0.01


def _only(app: App, place: int) -> App:
    return App(
        app.name, (app.forks[place],), (app.own_ms[place],), (app.recalls[place],), (app.precisions[place],), app.event_seconds
    )  # fmt: skip


def test_an_event_is_found_more_surely_the_more_frames_look_at_it() -> None:
    app = App("one", (2,), (1.0,), (0.5,), (1.0,), 1.0)
    recalls = [0.0, 0.25, 0.5, 0.75, 0.875]
    for rate, recall in zip((0.0, 0.5, 1.0, 2.0, 3.0), recalls, strict=True):
        assert event_f1(app, Share(2, rate)) == pytest.approx(2 * recall / (1 + recall))


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="behind segment 5 of 4"):
        SharedTrunk(lambda first, last, taken: taken, 4, {"a": Head(5, lambda taken: taken)})
    app = App("a", (3,), (1.0,), (0.5,), (0.5,), 1.0)
    with pytest.raises(ConfigurationError, match="forks off"):
        choose([app], [1.0], RATES, 10.0)
    with pytest.raises(ConfigurationError, match="fewer rates"):
        wide = App("w", tuple(range(12)), (1.0,) * 12, (0.5,) * 12, (0.5,) * 12, 1.0)
        choose([wide], [1.0] * 12, tuple(range(1, 20)), 10.0)
    with pytest.raises(ConfigurationError, match="a value a fork"):
        App("a", (3, 4), (1.0,), (0.5,), (0.5,), 1.0)
