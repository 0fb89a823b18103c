"""Models in memory (catalogue of inference, 1.7 and section 7, test 9): never above the budget, never away while in use."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from middleware.errors import ConfigurationError, OurFault
from middleware.infer.store import POLICIES, Budget, Full, Load, ModelStore, Policy, Ready, Wait, Weight, placement

MODELS = 8
REQUESTS = 5000


def root(place: int) -> bytes:
    return bytes([place]) * 32


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of what callers may do, in any policy."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ModelStore(Budget(100, 10.0))
        self.holding: list[int] = []
        self.loading: set[int] = set()

    @precondition(lambda self: not self.store.weights)
    @rule(policy=st.sampled_from(POLICIES), sizes=st.lists(st.integers(1, 60), min_size=MODELS, max_size=MODELS),
          slots=st.lists(st.floats(0, 6), min_size=MODELS, max_size=MODELS), pinned=st.integers(0, MODELS))  # fmt: skip
    def published(self, policy: Policy, sizes: list[int], slots: list[float], pinned: int) -> None:
        self.store = ModelStore(Budget(100, 10.0), policy)
        for place, (size, slot) in enumerate(zip(sizes, slots, strict=True)):
            self.store.publish(root(place), Weight(size, float(size), slot, place == pinned))

    @precondition(lambda self: self.store.weights)
    @rule(place=st.integers(0, MODELS - 1))
    def acquired(self, place: int) -> None:
        before = dict(self.store.resident)
        answer = self.store.acquire(root(place))
        match answer:
            case Full():
                assert dict(self.store.resident) == before
                return
            case Load(evicted):
                assert root(place) not in before
                assert set(before) - set(self.store.resident) == set(evicted)
                held = {root(one) for one in self.holding} | {root(one) for one in self.loading}
                assert not held.intersection(evicted)
                assert not any(self.store.weights[one].pinned for one in evicted)
                self.loading.add(place)
            case Wait():
                assert place in self.loading
            case Ready():
                assert place not in self.loading
        self.holding.append(place)

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), well=st.booleans())
    def load_ends(self, data: st.DataObject, well: bool) -> None:
        place = data.draw(st.sampled_from(sorted(self.loading)))
        self.loading.remove(place)
        if well:
            self.store.loaded(root(place), 5.0)
        else:
            self.store.failed(root(place))
            self.holding = [one for one in self.holding if one != place]

    @precondition(lambda self: set(self.holding) - self.loading)
    @rule(data=st.data())
    def released(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(set(self.holding) - self.loading)))
        self.holding.remove(place)
        self.store.release(root(place))

    @invariant()
    def within_the_budget(self) -> None:
        weights = [self.store.weights[one] for one in self.store.resident]
        assert self.store.bytes == sum(one.bytes for one in weights) <= 100
        assert self.store.slots == pytest.approx(math.fsum(one.slots for one in weights))
        assert self.store.slots <= 10.0

    @invariant()
    def what_is_held_is_there(self) -> None:
        for place in set(self.holding):
            assert self.store.resident[root(place)].holders == self.holding.count(place)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


def hits(policy: Policy, seed: int, shifting: bool = False) -> float:
    """The share of hits on a Zipf trace over eight models of unequal size, with memory for three of mean size."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(5, 60, MODELS)
    budget = Budget(int(max(3 * sizes.mean(), sizes.max())))
    store = ModelStore(budget, policy)
    for place, size in enumerate(sizes):
        store.publish(root(place), Weight(int(size), 30 + 1.7 * float(size)))
    popularity = 1 / np.arange(1, MODELS + 1)
    names = generator.permutation(MODELS)
    for turn, rank in enumerate(generator.choice(MODELS, REQUESTS, p=popularity / popularity.sum())):
        if shifting and turn % 1000 == 0:
            names = generator.permutation(MODELS)
        wanted = root(int(names[rank]))
        if isinstance(store.acquire(wanted), Load):
            store.loaded(wanted)
        store.release(wanted)
        assert store.bytes <= budget.bytes
    return store.hits / REQUESTS


def test_gdsf_hits_five_points_more_than_lru_on_a_zipf_trace_also_when_what_is_popular_changes() -> None:
    seeds = range(8)
    for shifting in (False, True):
        gains = [hits("gdsf", seed, shifting) - hits("lru", seed, shifting) for seed in seeds]
        assert np.mean(gains) >= 0.05
        assert min(gains) > 0


def test_gdsf_as_published_beats_lru_where_popularity_stays() -> None:
    assert np.mean([hits("gdsf-aged", seed) - hits("lru", seed) for seed in range(8)]) >= 0.05


