"""A block of the chain as bytes that prove themselves: its header, whose hash is the block's, and its receipts.

A node of the chain answers in JSON. Both are put back into the bytes that consensus hashes (Yellow Paper section 4.4, with the
fields of EIP-1559, 4895, 4844, 4788 and 7685 behind; receipts as in EIP-2718), so that nobody has to believe the answer. A
header is read by position, hence one with fields of a later fork is read just as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import rlp
from eth_hash.auto import keccak

from ledger.patricia import decode_list
from middleware.errors import PeerFault

Log = tuple[bytes, tuple[bytes, ...], bytes]  # address, topics, data

# (JSON name, whether it is a quantity), in the order of the header's list; the last ones only where the fork has them.
_FIELDS: Final = (
    ("parentHash", False), ("sha3Uncles", False), ("miner", False), ("stateRoot", False), ("transactionsRoot", False),
    ("receiptsRoot", False), ("logsBloom", False), ("difficulty", True), ("number", True), ("gasLimit", True),
    ("gasUsed", True), ("timestamp", True), ("extraData", False), ("mixHash", False), ("nonce", False),
)  # fmt: skip
_LATER: Final = (
    ("baseFeePerGas", True), ("withdrawalsRoot", False), ("blobGasUsed", True), ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False), ("requestsHash", False),
)  # fmt: skip
_PARENT, _STATE, _RECEIPTS, _NUMBER, _TIME = 0, 3, 5, 8, 11
_QUANTITY_BYTES: Final = 8
_LAST_TYPE: Final = 0x7F  # of EIP-2718; a byte above it begins an RLP list


class Block(msgspec.Struct, frozen=True):
    """What of a header the proofs need. `time` is in seconds since 1970."""

    hash: bytes
    parent: bytes
    state_root: bytes
    receipts_root: bytes
    number: int
    time: int


def encode_header(block: Mapping[str, Any]) -> bytes:
    """The header's RLP from a node's block object. Whether that is the block: keccak of it is the block's hash."""
    later = [field for field in _LATER if field[0] in block]
    return bytes(rlp.encode([_field(block[name], quantity) for name, quantity in (*_FIELDS, *later)]))


def decode_header(data: bytes) -> Block:
    """The block that a header's RLP is of. PeerFault("malformed")."""
    items = decode_list(data, "a block header")
    if len(items) < len(_FIELDS) or not all(isinstance(item, bytes) for item in items):
        raise PeerFault("malformed", f"a block header is a list of {len(_FIELDS)} or more byte strings")
    parent, state, receipts = (items[place] for place in (_PARENT, _STATE, _RECEIPTS))
    if any(len(root) != 32 for root in (parent, state, receipts)):
        raise PeerFault("malformed", "a block header's hashes have 32 bytes")
    if any(len(items[place]) > _QUANTITY_BYTES for place in (_NUMBER, _TIME)):
        raise PeerFault("malformed", f"a block's number and time have at most {_QUANTITY_BYTES} bytes")
    number, time = int.from_bytes(items[_NUMBER], "big"), int.from_bytes(items[_TIME], "big")
    return Block(keccak(data), parent, state, receipts, number, time)


def encode_receipt(receipt: Mapping[str, Any]) -> bytes:
    """A receipt's consensus bytes from a node's receipt object."""
    logs = [
        [_field(log["address"], False), [_field(topic, False) for topic in log["topics"]], _field(log["data"], False)]
        for log in receipt["logs"]
    ]
    fields = [
        _field(receipt["status"], True), _field(receipt["cumulativeGasUsed"], True), _field(receipt["logsBloom"], False), logs,
    ]  # fmt: skip
    kind = int(receipt.get("type", "0x0"), 16)
    return bytes([kind] * (kind > 0)) + bytes(rlp.encode(fields))


def decode_receipt(data: bytes) -> tuple[Log, ...]:
    """The logs of a transaction that succeeded. PeerFault: "malformed", or "mismatch" for one that was reverted."""
    typed = data[:1] <= bytes([_LAST_TYPE])
    items = decode_list(data[1:] if typed else data, "a receipt")
    if len(items) != 4 or not isinstance(items[3], list):
        raise PeerFault("malformed", "a receipt is (status, gas, bloom, logs)")
    if items[0] != b"\x01":
        raise PeerFault("mismatch", "the transaction was reverted")
    try:
        return tuple((address, tuple(topics), payload) for address, topics, payload in items[3])
    except (TypeError, ValueError) as error:
        raise PeerFault("malformed", f"a log is (address, topics, data): {error}") from error


def _field(text: str, quantity: bool) -> bytes:
    if not quantity:
        return bytes.fromhex(text.removeprefix("0x"))
    value = int(text, 16)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
