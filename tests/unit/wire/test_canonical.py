from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from middleware.errors import ConfigurationError, PeerFault
from middleware.policy import Policy
from middleware.types import Header
from middleware.wire import canonical, manifest, message
from middleware.wire.manifest import Manifest

ROOT = Path(__file__).parents[3]
FIXED = settings(derandomize=True, deadline=None, max_examples=300, database=None)


class Pair(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    number: int
    data: bytes = b""


class Lax(msgspec.Struct, frozen=True, array_like=True):
    number: int


@FIXED
@given(st.integers(-(2**63), 2**64 - 1), st.binary(max_size=300))
def test_decoding_undoes_encoding(number: int, data: bytes) -> None:
    assert canonical.decode(canonical.encode(Pair(number, data)), Pair) == Pair(number, data)


@FIXED
@given(st.binary(max_size=64))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_malformed(data: bytes) -> None:
    try:
        value = canonical.decode(data, Pair)
    except PeerFault as fault:
        assert fault.code == "malformed"
    else:
        assert canonical.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92\x01",  # truncated
        b"\x92\xcd\x00\x01\xc4\x00",  # a number longer than it needs to be
        b"\xdc\x00\x02\x01\xc4\x00",  # an array length longer than it needs to be
        b"\x92\x01\xc5\x00\x00",  # a byte length longer than it needs to be
        b"\x91\x01",  # a default left out
        b"\x93\x01\xc4\x00\x05",  # a field too many
        b"\x92\x01\xc4\x00\x00",  # a byte behind the value
        b"\x92\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xc4\x00",  # 1.0 for 1
        b"\x92\xc3\xc4\x00",  # true for 1
        b"\xdd\xff\xff\xff\xff",  # four billion elements
        b"\x93\x01\xc4\x00" + b"\x91" * 200_000,  # deeper than the stack
    ],
)
def test_a_second_spelling_is_malformed(data: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        canonical.decode(data, Pair)
    assert caught.value.code == "malformed"


def test_a_noun_that_would_skip_unknown_fields_is_never_decoded() -> None:
    with pytest.raises(ConfigurationError, match="unknown fields"):
        canonical.decode(b"\x91\x01", Lax)


def structs_within(found: inspect.Type) -> Iterator[inspect.StructType]:
    if isinstance(found, inspect.StructType):
        yield found
        for field in found.fields:
            yield from structs_within(field.type)
    elif isinstance(found, inspect.VarTupleType):
        yield from structs_within(found.item_type)


@pytest.mark.parametrize("kind", [*message.KINDS.values(), message.EdgeBody, Header, manifest._Packed])
def test_every_noun_on_the_wire_forbids_unknown_fields_at_every_depth(kind: type) -> None:
    structs = list(structs_within(inspect.type_info(kind)))
    assert structs[0].cls is kind
    assert all(struct.forbid_unknown_fields and struct.array_like for struct in structs)


def test_no_depth_ends_the_process_even_where_a_library_raised_the_recursion_limit() -> None:
    """eth_account brings py_ecc, which sets the limit to 100,000; a crash would be a segmentation fault."""
    program = """
import sys
sys.setrecursionlimit(1_000_000)
from middleware.errors import PeerFault
from middleware.types import Header
from middleware.wire import canonical, manifest, message
deep = bytes([0x91]) * 5_000_000
for kind in (*message.KINDS.values(), message.EdgeBody, Header, manifest._Packed):
    fields = len(kind.__struct_fields__)
    for data in (deep, bytes([0xDC, 0, fields + 1]) + bytes(fields) + deep, bytes([0xDC, 0, fields]) + deep):
        try:
            canonical.decode(data, kind)
        except PeerFault as fault:
            assert fault.code == "malformed"
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize(
    "error", [ConfigurationError("x"), MemoryError(), RecursionError(), ValueError("x"), TypeError()]
)
def test_whatever_a_parser_raises_becomes_malformed(error: BaseException) -> None:
    def parse() -> None:
        raise error

    with pytest.raises(PeerFault) as caught:
        canonical.refuse_malformed(parse, "value")
    assert caught.value.code == "malformed"


def test_a_bug_of_ours_is_not_blamed_on_the_peer() -> None:
    def parse() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        canonical.refuse_malformed(parse, "value")


def test_a_noun_with_an_encoder_of_its_own_is_not_written_by_accident() -> None:
    with pytest.raises(ConfigurationError):
        canonical.encode(Policy("digits", "mlp", 10))
    with pytest.raises(ConfigurationError):
        canonical.decode(b"\x80", Manifest)


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, object(), "\ud800"])
def test_what_has_no_bytes_is_our_fault(value: object) -> None:
    with pytest.raises(ConfigurationError):
        canonical.encode(value)
