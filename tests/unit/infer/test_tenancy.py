"""Several tenants on one node (catalogue of inference, 1.9 and section 7, test 9), on a clock of the tests' own."""

from __future__ import annotations

import heapq
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, OurFault
from middleware.infer.tenancy import (
    ENTRY_BYTES,
    Admitted,
    Batch,
    Busy,
    Request,
    ResultCache,
    Rules,
    Turns,
    result_key,
)

LIGHT, HEAVY = b"light", b"heavy"
SERVICE_MS = 10.0
EVERY_MS = 50.0
LIGHT_REQUESTS = 400


def arrivals(seed: int = 0) -> list[float]:
    """When the light tenant asks, in milliseconds: about every 50, never on a beat."""
    generator = np.random.default_rng(seed)
    return list(np.cumsum(generator.uniform(0.5 * EVERY_MS, 1.5 * EVERY_MS, LIGHT_REQUESTS)))


class FirstCome:
    """What fairness is measured against: first come, first served, nobody refused."""

    def __init__(self) -> None:
        self.line: deque[Request] = deque()

    def offer(self, request: Request, now: float) -> Admitted:
        self.line.append(request)
        return Admitted(0.0)

    def take(self, now: float) -> Batch | None:
        return Batch((self.line.popleft(),), SERVICE_MS) if self.line else None

    def done(self, batch: Batch, ms: float) -> None:
        assert batch.ms == ms


def light_latencies(turns: Turns | FirstCome, backlog: int) -> list[float]:
    """Of each of the light tenant's requests, while the heavy one keeps so many waiting."""
    due, asked, found, waiting, number, now = deque(arrivals()), {}, [], 0, 0, 0.0
    while len(found) < LIGHT_REQUESTS:
        while due and due[0] <= now:
            asked[number] = due.popleft()
            assert isinstance(turns.offer(Request(LIGHT, b"m", number, SERVICE_MS), now), Admitted)
            number += 1
        while waiting < backlog:
            assert isinstance(turns.offer(Request(HEAVY, b"n", number, SERVICE_MS), now), Admitted)
            waiting, number = waiting + 1, number + 1
        batch = turns.take(now)
        if batch is None:
            now = due[0]
            continue
        now += batch.ms
        turns.done(batch, batch.ms)
        if batch.requests[0].tenant == LIGHT:
            found.append(now - asked[batch.requests[0].number])
        else:
            waiting -= 1
    return found


def test_the_light_tenants_p99_is_at_most_twice_what_it_is_alone_while_a_heavy_one_saturates() -> None:
    rules = Rules(slice_ms=SERVICE_MS, batch=1)
    alone = np.quantile(light_latencies(Turns(rules), 0), 0.99)
    shared = np.quantile(light_latencies(Turns(rules), 64), 0.99)
    in_line = np.quantile(light_latencies(FirstCome(), 64), 0.99)
    assert shared <= 2 * alone
    assert in_line > 10 * alone


def test_cme_three_models_on_two_workers_get_weighted_fair_shares_within_a_tenth() -> None:
    weights = {b"one": 1.0, b"two": 2.0, b"three": 3.0}
    costs = {b"one": 12.0, b"two": 3.0, b"three": 7.0}
    turns = Turns(Rules(workers=2, slice_ms=15.0, weights=weights, queued=50, wait_ms=1e9))
    number, now, busy = 0, 0.0, []
    while now < 20_000:
        for tenant, cost in costs.items():
            while isinstance(turns.offer(Request(tenant, b"of " + tenant, number, cost), now), Admitted):
                number += 1
        while (batch := turns.take(now)) is not None:
            heapq.heappush(busy, (now + batch.ms, batch.requests[0].number, batch))
        now, _, ended = heapq.heappop(busy)
        turns.done(ended, ended.ms)
    total = sum(turns.served.values())
    for tenant, weight in weights.items():
        assert turns.served[tenant] / total == pytest.approx(weight / 6, rel=0.1)


def test_requests_of_one_model_run_as_one_batch_and_others_do_not() -> None:
    turns = Turns(Rules(slice_ms=20.0, batch=3, batch_gain=0.5))
    for number, (tenant, model) in enumerate([(b"a", b"m"), (b"b", b"n"), (b"c", b"m"), (b"d", b"m"), (b"e", b"m")]):
        turns.offer(Request(tenant, model, number, 4.0), 0.0)
    first = turns.take(0.0)
    assert first is not None
    assert ([one.number for one in first.requests], first.ms) == ([0, 2, 3], 8.0)
    assert turns.take(0.0) is None  # the only worker is busy
    turns.done(first, 8.0)
    second = turns.take(8.0)
    assert second is not None
    assert [one.number for one in second.requests] == [1]


def test_a_batch_ends_within_the_slice() -> None:
    turns = Turns(Rules(slice_ms=20.0, batch=8))
    for number in range(8):
        turns.offer(Request(bytes([number]), b"m", number, 6.0), 0.0)
    batch = turns.take(0.0)
    assert batch is not None
    assert (len(batch.requests), batch.ms) == (3, 18.0)


