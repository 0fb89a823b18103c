"""Edges with models of their own: what a round does with them, audited (catalogue, training 1.1, through the settlement)."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from ledger.audit.check import examine, verify
from ledger.audit.report import Report
from middleware.errors import ConfigurationError
from middleware.maths.gossip import Integers
from middleware.policy import Peers, Policy, Rule
from middleware.protocol import peering
from middleware.protocol.peering import MASS, Known
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement
from middleware.protocol.sums import NOTHING, Summed, alone
from middleware.types import ZERO32, Verdict
from middleware.wire.state import Peer, decode_state, encode_state
from tests.sim.history import EDGES, PARAMETERS, TASK, History, policy_of

KINDS = {
    "hierarchical": Peers("hierarchical", every=3),
    "gossip": Peers("gossip", every=3, links="ring"),
    "choco": Peers("choco", links="ring", gamma=128, density=0.25),
    "push-sum": Peers("push-sum", links="exponential"),
    "gosgd": Peers("gosgd"),
}
SEED = b"\x05" * 32


def peered(kind: str, **changes: object) -> Policy:
    return policy_of(**{"peers": KINDS[kind], "rule": Rule("mean", 0), **changes})


def audited(history: History) -> Report:
    return verify(history.record, history.store)


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_of_edges_with_own_models_is_valid_and_replayed_to_the_bit(kind: str) -> None:
    history = History(peered(kind, rounds=5), 5).run()
    report = audited(history)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    examined = examine(history.record, history.store)
    for number, manifest in enumerate(history.manifests, start=1):
        settlement = examined.rounds[TASK, number].settlement
        assert settlement is not None and settlement.manifest.state == manifest.state
        rows = decode_state(settlement.state_blob, PARAMETERS).peers
        assert set(rows) == (set() if peering.is_global(history.policy, number) else set(EDGES))


def row(number: int, mass: int = MASS, copied: bool = False) -> Peer:
    value = np.full(PARAMETERS, number, np.int64)
    return Peer(mass, 0, value, value if copied else None)


LEAST = int(np.iinfo(np.int64).min)
HOSTILE = {
    "least number": {EDGES[0]: row(LEAST, 1)},
    "most mass": {EDGES[0]: row(1 - (1 << 63), (1 << 31) - 1), EDGES[1]: row(LEAST + 1, (1 << 31) - 1)},
    "edges that nobody knows": {edge: row(1) for edge in range(10, 80)},
    "copies where there are none": {EDGES[0]: row(1, copied=True), EDGES[1]: row(1)},
}


@pytest.mark.parametrize("rows", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_state_never_stops_the_audit_and_is_named(rows: dict[int, Peer]) -> None:
    class Hostile(History):
        def settle(self, opening: Opening, received: list[Reported], forced: Forced) -> Settlement:
            if opening.round == 3:  # where the liar goes on from does not matter: it must settle something
                return super().settle(msgspec.structs.replace(opening, state=self.honest), received, forced)
            made = super().settle(opening, received, forced)
            if opening.round != 2:
                return made
            self.honest = made.state
            state = msgspec.structs.replace(made.state, peers=rows)
            blob = encode_state(state)
            manifest = msgspec.structs.replace(made.manifest, state=hashlib.sha256(blob).digest())
            return msgspec.structs.replace(made, state=state, state_blob=blob, manifest=manifest)

    report = audited(Hostile(peered("push-sum", rounds=5), 3).run())
    assert report.first is not None
    assert (report.first.subject, report.first.fault, report.first.round) == ("state", "wrong-state", 2)


# ------------------------------------------------------------------------------------------------------ one round of it


def learned(values: dict[int, Integers], weight: int = 10) -> dict[int, Summed]:
    """What each edge's devices learned, as the sums of updates of that mean."""
    return {edge: alone(value * weight, weight) for edge, value in values.items()}


def moves(generator: np.random.Generator, edges: int) -> dict[int, Integers]:
    return {edge: generator.integers(-500, 500, PARAMETERS) for edge in range(2, 2 + edges)}


