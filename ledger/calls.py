"""What can be asked of the contracts: one frozen noun a function, in the contracts' own words.

A call is an intent. Its bytes are canonical, so its id is the same before and after a crash, and an outbox that is told
the same thing twice does it once. The bytes are JSON because amounts have up to 256 bits, past what MessagePack holds;
fields stand in the order of the class, so there is one spelling.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from eth_hash.auto import keccak

from ledger.artifacts import NAMES, load
from middleware import ports
from middleware.errors import ConfigurationError
from middleware.types import Header
from middleware.wire.canonical import refuse_malformed

_ID_PREFIX: Final = b"drystone/call/1"


class _Call(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    contract: ClassVar[str]
    function: ClassVar[str]

    def arguments(self) -> tuple[Any, ...]:
        """The arguments in the ABI's order."""
        return msgspec.structs.astuple(self)


# ------------------------------------------------------------------------------------------------------------- Registry


class _Registry(_Call, frozen=True):
    contract: ClassVar[str] = "Registry"


class Register(_Registry, frozen=True):
    """A new node. `name` is a bytes32; both signatures are over the EIP-712 digest of the rest; anybody may send it."""

    function: ClassVar[str] = "register"
    net_key: bytes
    account: bytes
    owner: bytes
    tier: int
    parent: int
    name: bytes
    meta_hash: bytes
    deadline: int  # seconds since 1970
    account_signature: bytes
    net_key_proof: bytes

    def arguments(self) -> tuple[Any, ...]:
        spec = (self.net_key, self.account, self.owner, int(self.tier), self.parent, self.name, self.meta_hash)
        return spec, self.deadline, self.account_signature, self.net_key_proof


class Admit(_Registry, frozen=True):
    function: ClassVar[str] = "admit"
    id: int


class Suspend(_Registry, frozen=True):
    function: ClassVar[str] = "suspend"
    id: int


class Reinstate(_Registry, frozen=True):
    function: ClassVar[str] = "reinstate"
    id: int


class Revoke(_Registry, frozen=True):
    """For ever."""

    function: ClassVar[str] = "revoke"
    id: int


class RotateNetKey(_Registry, frozen=True):
    """A node's new network key, signed by its account and by the new key; anybody may send it."""

    function: ClassVar[str] = "rotateNetKey"
    id: int
    new_key: bytes
    deadline: int
    account_signature: bytes
    net_key_proof: bytes


class ProposeAccount(_Registry, frozen=True):
    function: ClassVar[str] = "proposeAccount"
    id: int
    new_account: bytes


class AcceptAccount(_Registry, frozen=True):
    function: ClassVar[str] = "acceptAccount"
    id: int


class SetMeta(_Registry, frozen=True):
    function: ClassVar[str] = "setMeta"
    id: int
    meta_hash: bytes


class Stake(_Registry, frozen=True):
    """Token units, from the sender, who approved the Registry."""

    function: ClassVar[str] = "stake"
    id: int
    amount: int


class Unstake(_Registry, frozen=True):
    function: ClassVar[str] = "unstake"
    id: int
    amount: int


class Withdraw(_Registry, frozen=True):
    function: ClassVar[str] = "withdraw"
    id: int


class PauseRegistry(_Registry, frozen=True):
    function: ClassVar[str] = "pause"


class UnpauseRegistry(_Registry, frozen=True):
    function: ClassVar[str] = "unpause"


# --------------------------------------------------------------------------------------------------------------- Ledger


class _Ledger(_Call, frozen=True):
    contract: ClassVar[str] = "Ledger"


class CreateTask(_Ledger, frozen=True):
    """`policy` is `wire.policy.encode_policy`'s bytes; `window` is in seconds."""

    function: ClassVar[str] = "createTask"
    cloud: int
    window: int
    genesis_model: bytes
    policy: bytes

    def arguments(self) -> tuple[Any, ...]:
        return ((self.cloud, self.window, self.genesis_model, self.policy),)


class AnchorRound(_Ledger, frozen=True):
    function: ClassVar[str] = "anchorRound"
    header: Header

    def arguments(self) -> tuple[Any, ...]:
        return (msgspec.structs.astuple(self.header),)


class CloseTask(_Ledger, frozen=True):
    function: ClassVar[str] = "closeTask"
    task: int


class PauseLedger(_Ledger, frozen=True):
    function: ClassVar[str] = "pause"


