from __future__ import annotations

from middleware.trust import merkle, roots
from middleware.types import EdgeLeaf, Leaf, Node, Status, Tier
from middleware.wire.commitment import Context, edge_leaf_data, leaf_data, roster_entry, weight_entry

PLACE = Context(31337, bytes(20))


def leaf(node: int, edge: int) -> Leaf:
    return Leaf(1, 1, node, edge, 1, 10, bytes(32), bytes(32), bytes(32))


def test_a_device_is_proved_through_its_edge_up_to_the_inputs_root() -> None:
    updates = {2: [leaf(4, 2), leaf(5, 2), leaf(6, 2)], 3: [leaf(7, 3)]}
    trees = {edge: roots.edge_tree(PLACE, leaves) for edge, leaves in updates.items()}
    edges = [EdgeLeaf(1, 1, edge, tree.root, tree.size, bytes(32)) for edge, tree in trees.items()]
    inputs = roots.inputs_tree(PLACE, edges)
    path = trees[2].path(1)
    assert merkle.verify_inclusion(edges[0].root, roots.leaf_hash(PLACE, updates[2][1]), 1, 3, path)
    assert merkle.verify_inclusion(inputs.root, roots.edge_leaf_hash(PLACE, edges[0]), 0, 2, inputs.path(0))
    assert roots.leaf_hash(PLACE, leaf(4, 2)) == merkle.leaf_hash(leaf_data(PLACE, leaf(4, 2)))


def test_inputs_stand_in_the_order_of_the_receipts_and_empty_edges_count() -> None:
    first, empty, last = (EdgeLeaf(1, 1, edge, bytes(32), count, bytes(32)) for edge, count in ((2, 1), (3, 0), (4, 2)))
    expected = merkle.root([edge_leaf_data(PLACE, last), edge_leaf_data(PLACE, empty), edge_leaf_data(PLACE, first)])
    assert roots.inputs_tree(PLACE, [last, empty, first]).root == expected
    assert roots.inputs_tree(PLACE, [first, empty, last]).root != expected
    assert roots.inputs_tree(PLACE, []).root == merkle.EMPTY_ROOT


def test_weights_keep_the_order_of_the_inputs() -> None:
    first, second = roots.edge_weights([(5, 1), (4, 0)]), roots.edge_weights([])
    assert first == merkle.root([weight_entry(5, 1), weight_entry(4, 0)])
    assert roots.edge_weights([(4, 0), (5, 1)]) != first
    assert roots.weights_root([first, second]) == merkle.root([first, second]) != roots.weights_root([second, first])


def test_the_roster_root_sees_every_node_and_its_status() -> None:
    def node(number: int, status: Status) -> Node:
        return Node(number, bytes(32), bytes(20), bytes(20), Tier.CLOUD, status, 0, "x")

    nodes = [node(2, Status.ACTIVE), node(1, Status.REVOKED)]
    assert roots.roster_root(nodes) == merkle.root([roster_entry(nodes[1]), roster_entry(nodes[0])])
    assert roots.roster_root(nodes) != roots.roster_root([node(2, Status.ACTIVE), node(1, Status.ACTIVE)])
