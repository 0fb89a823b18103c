"""Histories with one liar, and how an offence is tried: what the disputes' tests and the attacks share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ledger.audit.memory import Memory, OutgoingRow
from ledger.dispute import Offence, find
from ledger.disputed_sums import Right, over, preimages, within
from middleware.policy import Rule
from middleware.protocol.settlement import Received, Reported
from middleware.trust import keys, roots
from middleware.types import Header, Receipt
from middleware.wire.message import ReceiptReply
from tests.sim.history import DOMAIN, EDGES, PARENT, TASK, History, Sent, policy_of, stream
from tests.sim.trial import tried

MEAN = policy_of(rule=Rule("mean", 0), min_updates=1)


TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)


MEDIAN = policy_of(rule=Rule("median", 1))


TRIMMED = policy_of(rule=Rule("trimmed-mean", 1))


WIDE = tuple(range(20, 37))  # seventeen more devices below edge 2: two groups, and a node above them


PARENT.update(dict.fromkeys(WIDE, 2))


def only(history: History, memories: Sequence[Memory] = ()) -> Offence:
    """The one offence of the run, whose evidence the specification of the Arbiter accepts, and only once."""
    found = find(history.record, history.store, memories)
    assert len(found) == 1, [(offence.kind, offence.round, offence.accused) for offence in found]
    tried(history, found[0])
    return found[0]


def named(offence: Offence, kind: str, round: int, accused: int) -> None:
    assert (offence.kind, offence.task, offence.round, offence.accused) == (kind, TASK, round, accused)


def receipt_row(history: History, promiser: int, number: int, index: int, leaf: bytes, frame: bytes) -> OutgoingRow:
    promise = Receipt(TASK, number, promiser, index, leaf)
    reply = ReceiptReply(promiser, 1, promise, keys.sign_receipt(DOMAIN, history.account[promiser], promise))
    signed = keys.sign_message(DOMAIN.context, history.network[promiser], reply)
    return OutgoingRow(TASK, number, frame, b"", signed.stored(), "receipt")


def device_memory(history: History, sent: Sent, index: int, number: int) -> Memory:
    """A device's own store: its update, and the receipt that its edge gave for this place."""
    leaf = sent.received.leaf
    row = receipt_row(history, leaf.edge, number, index, roots.leaf_hash(DOMAIN.context, leaf), sent.received.frame)
    return Memory("device", leaf.node, outgoing=(row,))


class Wide(History):
    """Nineteen devices below edge 2, so that its sums have two groups."""

    def create(self) -> None:
        for device in WIDE:
            self.network[device] = keys.NetworkKey.generate(stream(f"network {device}"))
            self.account[device] = keys.AccountKey.generate(stream(f"account {device}"))
        super().create()
        for device in WIDE:
            self.mine(self.registration(device))

    def present(self, number: int) -> tuple[int, ...]:
        return (*super().present(number), *WIDE)


class Adder(History):
    """A cloud that commits another sum tree than its updates have, and shows it to whoever asks."""

    def members(self, number: int) -> list[Right]:
        """The edges' nodes, right, as the round's manifest has them."""
        raise NotImplementedError

    def publish(self, *nodes: Right) -> None:
        for one in nodes:
            for data in preimages(one):
                self.store.put(data)

    def show(self, members: Sequence[Right], lie: Right | None = None) -> bytes:
        """Publish a tree over these members, with another top if given; returns its commitment."""
        levels = over(members)
        self.publish(*members, *(one for level in levels.nodes for one in level))
        if lie is None:
            return levels.top.hash
        self.publish(lie)
        return lie.hash

    def rights(self, number: int) -> list[Right]:
        """The nodes of the edges' own trees, from what was received."""
        found = []
        for edge in self.got:
            weights = [(row.integers, row.leaf.weight) for row in edge]
            found.append(within(weights, self.policy.parameters))
        self.trees = found
        return [tree.top for tree in found]

    def report(self, edge: int, number: int, rows: list[Received]) -> Reported:
        if edge == EDGES[0]:
            self.got: list[list[Received]] = []
        self.got.append(rows)
        return super().report(edge, number, rows)

    def header(self, number: int, header: Header) -> Header:
        return msgspec.structs.replace(header, chunks_root=self.lie(number)) if number == 1 else header

    def lie(self, number: int) -> bytes:
        raise NotImplementedError


def off_by_one(vector: np.ndarray, coordinate: int) -> np.ndarray:
    changed = vector.copy()
    changed[coordinate] += 1
    return changed
