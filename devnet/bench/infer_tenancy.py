"""What does sharing one node among models, tenants and apps cost, and what does it bring? Real onnxruntime sessions on one thread
each, real loads, against first come first served, LRU and separate runs in the same run.

make bench Q=infer-tenancy
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from devnet.bench.report import Row, against, write
from middleware.infer.export import export
from middleware.infer.lightweight import NETWORKS, build
from middleware.infer.segments import Part, Runner, cut
from middleware.infer.sharing import Head, SharedTrunk
from middleware.infer.store import POLICIES, Budget, Load, ModelStore, Policy, Weight
from middleware.infer.tenancy import Admitted, Batch, Request, ResultCache, Rules, Turns, result_key

Floats = npt.NDArray[np.float32]

PIXELS: Final = 96
SHAPE: Final = (3, PIXELS, PIXELS)
SEEDS: Final = 20
TRACE: Final = 20_000  # requests of a trace whose loads are counted
REAL: Final = 250  # requests of a trace whose loads and runs are real
SHIFT: Final = 2000  # requests after which other models are popular
LIGHT: Final = 300  # requests of the light tenant
BACKLOG: Final = 64  # requests that the heavy tenant keeps waiting
SHARE_SECONDS: Final = 6.0
FRAMES: Final = 60


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The median of so many runs, after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


# ------------------------------------------------------------------------------------------------------ models in memory


class Published(NamedTuple):
    """A model's file, and how long its session takes to make."""

    onnx: bytes
    load_ms: float


def published() -> list[Published]:
    """The eight networks, with random weights: neither size nor time depends on them."""
    found = []
    for name in NETWORKS:
        data = export(build(name), SHAPE)
        found.append(Published(data, milliseconds(lambda data=data: Runner([data]).prepared(0, 1), 3)))  # type: ignore[misc]
        print(f"  {name:20} {len(data) / 1e6:6.1f} MB, loads in {found[-1].load_ms:6.1f} ms")
    return found


def trace(seed: int, requests: int, models: int, shifting: bool) -> list[int]:
    """Which model each request wants: Zipf, and now and then another order of popularity."""
    generator = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, models + 1)
    ranks = generator.choice(models, requests, p=popularity / popularity.sum())
    names, wanted = generator.permutation(models), []
    for turn, rank in enumerate(ranks):
        if shifting and turn and turn % SHIFT == 0:
            names = generator.permutation(models)
        wanted.append(int(names[rank]))
    return wanted


def filled(models: list[Published], policy: Policy) -> ModelStore:
    """A store with memory for three models of mean size."""
    store = ModelStore(Budget(int(3 * np.mean([len(one.onnx) for one in models]))), policy)
    for place, one in enumerate(models):
        store.publish(bytes([place]), Weight(len(one.onnx), one.load_ms))
    return store


class Trial(NamedTuple):
    """Share of hits, milliseconds a request, and how often more was resident than the budget allows."""

    hits: float
    ms: float
    over: int


def counted(models: list[Published], policy: Policy, wanted: list[int]) -> Trial:
    """A trace by the loads' measured times: milliseconds of loading."""
    store, spent, over = filled(models, policy), 0.0, 0
    for place in wanted:
        root = bytes([place])
        if isinstance(store.acquire(root), Load):
            store.loaded(root)
            spent += models[place].load_ms
        store.release(root)
        over += sum(store.weights[one].bytes for one in store.resident) > store.budget.bytes
    return Trial(store.hits / len(wanted), spent / len(wanted), over)


def served(models: list[Published], policy: Policy, wanted: list[int]) -> Trial:
    """A trace with sessions that are really made, run and dropped: milliseconds of all of it."""
    store, sessions, over = filled(models, policy), dict[bytes, Runner](), 0
    picture = np.zeros((1, *SHAPE), np.float32)
    began = time.perf_counter()
    for place in wanted:
        root = bytes([place])
        answer = store.acquire(root)
        if isinstance(answer, Load):
            for gone in answer.evicted:
                del sessions[gone]
            sessions[root] = Runner([models[place].onnx])
            sessions[root].prepared(0, 1)
            store.loaded(root)
        sessions[root].run(0, 1, picture)
        store.release(root)
        over += sum(len(one.files[0]) for one in sessions.values()) > store.budget.bytes
    return Trial(store.hits / len(wanted), 1000 * (time.perf_counter() - began) / len(wanted), over)