def test_overload_is_told_with_the_time_to_come_back_and_who_comes_then_is_taken() -> None:
    turns = Turns(Rules(wait_ms=100.0, slice_ms=10.0, batch=1, queued=1000))
    number = 0
    while isinstance(answer := turns.offer(Request(HEAVY, b"m", number, 10.0), 0.0), Admitted):
        number += 1
    assert isinstance(answer, Busy)
    assert number == 11
    assert answer.retry_ms > 0
    now = 0.0
    while now < answer.retry_ms:
        batch = turns.take(now)
        assert batch is not None
        now += batch.ms
        turns.done(batch, batch.ms)
    assert isinstance(turns.offer(Request(HEAVY, b"m", number, 10.0), now), Admitted)
    assert isinstance(turns.offer(Request(HEAVY, b"m", number + 1, 10.0), now), Busy)
    assert isinstance(turns.offer(Request(LIGHT, b"m", number + 2, 10.0), now), Admitted)  # not its fault


def test_one_tenant_cannot_fill_the_queue() -> None:
    turns = Turns(Rules(queued=4))
    answers = [turns.offer(Request(HEAVY, b"m", number, 1.0), 0.0) for number in range(6)]
    assert [isinstance(one, Busy) for one in answers] == [False] * 4 + [True] * 2
    assert isinstance(turns.offer(Request(LIGHT, b"m", 9, 1.0), 0.0), Admitted)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.just("take"), st.just("done"), st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0.5, 40))
        ),
        max_size=80,
    )
)
def test_what_is_admitted_is_served_once_in_its_tenants_order_and_what_is_not_is_told(script: list[object]) -> None:
    turns = Turns(Rules(workers=2, wait_ms=150.0, queued=5, batch=3))
    admitted: dict[bytes, list[int]] = {}
    served: dict[bytes, list[int]] = {}
    running: list[Batch] = []

    def note(batch: Batch | None) -> None:
        if batch is not None:
            running.append(batch)
            assert len({one.model for one in batch.requests}) == 1
            for one in batch.requests:
                served.setdefault(one.tenant, []).append(one.number)

    for number, step in enumerate(script):
        if step == "take":
            note(turns.take(0.0))
        elif step == "done" and running:
            turns.done(running[0], running.pop(0).ms * 1.3)
        elif isinstance(step, tuple):
            tenant = bytes([step[0]])
            answer = turns.offer(Request(tenant, bytes([step[1]]), number, step[2]), 0.0)
            if isinstance(answer, Admitted):
                admitted.setdefault(tenant, []).append(number)
            else:
                assert answer.reason
                assert answer.retry_ms >= 1
    while running or len(turns.queue):
        note(turns.take(0.0))
        turns.done(running[0], running.pop(0).ms)
    assert served == admitted


def test_a_batch_is_done_once() -> None:
    turns = Turns()
    turns.offer(Request(b"a", b"m", 0, 1.0), 0.0)
    batch = turns.take(0.0)
    assert batch is not None
    turns.done(batch, 1.0)
    with pytest.raises(OurFault, match="done once"):
        turns.done(batch, 1.0)


def test_rules_that_cannot_work_are_refused() -> None:
    for bad in ({"workers": 0}, {"slice_ms": 0.0}, {"batch_gain": 1.0}, {"weights": {b"a": 0.0}}):
        with pytest.raises(ConfigurationError):
            Rules(**bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Request(b"a", b"m", 0, 0.0)


def test_a_result_is_never_served_to_another_tenant_or_for_another_model_way_or_input() -> None:
    tensor = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    key = result_key(b"tenant", b"model", "u8@2", tensor)
    assert key == result_key(b"tenant", b"model", "u8@2", tensor.copy())
    others = [
        result_key(b"tenanu", b"model", "u8@2", tensor),
        result_key(b"tenant", b"modem", "u8@2", tensor),
        result_key(b"tenantm", b"odel", "u8@2", tensor),
        result_key(b"tenant", b"model", "u4@2", tensor),
        result_key(b"tenant", b"model", "u8@2", tensor.reshape(1, 4, 3)),
        result_key(b"tenant", b"model", "u8@2", tensor.view(np.int32)),
        result_key(b"tenant", b"model", "u8@2", tensor + np.float32(1e-6)),
    ]
    assert len({key, *others}) == 1 + len(others)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 900)), max_size=80))
def test_a_result_cache_keeps_to_its_bytes_and_gives_back_what_was_put_last(
    script: list[tuple[bool, int, int]],
) -> None:
    cache = ResultCache(3000)
    put: dict[bytes, bytes] = {}
    for store, place, size in script:
        key = bytes([place]) * 32
        if store:
            put[key] = bytes([size % 256]) * size
            cache.put(key, put[key])
        else:
            found = cache.get(key)
            assert found is None or found == put[key]
        assert cache.bytes == sum(len(one) + ENTRY_BYTES for one in cache.answers.values()) <= 3000


def test_an_answer_larger_than_the_cache_is_not_kept_and_evicts_nothing() -> None:
    cache = ResultCache(1000)
    cache.put(b"small", b"x" * 10)
    cache.put(b"large", b"x" * 2000)
    assert cache.get(b"small") == b"x" * 10
    assert cache.get(b"large") is None
    assert (cache.hits, cache.misses) == (1, 1)