def models(anchored: Integers, rows: Known, edges: int) -> np.ndarray:
    """Each edge's model in units of the grid."""
    return np.stack(
        [anchored + (rows[edge].value / rows[edge].mass if edge in rows else 0) for edge in range(2, 2 + edges)]
    )


def run(policy: Policy, steps: list[dict[int, Summed]], edges: int) -> tuple[Integers, Known, list[np.ndarray]]:
    anchored, rows, seen = np.zeros(PARAMETERS, np.int64), {}, []
    for number, moved in enumerate(steps, start=1):
        moved_by, rows = peering.advance(policy, rows, moved, number, hashlib.sha256(bytes([number])).digest())
        anchored = anchored + moved_by
        seen.append(models(anchored, rows, edges))
    return anchored, rows, seen


def test_hierarchical_with_a_cloud_round_each_round_is_fedavg_to_one_unit_of_the_grid() -> None:
    generator = np.random.default_rng(0)
    policy = msgspec.structs.replace(peered("hierarchical"), peers=Peers("hierarchical", every=1))
    values = moves(generator, 3)
    weights = {2: 10, 3: 35, 4: 5}
    moved = {edge: alone(value * weights[edge], weights[edge]) for edge, value in values.items()}
    anchored, rows = peering.advance(policy, {}, moved, 1, SEED)
    plain = sum(value * weights[edge] for edge, value in values.items()) / 50
    assert np.abs(anchored - plain).max() <= 1
    assert rows == {}


def test_hierarchical_rounds_between_stay_inside_their_edge_and_the_average_weighs_all_their_samples() -> None:
    policy = peered("hierarchical", rounds=3)
    steps = [learned({2: np.full(PARAMETERS, 30), 3: np.full(PARAMETERS, 0)}, weight) for weight in (10, 20, 30)]
    steps[2] = learned({2: np.full(PARAMETERS, 30), 3: np.full(PARAMETERS, 0)}, 30) | learned(
        {3: np.full(PARAMETERS, 0)}, 90
    )
    anchored, _, seen = run(policy, steps, 2)
    assert seen[1][0].tolist() == [60] * PARAMETERS
    assert seen[1][1].tolist() == [0] * PARAMETERS
    assert anchored.tolist() == [90 * 60 // (60 + 120)] * PARAMETERS


@pytest.mark.parametrize("kind", KINDS)
def test_mass_and_weighted_model_are_kept_exactly_also_while_an_edge_is_missing(kind: str) -> None:
    """GoSGD, SGP: the sums of masses and of values move by what was learned, and by nothing else."""
    generator, edges = np.random.default_rng(1), 5
    policy = msgspec.structs.replace(peered(kind, rounds=100), peers=without_averages(kind))
    rows: Known = {}
    anchored = np.zeros(PARAMETERS, np.int64)
    for number in range(1, 9):
        values = moves(generator, edges)
        if number in (3, 4):
            del values[4]
        before = {edge: rows.get(edge, peering.new_peer(PARAMETERS)) for edge in range(2, 2 + edges)}
        total = sum(peer.value + peer.mass * anchored for peer in before.values())
        total = total + sum(before[edge].mass * value for edge, value in values.items())
        moved_by, rows = peering.advance(policy, rows, learned(values), number, SEED + bytes([number]))
        anchored = anchored + moved_by
        assert sum(peer.mass for peer in rows.values()) == len(rows) * MASS
        held = sum(peer.value + peer.mass * anchored for peer in rows.values())
        assert len(rows) == edges
        assert np.array_equal(held, total)
        if number in (3, 4):
            assert rows[4].mass == before[4].mass
            assert np.array_equal(rows[4].value + rows[4].mass * moved_by, before[4].value)


def without_averages(kind: str) -> Peers:
    every = 1000 if kind == "hierarchical" else None
    return msgspec.structs.replace(KINDS[kind], every=every)


@pytest.mark.parametrize("kind", ["gossip", "choco", "push-sum", "gosgd"])
def test_without_updates_the_edges_models_come_together(kind: str) -> None:
    generator, edges = np.random.default_rng(2), 6
    policy = msgspec.structs.replace(peered(kind, rounds=1000), peers=without_averages(kind))
    nothing = dict.fromkeys(range(2, 2 + edges), NOTHING)
    _, _, seen = run(policy, [learned(moves(generator, edges)), *[nothing] * 60], edges)
    spreads = [float(np.linalg.norm(one - one.mean(axis=0))) for one in seen]
    assert spreads[60] < 0.02 * spreads[0]
    assert spreads[20] < 0.5 * spreads[0]


def test_gossip_pga_right_after_an_average_all_edges_have_the_anchored_model() -> None:
    generator, edges = np.random.default_rng(3), 4
    policy = peered("gossip", rounds=100)
    _, rows, seen = run(policy, [learned(moves(generator, edges)) for _ in range(6)], edges)
    assert rows == {}
    for number, one in enumerate(seen, start=1):
        assert (np.ptp(one, axis=0).max() == 0) == (number % 3 == 0)


def test_choco_with_every_coordinate_and_a_whole_step_is_gossip() -> None:
    steps = [learned(moves(np.random.default_rng(number), 4)) for number in range(5)]
    choco = msgspec.structs.replace(
        peered("choco", rounds=100), peers=Peers("choco", links="ring", gamma=256, density=1.0)
    )
    gossip = msgspec.structs.replace(peered("gossip", rounds=100), peers=Peers("gossip", links="ring"))
    one, other = run(choco, steps, 4), run(gossip, steps, 4)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[2][-1], other[2][-1])


