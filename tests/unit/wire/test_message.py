from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import FAULTS, ConfigurationError, PeerFault
from middleware.types import LIMITS, EdgeLeaf, Leaf, Limits, Receipt, Tier
from middleware.wire import canonical, message
from middleware.wire.frame import encode_frame, parse_head
from middleware.wire.session import Hello, Terms

FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)
MANY = settings(derandomize=True, deadline=None, max_examples=500, database=None)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
ids = st.integers(1, 2**32 - 1)
hashes = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=65, max_size=65)
accounts = st.binary(min_size=20, max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(
    st.text(max_size=8), st.one_of(st.integers(-(2**53), 2**53), finite, st.text(max_size=8)), max_size=5
)
wrapped = st.lists(
    st.builds(message.Wrapped, hashes, st.binary(min_size=80, max_size=80)), max_size=3, unique_by=lambda w: w.reader
).map(tuple)


@st.composite
def updates(draw: st.DrawFn) -> message.Update:
    node, sequence, body = draw(ids), draw(u64), draw(hashes)
    data = message.encode_metrics(draw(metrics))
    leaf = Leaf(
        draw(u64), draw(u64), node, draw(u32), sequence, draw(ids), body, draw(hashes), hashlib.sha256(data).digest()
    )
    return message.Update(node, sequence, leaf, draw(wrapped), data, body, draw(u64.filter(lambda n: n <= 1000)))


@st.composite
def reports(draw: st.DrawFn) -> message.EdgeReport:
    edge = draw(ids)
    leaf = EdgeLeaf(draw(u64), draw(u64), edge, draw(hashes), draw(u64), draw(hashes))
    return message.EdgeReport(
        edge, draw(u64), leaf, draw(signatures), draw(u64), draw(wrapped), draw(hashes), draw(st.integers(0, 1000))
    )


@st.composite
def receipts(draw: st.DrawFn) -> message.ReceiptReply:
    edge = draw(ids)
    return message.ReceiptReply(
        edge, draw(u64), Receipt(draw(u64), draw(u64), edge, draw(u64), draw(hashes)), draw(signatures)
    )


messages: st.SearchStrategy[message.Message] = st.one_of(
    st.builds(message.Poll, ids, u64, u64, u64),
    st.builds(
        message.Offer,
        ids,
        u64,
        u64,
        u64,
        hashes,
        hashes,
        u64,
        st.integers(-60, 20),
        st.floats(0, 1e9),
        hashes,
        st.sampled_from(["open", "done", "stopped"]),
    ),
    updates(),
    reports(),
    receipts(),
    st.builds(
        message.Registration,
        st.just(0),
        u64,
        hashes,
        accounts,
        accounts,
        st.sampled_from(Tier),
        u32,
        hashes,
        hashes,
        u64,
        signatures,
        st.binary(min_size=64, max_size=64),
    ),
    st.builds(Hello, u32, u64, hashes, hashes, accounts),
    st.builds(
        Terms, u32, u64, hashes, hashes, u32, st.integers(0, 1 << 40), st.integers(1, 64), st.integers(0, 1 << 40),
        st.floats(0, 1e6), st.lists(st.tuples(st.integers(0, 5), st.integers(6, 64), st.floats(0, 1e6)), max_size=4).map(tuple),
    ),
)  # fmt: skip


def an_update(**changes: Any) -> message.Update:
    data = message.encode_metrics({"loss": 0.5})
    leaf = Leaf(1, 1, 5, 2, 1, 10, bytes(32), bytes(32), hashlib.sha256(data).digest())
    fields = {
        "sender": 5,
        "sequence": 1,
        "leaf": leaf,
        "wrapped": (),
        "metrics": data,
        "body_digest": bytes(32),
        "body_bytes": 100,
    }
    return message.Update(**{**fields, **changes})


@FIXED
@given(messages)
def test_decoding_undoes_encoding_for_every_message(value: message.Message) -> None:
    assert message.decode_message(value.code, message.encode_header(value)) == value


@FIXED
@given(messages, st.binary(min_size=64, max_size=64))
def test_a_stored_frame_carries_the_message_and_its_signature(value: message.Message, signature: bytes) -> None:
    signed = message.Signed(value, message.encode_header(value), signature)
    assert message.decode_stored(signed.stored(), type(value)) == signed
    head = parse_head(signed.stored())
    assert head.body_bytes == message.body_bytes_of(value)
    assert message.receive(head, signed.stored()[17:]) == signed


@MANY
@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_bytes_decode_or_are_the_peers_fault(code: int, data: bytes) -> None:
    for attempt in (code, code % 7):
        try:
            value = message.decode_message(attempt, data)
        except PeerFault as fault:
            assert fault.code in {"malformed", "too-large"}
        else:
            assert message.encode_header(value) == data


@FIXED
@given(messages, st.data())
def test_a_mutated_header_decodes_to_itself_or_is_the_peers_fault(value: message.Message, data: st.DataObject) -> None:
    header = bytearray(message.encode_header(value))
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = message.decode_message(value.code, bytes(header))
    except PeerFault as fault:
        assert fault.code in {"malformed", "too-large"}
    else:
        assert message.encode_header(decoded) == bytes(header)


def test_codes_are_those_of_the_format() -> None:
    assert {code: kind.__name__ for code, kind in message.KINDS.items()} == {
        1: "Poll",
        2: "Offer",
        3: "Update",
        4: "EdgeReport",
        5: "ReceiptReply",
        6: "Registration",
        7: "Hello",
        8: "Terms",
        9: "FileRequest",
    }


@pytest.mark.parametrize("code", [0, 7, 255])
def test_an_unknown_type_is_malformed(code: int) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        message.decode_message(code, b"\x94\x01\x01\x00\x00")


LEAF = an_update().leaf


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": 0},
        {"sender": 6},  # not the leaf's node
        {"sequence": 2},  # not the leaf's
        {"sequence": -1},
        {"body_digest": bytes(31) + b"\1"},
        {"body_bytes": -1},
        {"metrics": b'{"loss":0.6}'},
        {"leaf": msgspec.structs.replace(LEAF, weight=0)},
        {"leaf": msgspec.structs.replace(LEAF, weight=1 << 32)},
        {"leaf": msgspec.structs.replace(LEAF, update_root=bytes(33))},
        {"leaf": msgspec.structs.replace(LEAF, round=1 << 64)},
        {"wrapped": (message.Wrapped(bytes(32), bytes(80)),) * 2},
        {"wrapped": tuple(message.Wrapped(n.to_bytes(32, "big"), bytes(80)) for n in range(LIMITS.readers + 1))},
    ],
)
def test_an_impossible_update_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        an_update(**changes)


