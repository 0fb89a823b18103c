"""A device can prove that its update was counted, and nothing else passes for such a proof."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.errors import PeerFault
from middleware.protocol import inclusion
from middleware.protocol.inclusion import Inclusion
from middleware.types import EdgeLeaf, Leaf
from middleware.wire import canonical
from middleware.wire.commitment import Context
from tests.sim.history import CLOUD, DEVICES, DOMAIN, History, policy_of

CONTEXT = DOMAIN.context
HISTORY = History(rounds=2).run()
HEADER, MANIFEST = HISTORY.headers[1], HISTORY.manifests[1]


def proof(node: int) -> Inclusion:
    found = inclusion.prove(CONTEXT, MANIFEST, node)
    assert found is not None
    return found


@pytest.mark.parametrize("node", DEVICES)
def test_every_update_of_a_round_has_a_proof(node: int) -> None:
    inclusion.verify(CONTEXT, HEADER, proof(node))
    assert all(step.holds for step in inclusion.steps(CONTEXT, HEADER, proof(node)))


def test_a_node_without_an_update_has_no_proof() -> None:
    assert inclusion.prove(CONTEXT, MANIFEST, CLOUD) is None


def test_a_proof_survives_the_wire() -> None:
    found = proof(5)
    assert canonical.decode(canonical.encode(found), Inclusion) == found


def test_an_edge_without_updates_does_not_disturb_the_others_proofs() -> None:
    class OneEdge(History):
        def present(self, number: int) -> tuple[int, ...]:
            return (4, 5)

    history = OneEdge(policy_of(min_updates=3), rounds=1).run()
    found = inclusion.prove(CONTEXT, history.manifests[0], 5)
    assert found is not None
    assert found.edges == 2  # an edge that brought nothing reported all the same
    inclusion.verify(CONTEXT, history.headers[0], found)


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"edge_index": 1},
        {"edges": 3},
        {"path": ()},
        {"path": (b"\x00" * 32,)},
        {"edge_path": (b"\x00" * 32,)},
        {"edge_path": (b"\x00" * 31,)},
        {"index": 2**63},
        {"edge_index": 0, "edges": 0},
    ],
    ids=str,
)
def test_a_changed_proof_proves_nothing(change: dict[str, object]) -> None:
    with pytest.raises(PeerFault) as caught:
        inclusion.verify(CONTEXT, HEADER, msgspec.structs.replace(proof(4), **change))
    assert caught.value.code in ("mismatch", "malformed")


@pytest.mark.parametrize("field", ["task", "round", "edge", "sequence", "weight"])
def test_a_changed_leaf_is_not_included(field: str) -> None:
    found = proof(4)
    leaf: Leaf = msgspec.structs.replace(found.leaf, **{field: getattr(found.leaf, field) + 1})
    with pytest.raises(PeerFault, match="mismatch"):
        inclusion.verify(CONTEXT, HEADER, msgspec.structs.replace(found, leaf=leaf))


@pytest.mark.parametrize("field", ["task", "round", "edge", "count"])
def test_a_changed_edge_leaf_is_not_included(field: str) -> None:
    found = proof(4)
    leaf: EdgeLeaf = msgspec.structs.replace(found.edge_leaf, **{field: getattr(found.edge_leaf, field) + 1})
    with pytest.raises(PeerFault):
        inclusion.verify(CONTEXT, HEADER, msgspec.structs.replace(found, edge_leaf=leaf))


def test_a_proof_is_for_one_round_only() -> None:
    with pytest.raises(PeerFault, match="made for this task and round"):
        inclusion.verify(CONTEXT, HISTORY.headers[0], proof(4))


def test_a_proof_is_for_one_ledger_only() -> None:
    with pytest.raises(PeerFault, match="mismatch"):
        inclusion.verify(Context(1, CONTEXT.ledger), HEADER, proof(4))


ENCODED = canonical.encode(proof(4))


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
def test_a_proof_with_one_changed_byte_is_refused(at: int, value: int) -> None:
    data = ENCODED[:at] + bytes([ENCODED[at] ^ value]) + ENCODED[at + 1 :]
    with pytest.raises(PeerFault):
        inclusion.verify(CONTEXT, HEADER, canonical.decode(data, Inclusion))