def memory_rows(models: list[Published]) -> list[Row]:
    rows, over = [], 0
    for shifting, where in ((False, "Zipf"), (True, f"Zipf, other favourites every {SHIFT} requests")):
        wanted = [trace(seed, TRACE, len(models), shifting) for seed in range(SEEDS)]
        found = {policy: [counted(models, policy, one) for one in wanted] for policy in POLICIES}
        over += sum(one.over for trials in found.values() for one in trials)
        hits = {policy: 100 * np.array([one.hits for one in trials]) for policy, trials in found.items()}
        loading = {policy: float(np.mean([one.ms for one in trials])) for policy, trials in found.items()}
        for policy in POLICIES:
            gain = float((hits[policy] - hits["lru"]).mean())
            bar = (">= LRU + 5 points", gain >= 5) if policy == "gdsf" else (None, None)
            rows.append(
                Row(f"{where}, {policy}: hits", float(hits[policy].mean()), "%", float(hits["lru"].mean()), None, *bar)
            )
        least = float((hits["gdsf"] - hits["lru"]).min())
        rows.append(Row(f"{where}, gdsf over lru: least gain of {SEEDS} traces", least, "points"))
        rows.append(
            against(f"{where}, gdsf: loading a request", loading["gdsf"], "ms", loading["lru"], "<= lru's", 1.0)
        )
    real = {policy: served(models, policy, trace(0, REAL, len(models), False)) for policy in (POLICIES[0], "lru")}
    over += sum(one.over for one in real.values())
    rows.append(
        against("Zipf, gdsf, loads and runs real: a request", real["gdsf"].ms, "ms", real["lru"].ms, "<= lru's", 1.0)
    )
    rows.append(Row("more resident than the budget", over, "times", None, None, "never", over == 0))
    return rows


# ---------------------------------------------------------------------------------------------------------------- tenants


class FirstCome:
    """The baseline: first come, first served."""

    def __init__(self) -> None:
        self.line: deque[Request] = deque()

    def offer(self, request: Request, now: float) -> Admitted:
        self.line.append(request)
        return Admitted(0.0)

    def take(self, now: float) -> Batch | None:
        return Batch((self.line.popleft(),), 0.0) if self.line else None

    def done(self, batch: Batch, ms: float) -> None:
        return


def light_times(turns: Turns | FirstCome, runner: Runner, alone_ms: float, backlog: int) -> list[float]:
    """Milliseconds from asking to answer of a tenant that asks about every tenth run's time, while another keeps a backlog."""
    generator, numbers, picture = np.random.default_rng(0), count(), np.zeros((1, *SHAPE), np.float32)
    start = time.perf_counter()
    due = deque(start + np.cumsum(generator.uniform(0.5, 1.5, LIGHT) * 10 * alone_ms / 1000))
    asked: dict[int, float] = {}
    times: list[float] = []
    waiting = 0
    while len(times) < LIGHT:
        now = time.perf_counter()
        while due and due[0] <= now:
            number = next(numbers)
            asked[number] = due.popleft()
            turns.offer(Request(b"light", b"m", number, alone_ms), 1000 * now)
        while waiting < backlog:
            turns.offer(Request(b"heavy", b"n", next(numbers), alone_ms), 1000 * now)
            waiting += 1
        batch = turns.take(1000 * now)
        if batch is None:
            time.sleep(max(0.0, due[0] - time.perf_counter()))
            continue
        runner.run(0, 1, picture)
        ended = time.perf_counter()
        turns.done(batch, 1000 * (ended - now))
        if batch.requests[0].tenant == b"light":
            times.append(1000 * (ended - asked[batch.requests[0].number]))
        else:
            waiting -= 1
    return times


def shares(runners: dict[bytes, Runner], weights: dict[bytes, float]) -> dict[bytes, float]:
    """The share of two workers' time that each of three models got while all were wanted without end."""
    picture, numbers, lock = np.zeros((1, *SHAPE), np.float32), count(), threading.Lock()
    costs = {
        tenant: milliseconds(lambda runner=runner: runner.run(0, 1, picture), 10)  # type: ignore[misc]
        for tenant, runner in runners.items()
    }
    turns = Turns(Rules(workers=2, slice_ms=max(costs.values()), batch=1, queued=16, wait_ms=1e9, weights=weights))
    end = time.perf_counter() + SHARE_SECONDS

    def work() -> None:
        while (now := time.perf_counter()) < end:
            with lock:
                for tenant, cost in costs.items():
                    while isinstance(turns.offer(Request(tenant, tenant, next(numbers), cost), 1000 * now), Admitted):
                        pass
                batch = turns.take(1000 * now)
            if batch is None:
                raise RuntimeError("a worker found nothing although all tenants wait")
            began = time.perf_counter()
            runners[batch.requests[0].model].run(0, 1, picture)
            took = 1000 * (time.perf_counter() - began)
            with lock:
                turns.done(batch, took)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = sum(turns.served.values())
    return {tenant: ms / total for tenant, ms in turns.served.items()}