@pytest.mark.parametrize("data", [b'{"loss": 0.5}', b'{"b":1,"a":2}', b"[]", b'{"a":null}', b"x", b'{"a":1,"a":1}'])
def test_metrics_in_another_spelling_cannot_be_sent(data: bytes) -> None:
    leaf = msgspec.structs.replace(LEAF, metrics=hashlib.sha256(data).digest())
    with pytest.raises(ConfigurationError, match="canonical"):
        an_update(metrics=data, leaf=leaf)
    with pytest.raises(PeerFault, match="malformed"):
        message.decode_metrics(data)


def test_metrics_stay_below_their_limit_and_finite() -> None:
    assert message.decode_metrics(message.encode_metrics({"b": 1, "a": 0.25})) == {"a": 0.25, "b": 1}
    for bad in (float("nan"), float("inf"), "x" * LIMITS.metrics_bytes):
        with pytest.raises(ConfigurationError):
            message.encode_metrics({"a": bad})
    with pytest.raises(PeerFault) as caught:
        message.decode_metrics(b" " * (LIMITS.metrics_bytes + 1))
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (message.Offer, {"deadline_seconds": float("nan")}),
        (message.Offer, {"deadline_seconds": -1.0}),
        (message.Offer, {"exponent": 21}),
        (message.Offer, {"prev": bytes(31)}),
        (message.EdgeReport, {"sender": 9}),
        (message.EdgeReport, {"root_signature": bytes(64)}),
        (message.EdgeReport, {"weight_total": 1 << 64}),
        (message.ReceiptReply, {"sender": 9}),
        (message.ReceiptReply, {"signature": b""}),
        (message.Registration, {"sender": 1}),
        (message.Registration, {"name": b"phone"}),
        (message.Registration, {"net_key_proof": bytes(65)}),
        (message.Poll, {"task": -1}),
    ],
)
def test_an_impossible_message_cannot_be_built(kind: type[Any], changes: dict[str, Any]) -> None:
    examples: dict[type[Any], Any] = {
        message.Poll: message.Poll(5, 1),
        message.Offer: message.Offer(1, 1, 1, 1, bytes(32), bytes(32), 10, -13, 5.0, bytes(32)),
        message.EdgeReport: message.EdgeReport(
            2, 1, EdgeLeaf(1, 1, 2, bytes(32), 0, bytes(32)), bytes(65), 0, (), bytes(32), 0
        ),
        message.ReceiptReply: message.ReceiptReply(2, 1, Receipt(1, 1, 2, 0, bytes(32)), bytes(65)),
        message.Registration: message.Registration(
            0, 1, bytes(32), bytes(20), bytes(20), Tier.END, 2, bytes(32), bytes(32), 0, bytes(65), bytes(64)
        ),
    }
    with pytest.raises(ConfigurationError):
        msgspec.structs.replace(examples[kind], **changes)
    fields = [changes.get(name, getattr(examples[kind], name)) for name in kind.__struct_fields__]
    if all(not isinstance(value, int) or value < 1 << 64 for value in fields):
        with pytest.raises(PeerFault) as caught:
            message.decode_message(kind.code, canonical.encode(fields))
        assert caught.value.code == "malformed"


