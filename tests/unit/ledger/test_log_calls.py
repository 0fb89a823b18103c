"""Whatever fits the ABI, a call is taken in, taken in as refused, or turned away: none of them stops the log's keeper."""

from __future__ import annotations

import random
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_abi.grammar import TupleType, parse

from ledger.calls import AnyCall, _signature
from ledger.journal import Journal, decode_line
from ledger.logfile import LogFile
from middleware.errors import ConfigurationError
from middleware.trust.keys import AccountKey, KeyFile
from nodes.keeper import KEY_FILE, LOG_FILE, begin
from tests.unit.ledger.log_world import ADMIN, START, raw

KINDS: tuple[type[msgspec.Struct], ...] = typing.get_args(AnyCall)
OTHER = AccountKey(bytes(31) + b"\x09")
SMALL = (0, 1, 1, 2, 3, 4, 7, 8, 255)


class Draw:
    """Values of the ABI's types in our nouns' shapes; the noun's fields stand in the order of the ABI's leaves."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def call(self, kind: Any) -> Any:
        leaves = (leaf for abi in _signature(kind.contract, kind.function)[1] for leaf in _leaves(parse(abi)))
        return self.struct(kind, leaves)

    def struct(self, kind: Any, leaves: Iterator[Any]) -> Any:
        hints = typing.get_type_hints(kind)
        return kind(**{name: self.value(hints[name], leaves) for name in kind.__struct_fields__})

    def value(self, hint: Any, leaves: Iterator[Any]) -> Any:
        arguments = typing.get_args(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.struct(hint, leaves)
        if typing.get_origin(hint) is not tuple:
            return self.plain(next(leaves))
        if arguments[1:] != (Ellipsis,):
            return tuple(self.value(part, leaves) for part in arguments)
        item = next(leaves).item_type
        return tuple(self.value(arguments[0], _leaves(item)) for _ in range(self.random.choice((0, 1, 2, 16, 17))))

    def plain(self, abi: Any) -> Any:
        match abi.base:
            case "bytes":
                return self.random.randbytes(abi.sub or self.random.choice((0, 1, 64, 65, 512, 1024)))
            case "address":
                return self.random.choice((ADMIN.address, OTHER.address, bytes(20), self.random.randbytes(20)))
            case "bool":
                return self.random.random() < 0.5
        most = (1 << (abi.sub - (abi.base == "int"))) - 1
        return min(most, self.random.choice((*SMALL, most, self.random.randrange(most + 1))))


def _leaves(abi: Any) -> Iterator[Any]:
    """The types of a value's parts, in order; an array of any length is one part."""
    if isinstance(abi, TupleType) and not abi.is_array:
        for component in abi.components:
            yield from _leaves(component)
    else:
        yield abi


@pytest.mark.parametrize("seed", range(2))
def test_no_call_stops_the_keeper_and_every_reader_agrees(tmp_path: Path, seed: int) -> None:
    begin(tmp_path, ADMIN, "http://127.0.0.1:1", START)
    key = KeyFile.from_bytes((tmp_path / KEY_FILE).read_bytes()).network
    draw, told = Draw(seed), Counter[str]()
    with LogFile(tmp_path / LOG_FILE) as file:
        for turn in range(4 * len(KINDS)):
            sender = ADMIN if turn % 2 else OTHER
            try:
                call = draw.call(KINDS[turn % len(KINDS)])
            except ConfigurationError:  # a noun that checks itself refused what was drawn
                told["no noun"] += 1
                continue
            signed = raw(file.journal.identity, call, file.journal.nonce(sender.address), sender)
            told["ok" if file.append(signed, START + turn, key).ok else "refused"] += 1
        mine = file.journal
    blocks = [decode_line(line) for line in (tmp_path / LOG_FILE).read_bytes().splitlines(keepends=True)]
    theirs = Journal.of(blocks)
    assert (theirs.heads, theirs.entries) == (mine.heads, mine.entries)
    assert told["ok"] > 10 and told["refused"] > 100 and told["no noun"] < 40, told