def test_gosgd_nobody_sends_to_itself_and_the_draw_follows_the_rounds_inputs() -> None:
    drawn = [peering.receivers(bytes([seed]) * 32, 1, 5) for seed in range(200)]
    assert all(to != peer for one in drawn for peer, to in enumerate(one))
    assert {to for one in drawn for to in one} == set(range(5))
    assert peering.receivers(SEED, 1, 5) == peering.receivers(SEED, 1, 5) != peering.receivers(SEED, 2, 5)


def test_an_edges_model_is_the_anchored_one_and_its_own_way_from_it() -> None:
    anchored = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)
    peer = Peer(MASS, 0, np.full(PARAMETERS, 3 * MASS // 2, np.int64), None)
    own = peering.model_of(anchored, peer, -8)
    assert own.dtype == np.float32
    assert np.allclose(own - anchored, 1.5 / 256, atol=1e-6)
    assert peering.model_of(anchored, None, -8) is anchored


def test_a_model_that_runs_away_and_too_many_edges_are_one_clear_line() -> None:
    policy = peered("gossip", rounds=100)
    with pytest.raises(ConfigurationError, match="lower the learning rate"):
        peering.advance(policy, {}, learned({2: np.full(PARAMETERS, 1 << 40)}), 1, SEED)
    many = {edge: NOTHING for edge in range(2, 70)}
    with pytest.raises(ConfigurationError, match="at most 64"):
        peering.advance(policy, {}, many, 1, SEED)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "swarm"}, "choose one of"),
        ({"kind": "hierarchical"}, "--global-every"),
        ({"kind": "gosgd", "links": "ring"}, "no links"),
        ({"kind": "gossip", "links": "exponential"}, "ring or complete"),
        ({"kind": "choco", "links": "ring"}, "gamma"),
        ({"kind": "gossip", "links": "ring", "gamma": 3}, "belong to peers choco"),
        ({"kind": "gossip", "links": "ring", "every": 0}, "every 0"),
    ],
)
def test_peers_that_cannot_be_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Peers(**changes)  # type: ignore[arg-type]


def test_a_state_with_edges_models_has_one_spelling() -> None:
    history = History(peered("choco", rounds=5), 2).run()
    blob = history.store.blobs[history.manifests[-1].state]
    assert encode_state(decode_state(blob, PARAMETERS)) == blob
    assert history.manifests[-1].state != ZERO32