def test_lower_limits_of_a_daemon_are_kept() -> None:
    header = message.encode_header(an_update())
    for limits in (Limits(header_bytes=len(header) - 1), Limits(body_bytes=99)):
        with pytest.raises(PeerFault) as caught:
            message.decode_message(3, header, limits)
        assert caught.value.code == "too-large"
    assert message.decode_message(3, header, Limits(header_bytes=len(header), body_bytes=100)) == an_update()
    with pytest.raises(ConfigurationError):
        message.encode_header(an_update(), Limits(header_bytes=10))


def test_the_frame_and_its_header_agree_on_the_length_of_the_body() -> None:
    value = an_update()
    data = encode_frame(3, message.encode_header(value), bytes(64), body_bytes=99)
    with pytest.raises(PeerFault, match="malformed"):
        message.decode_stored(data, message.Update)
    with pytest.raises(ConfigurationError):
        message.Signed(value, message.encode_header(value), bytes(64)).frame(bytes(99))


def test_a_message_of_another_type_is_not_taken_for_the_expected_one() -> None:
    poll = message.Poll(5, 1)
    stored = message.Signed(poll, message.encode_header(poll), bytes(64)).stored()
    with pytest.raises(PeerFault, match="expected Update, got Poll"):
        message.decode_stored(stored, message.Update)


def test_a_whole_frame_brings_exactly_the_committed_body() -> None:
    body = bytes(range(100))
    digest = hashlib.sha256(body).digest()
    value = an_update(body_digest=digest, leaf=msgspec.structs.replace(LEAF, ciphertext=digest))
    whole = message.Signed(value, message.encode_header(value), bytes(64)).frame(body)
    signed, got = message.decode_whole(whole, message.Update)
    assert (signed.message, got) == (value, body)
    with pytest.raises(PeerFault) as caught:
        message.decode_whole(whole[:-1] + b"\0", message.Update)
    assert caught.value.code == "mismatch"
    with pytest.raises(PeerFault, match="mismatch"):
        message.check_body(value, digest, 99)


def test_an_edge_body_decodes_to_what_was_encoded() -> None:
    sums = b"sealed"
    for body in (
        message.EdgeBody((b"a", b"b"), ("", "off-grid")),
        message.EdgeBody((), (), sums, hashlib.sha256(sums).digest()),
    ):
        assert message.decode_edge_body(message.encode_edge_body(body)) == body


@pytest.mark.parametrize(
    "fields",
    [
        [[b"a"], [], b"", bytes(32)],
        [[b"a"], ["nonsense"], b"", bytes(32)],
        [[], [], b"sums", bytes(32)],
        [[], [], b"", b"\1" * 32],
        [[b""] * (LIMITS.children + 1), [""] * (LIMITS.children + 1), b"", bytes(32)],
    ],
)
def test_an_impossible_edge_body_is_malformed(fields: list[Any]) -> None:
    with pytest.raises(PeerFault) as caught:
        message.decode_edge_body(canonical.encode(fields))
    assert caught.value.code == "malformed"


def test_an_edge_body_past_the_limits_or_beside_its_digest_is_refused() -> None:
    data = message.encode_edge_body(message.EdgeBody((b"a", b"b"), ("", "")))
    for limits in (Limits(children=1), Limits(body_bytes=len(data) - 1)):
        with pytest.raises(PeerFault) as caught:
            message.decode_edge_body(data, limits)
        assert caught.value.code == "too-large"
    with pytest.raises(PeerFault) as caught:
        message.decode_edge_body(canonical.encode([[], [], b"sums", b"\1" * 32, []]))
    assert caught.value.code == "mismatch"


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_every_fault_code_can_mark_a_refused_update(code: str) -> None:
    assert message.EdgeBody((b"frame",), (code,)).refused == (code,)