def tenant_rows(models: list[Published]) -> list[Row]:
    names = list(NETWORKS)
    runner = Runner([models[names.index("mobilenet-v2")].onnx])
    picture = np.zeros((1, *SHAPE), np.float32)
    alone_ms = milliseconds(lambda: runner.run(0, 1, picture), 50)
    rules = Rules(slice_ms=alone_ms, batch=1, queued=BACKLOG, wait_ms=1e9)
    alone, shared, in_line = (
        light_times(turns, runner, alone_ms, backlog)
        for turns, backlog in ((Turns(rules), 0), (Turns(rules), BACKLOG), (FirstCome(), BACKLOG))
    )
    weights = {b"one": 1.0, b"two": 2.0, b"three": 3.0}
    chosen = ("mobilenet-v2", "shufflenet", "squeezenet")
    runners = {tenant: Runner([models[names.index(name)].onnx]) for tenant, name in zip(weights, chosen, strict=True)}
    found = shares(runners, weights)
    worst = max(abs(found[tenant] * 6 / weight - 1) for tenant, weight in weights.items())
    p99 = [float(np.quantile(times, 0.99)) for times in (alone, shared, in_line)]
    p50 = [float(np.median(times)) for times in (alone, shared)]
    return [
        against("light tenant's p99 beside one that saturates", p99[1], "ms", p99[0], "<= 2x alone", 2.0),
        Row("the same, first come first served", p99[2], "ms", p99[0], p99[2] / p99[0]),
        Row("light tenant's p50 beside one that saturates", p50[1], "ms", p50[0], p50[1] / p50[0]),
        Row("weights 1:2:3 on two workers: worst share off by", 100 * worst, "%", None, None, "<= 10 %", worst <= 0.1),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------- apps and results


def stem_rows(whole: bytes) -> list[Row]:
    """Three apps whose networks differ in the last segment alone."""
    parts: tuple[Part, ...] = cut(whole, 8)
    depth = len(parts) - 1
    trunk = Runner([part.onnx for part in parts])
    tails = {name: Runner([parts[depth].onnx]) for name in ("cars", "people", "smoke")}
    separate = {name: Runner([whole]) for name in tails}
    shared = SharedTrunk(
        trunk.run, depth, {name: Head(depth, lambda taken, tail=tail: tail.run(0, 1, taken)) for name, tail in tails.items()}  # type: ignore[misc]
    )  # fmt: skip
    frames = np.random.default_rng(0).normal(size=(FRAMES, 1, *SHAPE)).astype(np.float32)
    worst = 0.0
    for frame in frames:
        together = shared.frame(frame)
        worst = max(worst, *(float(np.abs(together[name] - separate[name].run(0, 1, frame)).max()) for name in tails))
    ran = max(shared.ran) / FRAMES
    one = milliseconds(lambda: shared.frame(frames[0]), FRAMES)
    apart = milliseconds(lambda: [runner.run(0, 1, frames[0]) for runner in separate.values()], FRAMES)
    return [
        Row("three apps on one stem: runs of the stem a frame", ran, "runs", 3, ran / 3, "1", ran == 1),
        against("three apps on one stem: a frame", one, "ms", apart, "< three separate runs", 1.0),
        Row("largest difference to separate runs", worst, "", None, None, "<= 1e-5", worst <= 1e-5),
    ]


def result_rows() -> list[Row]:
    """A hit for a photo of 224 x 224."""
    cache = ResultCache(1 << 20)
    picture = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    answer = bytes(4000)
    cache.put(result_key(b"tenant", b"model", "raw", picture), answer)
    hit = milliseconds(lambda: cache.get(result_key(b"tenant", b"model", "raw", picture)), 200)
    return [Row("a kept result found again, 602 kB of input: p50", hit, "ms", 2.0, hit / 2.0, "<= 2 ms", hit <= 2.0)]


def main() -> None:
    models = published()
    names = list(NETWORKS)
    rows = memory_rows(models) + tenant_rows(models)
    rows += stem_rows(models[names.index("mobilenet-v2")].onnx)
    write("infer-tenancy", rows + result_rows())


if __name__ == "__main__":
    main()
