"""Somebody who is no reader of an update has everything that travels and everything that is stored of it."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.errors import PeerFault
from middleware.policy import Grid, Policy
from middleware.protocol import update as updates
from middleware.trust import chunks, seal
from middleware.trust.keys import NetworkKey
from middleware.wire.message import Update
from tests.sim.history import stream

POLICY = Policy(workload="digits", model="mlp:1", parameters=600, grid=Grid(16, -11))
DEVICE, EDGE, STRANGER = (NetworkKey.generate(stream(name)) for name in ("device", "edge", "stranger"))
SECRET = np.linspace(-1, 1, 600, dtype=np.float32)


def sent() -> tuple[Update, bytes]:
    made = updates.compose(SECRET, None, POLICY, (1, 1, 4, 2, 1), 10, b"{}", [EDGE.public], stream("salt"))
    return Update(4, 1, made.leaf, made.wrapped, b"{}", made.leaf.ciphertext, len(made.body)), made.body


def test_the_edge_reads_it() -> None:
    message, body = sent()
    opened = updates.judge(message, body, updates.content_key(message.wrapped, EDGE), POLICY)
    assert np.allclose(opened.integers * POLICY.grid.step, SECRET, atol=POLICY.grid.step)


def test_a_stranger_has_no_key_to_it() -> None:
    message, _ = sent()
    with pytest.raises(PeerFault, match="not wrapped to this reader"):
        updates.content_key(message.wrapped, STRANGER)
    with pytest.raises(PeerFault):
        seal.unwrap(message.wrapped[0].sealed, STRANGER)


def test_the_body_shows_nothing_of_the_numbers() -> None:
    _, body = sent()
    plain = np.asarray(np.rint(SECRET / POLICY.grid.step), "<i2").tobytes()
    assert all(plain[start : start + 8] not in body for start in range(0, len(plain), 8))
    ones = sum(byte.bit_count() for byte in body) / (8 * len(body))
    assert 0.45 < ones < 0.55


def test_another_round_or_sender_does_not_open_it_even_with_the_key() -> None:
    message, body = sent()
    key = updates.content_key(message.wrapped, EDGE)
    for place in ((1, 2, 4), (1, 1, 5), (2, 1, 4)):
        with pytest.raises(PeerFault, match="mismatch"):
            seal.open_sealed(key, body, seal.leaf_context(*place))


def test_the_committed_root_does_not_confirm_a_right_guess() -> None:
    message, _ = sent()
    guess = np.asarray(np.rint(SECRET / POLICY.grid.step), np.int16)
    assert chunks.update_root(guess, bytes(16), 2) != message.leaf.update_root