class UnpauseLedger(_Ledger, frozen=True):
    function: ClassVar[str] = "unpause"


# ------------------------------------------------------------------------------------------- Rewards, Credit, Authority


class Fund(_Call, frozen=True):
    """Token units into a task's pool, from the sender, who approved Rewards."""

    contract: ClassVar[str] = "Rewards"
    function: ClassVar[str] = "fund"
    task: int
    amount: int


class Claim(_Call, frozen=True):
    """That `header`, anchored at `anchored_at` (seconds), owes `node` this much in total: entry `index` of `size`,
    proven by the siblings' `sums` and `hashes`, leaf to root (`trust.merkle.sum_path`)."""

    contract: ClassVar[str] = "Rewards"
    function: ClassVar[str] = "claim"
    header: Header
    anchored_at: int
    node: int
    cumulative: int
    index: int
    size: int
    sums: tuple[int, ...]
    hashes: tuple[bytes, ...]

    def arguments(self) -> tuple[Any, ...]:
        claim = (self.node, self.cumulative, self.index, self.size, self.sums, self.hashes)
        return msgspec.structs.astuple(self.header), self.anchored_at, claim


class Mint(_Call, frozen=True):
    contract: ClassVar[str] = "Credit"
    function: ClassVar[str] = "mint"
    to: bytes
    amount: int


class Approve(_Call, frozen=True):
    contract: ClassVar[str] = "Credit"
    function: ClassVar[str] = "approve"
    spender: bytes
    amount: int


class GrantRole(_Call, frozen=True):
    """One of Roles.sol's numbers, without delay."""

    contract: ClassVar[str] = "Authority"
    function: ClassVar[str] = "grantRole"
    role: int
    account: bytes

    def arguments(self) -> tuple[Any, ...]:
        return self.role, self.account, 0


AnyCall: TypeAlias = (
    Register | Admit | Suspend | Reinstate | Revoke | RotateNetKey | ProposeAccount | AcceptAccount | SetMeta | Stake
    | Unstake | Withdraw | PauseRegistry | UnpauseRegistry | CreateTask | AnchorRound | CloseTask | PauseLedger
    | UnpauseLedger | Fund | Claim | Mint | Approve | GrantRole
)  # fmt: skip

_decoder: Final = msgspec.json.Decoder(AnyCall)


# ---------------------------------------------------------------------------------------------------------------- bytes


def encode_call(call: AnyCall) -> bytes:
    """The call's canonical bytes."""
    return msgspec.json.encode(call)


def decode_call(data: bytes) -> AnyCall:
    """The call in `data`. PeerFault("malformed") for bytes that `encode_call` does not write."""
    call: AnyCall = refuse_malformed(lambda: _decoder.decode(data), "call")
    return refuse_malformed(lambda: _same(call, data), "call")


def call_id(call: AnyCall) -> bytes:
    """32 bytes that name the intent: equal calls, equal ids."""
    return hashlib.sha256(_ID_PREFIX + encode_call(call)).digest()


def calldata(call: ports.Call) -> bytes:
    """Selector and ABI-encoded arguments. ConfigurationError when an argument does not fit its type."""
    selector, types = _signature(call.contract, call.function)
    return selector + encode_arguments(types, call.arguments(), f"{call.contract}.{call.function}")


def encode_arguments(types: tuple[str, ...], values: tuple[Any, ...], what: str) -> bytes:
    """ABI encoding. ConfigurationError, naming `what`, when a value does not fit its type."""
    try:
        return encode(types, values)
    except (EncodingError, ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(f"arguments of {what}: {error}") from error


def abi_type(parameter: dict[str, Any]) -> str:
    """The canonical type of one ABI parameter: "(uint32,bytes)[]" for an array of structs."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(abi_type, parameter["components"])) + ")" + kind.removeprefix("tuple")


@cache
def _signature(contract: str, function: str) -> tuple[bytes, tuple[str, ...]]:
    if contract not in NAMES:
        raise ConfigurationError(f"no contract is called {contract}")
    types = tuple(map(abi_type, load(contract).entry("function", function)["inputs"]))
    return keccak(f"{function}({','.join(types)})".encode())[:4], types


def _same(call: AnyCall, data: bytes) -> AnyCall:
    if encode_call(call) != data:
        raise ValueError("not in its one canonical form")
    return call
