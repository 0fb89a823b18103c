"""The list of a batch: everybody whom one `registerBatch` enrols, in one blob that the ledger names by digest.

The ledger keeps the root over the members and no member. A member exists on the ledger by its proof, and becomes an
entry of its own only when something there needs it: a claim, a rotation, a slash. Both of a member's keys signed the same
registration that a node of its own would have signed, so a list binds nobody who did not agree.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from middleware.errors import PeerFault
from middleware.types import LIMITS, Limits
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned
from middleware.wire.message import ACCOUNT_SIGNATURE_BYTES

MEMBER_PURPOSE: Final = b"drystone/member/1"
MOST_MEMBERS: Final = 1 << 20  # of one batch (contracts/src/Registry.sol, MAX_BATCH)
_MEMBER: Final = struct.Struct(">17s32s20sI32s32s")


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One device of a batch. Its number on the ledger is the batch's first number plus its place in the list."""

    net_key: bytes
    account: bytes
    parent: int
    name: bytes  # bytes32, see commitment.pack_name
    meta_hash: bytes
    deadline: int  # of the registration that both keys signed, in seconds
    account_signature: bytes
    net_key_proof: bytes

    def __post_init__(self) -> None:
        require_unsigned("parent", self.parent, 32)
        require_unsigned("deadline", self.deadline, 64)
        for name, value, length in (
            ("network key", self.net_key, 32), ("account", self.account, 20), ("name", self.name, 32),
            ("metadata hash", self.meta_hash, 32), ("account signature", self.account_signature, ACCOUNT_SIGNATURE_BYTES),
            ("network key proof", self.net_key_proof, 64),
        ):  # fmt: skip
            require_bytes(name, value, length)


Members = Annotated[tuple[Member, ...], msgspec.Meta(min_length=1, max_length=MOST_MEMBERS)]


class _List(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    members: Members


def member_data(member: Member) -> bytes:
    """137 bytes: what a member's leaf under the batch's root is taken over."""
    return _MEMBER.pack(
        MEMBER_PURPOSE, member.net_key, member.account, member.parent, member.name, member.meta_hash
    )  # fmt: skip


def encode_members(members: Sequence[Member]) -> bytes:
    """The canonical bytes of a list; their SHA-256 is `registerBatch`'s `list`."""
    return canonical.encode(_List(tuple(members)))


def decode_members(data: bytes, limits: Limits = LIMITS) -> tuple[Member, ...]:
    """The members in `data`, in order. PeerFault: "too-large" past `limits.blob_bytes`, "malformed" for any other fault."""
    if len(data) > limits.blob_bytes:
        raise PeerFault("too-large", f"a list of {len(data)} bytes, at most {limits.blob_bytes}")
    return canonical.decode(data, _List).members