def test_placement_saves_what_the_best_of_all_subsets_saves() -> None:
    generator = np.random.default_rng(3)
    budget = Budget(100, 3.0)
    for _ in range(100):
        weights = {
            root(place): Weight(int(generator.integers(5, 60)), float(generator.integers(1, 90)), float(generator.random()))
            for place in range(MODELS)
        }  # fmt: skip
        rates = {one: float(generator.random()) for one in weights}
        saved = {one: rates[one] * weights[one].load_ms for one in weights}
        kept = tuple(placement(weights, rates, budget))
        subsets = (one for size in range(MODELS + 1) for one in itertools.combinations(weights, size))
        fitting = [one for one in subsets if _fits(one, weights, budget)]
        assert _fits(kept, weights, budget)
        assert sum(saved[one] for one in kept) == pytest.approx(
            max(sum(saved[one] for one in some) for some in fitting)
        )


def _fits(roots: tuple[bytes, ...], weights: dict[bytes, Weight], budget: Budget) -> bool:
    return budget.holds(sum(weights[one].bytes for one in roots), math.fsum(weights[one].slots for one in roots))


def test_placement_keeps_what_is_pinned_even_if_nobody_asks_for_it() -> None:
    weights = {root(0): Weight(60, 1.0, pinned=True), root(1): Weight(50, 100.0), root(2): Weight(40, 50.0)}
    assert placement(weights, {root(1): 1.0, root(2): 1.0}, Budget(100)) == {root(0), root(2)}
    with pytest.raises(ConfigurationError, match="raise the budget"):
        placement(weights, {}, Budget(50))


def test_who_comes_while_a_model_loads_waits_for_the_same_load() -> None:
    store = ModelStore(Budget(100))
    store.publish(root(0), Weight(60, 10.0))
    assert store.acquire(root(0)) == Load(())
    assert store.acquire(root(0)) == Wait()
    store.loaded(root(0))
    assert store.acquire(root(0)) == Ready()
    assert (store.loads, store.hits) == (1, 2)


def test_a_model_whose_load_failed_frees_its_room_and_those_who_waited() -> None:
    store = ModelStore(Budget(100))
    store.publish(root(0), Weight(60, 10.0))
    store.publish(root(1), Weight(60, 10.0))
    store.acquire(root(0))
    store.acquire(root(0))
    store.failed(root(0))
    assert store.acquire(root(1)) == Load(())
    with pytest.raises(OurFault, match="an acquire of its own"):
        store.release(root(0))


def test_what_is_in_use_is_not_evicted_and_the_refusal_changes_nothing() -> None:
    store = ModelStore(Budget(100))
    for place in range(2):
        store.publish(root(place), Weight(60, 10.0))
    store.acquire(root(0))
    store.loaded(root(0))
    assert isinstance(store.acquire(root(1)), Full)
    assert set(store.resident) == {root(0)}
    store.release(root(0))
    assert store.acquire(root(1)) == Load((root(0),))


def test_slots_are_a_budget_of_their_own() -> None:
    store = ModelStore(Budget(1000, 2.0))
    for place in range(3):
        store.publish(root(place), Weight(10, 10.0, 1.0))
        store.acquire(root(place))
        if place < 2:
            store.loaded(root(place))
    assert set(store.resident) == {root(0), root(1)}


def test_nothing_goes_in_vain() -> None:
    store = ModelStore(Budget(100), "lru")
    for place, size in enumerate((10, 80, 85)):
        store.publish(root(place), Weight(size, 1.0))
    for place in (0, 1):
        store.acquire(root(place))
        store.loaded(root(place))
        store.release(root(place))
    assert store.acquire(root(2)) == Load((root(1),))  # the oldest would have made too little room


def test_a_model_that_can_never_fit_is_refused_when_it_is_published() -> None:
    store = ModelStore(Budget(100, 2.0))
    with pytest.raises(ConfigurationError, match="raise the budget"):
        store.publish(root(0), Weight(101, 1.0))
    with pytest.raises(ConfigurationError, match="raise the budget"):
        store.publish(root(0), Weight(1, 1.0, 2.5))
    with pytest.raises(ConfigurationError, match="not published"):
        store.acquire(root(0))


def test_a_model_in_use_cannot_be_withdrawn() -> None:
    store = ModelStore(Budget(100))
    store.publish(root(0), Weight(10, 1.0))
    store.acquire(root(0))
    store.loaded(root(0))
    with pytest.raises(ConfigurationError, match="in use"):
        store.withdraw(root(0))
    store.release(root(0))
    store.withdraw(root(0))
    assert store.bytes == 0
