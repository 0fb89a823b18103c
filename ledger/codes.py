"""Whether the code at a contract's address is what its committed sources compile to.

The artifact holds creation code: a constructor, and behind it the code that it leaves on the chain, in which every
immutable is a PUSH32 of zeros that the constructor fills in. So a contract's code on the chain has two parts: its shape
(the code with those words blanked) must be the artifact's, and the words must be ones that this ledger explains: the
address of one of its contracts, a word of an EIP-712 domain, or a number (a stake, a delay, the chain's id). Code whose
shape is right but which trusts a contract outside the address book is a replacement too.

An exported record carries both parts of each contract, so that they can be judged without the chain (`described`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Final

import msgspec
from eth_hash.auto import keccak

from ledger.artifacts import NAMES, load
from middleware.errors import ConfigurationError, PeerFault

PREFIX: Final = "code "  # of a record's fields
_WORD: Final = 32
_PUSH1, _PUSH32, _PUSH2, _INVALID = 0x60, 0x7F, b"\x61", b"\xfe"
_NUMBER_BITS: Final = 96  # of the largest number that our constructors take
_DOMAIN_NAMES: Final = ("Drystone", "Drystone Credit")
_DOMAIN_TYPE: Final = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


class Code(msgspec.Struct, frozen=True):
    """One contract's code: the SHA-256 of its shape, and the words in the places of its immutables, each once, sorted."""

    shape: bytes
    words: tuple[bytes, ...] = ()

    def described(self) -> str:
        """As a record carries it; `parse` is the inverse."""
        return " ".join([self.shape.hex(), *(word.hex() for word in self.words)])

    @classmethod
    def parse(cls, text: str) -> Code:
        """PeerFault("malformed") for what no `described` gives."""
        try:
            shape, *words = [bytes.fromhex(part) for part in text.split(" ")]
        except ValueError as error:
            raise PeerFault("malformed", f"a contract's code is described as hex words: {error}") from error
        if any(len(part) != _WORD for part in (shape, *words)):
            raise PeerFault("malformed", "a contract's code is described in words of 32 bytes")
        return cls(shape, tuple(words))


def code_of(name: str, runtime: bytes) -> Code:
    """What stands at the address of contract `name`."""
    shape, words = bytearray(runtime), set()
    for place in immutables(name) if len(runtime) == len(template(name)) else ():
        words.add(runtime[place : place + _WORD])
        shape[place : place + _WORD] = bytes(_WORD)
    return Code(sha256(shape).digest(), tuple(sorted(words)))


@cache
def template(name: str) -> bytes:
    """The code that the artifact's constructor leaves on the chain, with zeros for its immutables."""
    creation = load(name).bytecode
    for start in range(1, len(creation)):
        size = len(creation) - start
        operands = (_PUSH2 + size.to_bytes(2, "big"), _PUSH2 + start.to_bytes(2, "big"))
        if creation[start - 1 : start] == _INVALID and all(part in creation[:start] for part in operands):
            return creation[start:]
    raise ConfigurationError(f"the creation code of {name} returns no code: rebuild ledger/abi")


@cache
def immutables(name: str) -> tuple[int, ...]:
    """Where the words of the immutables stand in the code: behind each PUSH32 of zeros."""
    code, at, places = template(name), 0, []
    while at < len(code):
        operation = code[at]
        if operation == _PUSH32 and code[at + 1 : at + 1 + _WORD] == bytes(_WORD):
            places.append(at + 1)
        at += 1 + (operation - _PUSH1 + 1 if _PUSH1 <= operation <= _PUSH32 else 0)
    return tuple(places)


def wrong_code(name: str, text: str, chain_id: int, addresses: Mapping[str, bytes]) -> str:
    """What is wrong with a contract's described code, or "". `addresses` are those of the whole ledger, by name."""
    if name not in NAMES:
        return f"no artifact is called {name}"
    try:
        code = Code.parse(text)
    except PeerFault as fault:
        return fault.detail
    expected = sha256(template(name)).digest()
    if code.shape != expected:
        return f"its code has the shape {code.shape.hex()[:16]}, the committed sources compile to {expected.hex()[:16]}"
    known = set(addresses.values())
    explained = {at.rjust(_WORD, b"\0") for at in known} | _domain_words(chain_id, addresses.get(name, b""))
    for word in code.words:
        if word not in explained and int.from_bytes(word, "big") >> _NUMBER_BITS:
            return (
                f"it is bound to {word.hex()}, which is no contract of this ledger, no word of its domain and no number"
            )
    return ""


def _domain_words(chain_id: int, address: bytes) -> set[bytes]:
    """The words that an EIP-712 domain puts into a contract (OpenZeppelin's EIP712)."""
    version = keccak(b"1")
    words = {version, _short("1")}
    for name in _DOMAIN_NAMES:
        hashed = keccak(name.encode())
        tail = chain_id.to_bytes(_WORD, "big") + address.rjust(_WORD, b"\0")
        words |= {hashed, _short(name), keccak(_DOMAIN_TYPE + hashed + version + tail)}
    return words


def _short(text: str) -> bytes:
    """A short string in one word: its bytes, and its length last."""
    return text.encode().ljust(_WORD - 1, b"\0") + bytes([len(text)])
