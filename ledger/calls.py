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
from middleware.policy import Policy, combinations
from middleware.trust import chunks
from middleware.types import EdgeLeaf, Header, Leaf, Receipt
from middleware.wire.canonical import refuse_malformed
from middleware.wire.policy import encode_policy

REPLAY, LINEAR, TWO_LEVELS, MEDIAN, TRIMMED_MEAN = range(5)  # ILedger.TaskSpec.rule: how a dispute checks a round

_ID_PREFIX: Final = b"drystone/call/1"
_COORDINATEWISE: Final = {"median": MEDIAN, "trimmed-mean": TRIMMED_MEAN}


class _Call(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    contract: ClassVar[str]
    function: ClassVar[str]

    def arguments(self) -> tuple[Any, ...]:
        """The arguments in the ABI's order."""
        return tuple(map(abi_value, msgspec.structs.astuple(self)))


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


class RegisterBatch(_Registry, frozen=True):
    """`count` devices at once: `root` over their leaves (`wire.members`), `list` the SHA-256 of the blob that lists them."""

    function: ClassVar[str] = "registerBatch"
    root: bytes
    count: int
    list: bytes


class AdmitBatch(_Registry, frozen=True):
    function: ClassVar[str] = "admitBatch"
    first: int


class SuspendBatch(_Registry, frozen=True):
    function: ClassVar[str] = "suspendBatch"
    first: int


class ReinstateBatch(_Registry, frozen=True):
    function: ClassVar[str] = "reinstateBatch"
    first: int


class RevokeBatch(_Registry, frozen=True):
    """For ever, and for those members only that are not materialised."""

    function: ClassVar[str] = "revokeBatch"
    first: int


class Materialise(_Registry, frozen=True):
    """Member `index` of batch `first` becomes a node of its own. The fields from `net_key` on are `Register`'s; `path`
    leads from the member's leaf to the batch's root."""

    function: ClassVar[str] = "materialise"
    first: int
    index: int
    net_key: bytes
    account: bytes
    owner: bytes
    tier: int
    parent: int
    name: bytes
    meta_hash: bytes
    deadline: int  # seconds since 1970; may have passed
    account_signature: bytes
    net_key_proof: bytes
    path: tuple[bytes, ...]

    def arguments(self) -> tuple[Any, ...]:
        spec = (self.net_key, self.account, self.owner, int(self.tier), self.parent, self.name, self.meta_hash)
        rest = (self.deadline, self.account_signature, self.net_key_proof, self.path)
        return self.first, self.index, spec, *rest


class Slash(_Registry, frozen=True):
    """For an arbiter: seize `amount` of a node's stake, until `Settle`."""

    function: ClassVar[str] = "slash"
    id: int
    amount: int
    reason: bytes  # bytes32


class Settle(_Registry, frozen=True):
    """For an arbiter: of what was seized, pay `reward` to `to`, and burn `burned`."""

    function: ClassVar[str] = "settle"
    to: bytes
    reward: int
    burned: int


class HoldNode(_Registry, frozen=True):
    """For an arbiter: one more dispute is open against the node."""

    function: ClassVar[str] = "hold"
    id: int


class ReleaseNode(_Registry, frozen=True):
    """For an arbiter."""

    function: ClassVar[str] = "release"
    id: int


class SetRegistryArbiters(_Registry, frozen=True):
    """For an administrator, once."""

    function: ClassVar[str] = "setArbiters"
    first: bytes
    second: bytes


class PauseRegistry(_Registry, frozen=True):
    function: ClassVar[str] = "pause"


class UnpauseRegistry(_Registry, frozen=True):
    function: ClassVar[str] = "unpause"


# --------------------------------------------------------------------------------------------------------------- Ledger


class _Ledger(_Call, frozen=True):
    contract: ClassVar[str] = "Ledger"


class CreateTask(_Ledger, frozen=True):
    """A task. `policy` is `wire.policy.encode_policy`'s bytes; `window` is in seconds; `rule` to `chunks` repeat for the
    Arbiter what the policy says (`of` derives them)."""

    function: ClassVar[str] = "createTask"
    cloud: int
    window: int
    rule: int  # REPLAY to TRIMMED_MEAN
    trim: int  # values that the trimmed mean leaves out at either end
    width: int  # bytes of one integer of an update: 2 or 4
    chunks: int  # of 256 integers in one update
    genesis_model: bytes
    policy: bytes

    @classmethod
    def of(cls, cloud: int, window: int, genesis_model: bytes, policy: Policy) -> CreateTask:
        """The task that `policy` asks for. A trim that the contract has no room for is left to replay."""
        judged = combinations.judged(policy.rule)
        rule = (
            LINEAR if judged == combinations.LINEAR and policy.privacy is None else REPLAY
        )  # noise is no sum of inputs
        if judged == combinations.COORDINATE:
            rule = _COORDINATEWISE[policy.rule.name]
        if policy.arrangement == "two-level":
            rule = TWO_LEVELS
        trim = policy.rule.f if rule == TRIMMED_MEAN else 0
        if trim > 255:
            rule, trim = REPLAY, 0
        size = chunks.chunk_count(policy.parameters)
        return cls(cloud, window, rule, trim, policy.grid.width, size, genesis_model, encode_policy(policy))

    def arguments(self) -> tuple[Any, ...]:
        return (msgspec.structs.astuple(self),)


class AnchorRound(_Ledger, frozen=True):
    function: ClassVar[str] = "anchorRound"
    header: Header


class CloseTask(_Ledger, frozen=True):
    function: ClassVar[str] = "closeTask"
    task: int


class SubmitDirect(_Ledger, frozen=True):
    """An update forced into a coming round past a silent edge; `signature` is the device's account's
    (`eip712.direct_digest`)."""

    function: ClassVar[str] = "submitDirect"
    leaf: Leaf
    signature: bytes


class Checkpoint(_Ledger, frozen=True):
    """How far the sender's own log has grown; `path` is the consistency proof from the last checkpoint, empty at first."""

    function: ClassVar[str] = "checkpoint"
    node: int
    size: int
    root: bytes
    path: tuple[bytes, ...]


class Strike(_Ledger, frozen=True):
    """For an arbiter: this round and all later ones do not count, and the task has ended."""

    function: ClassVar[str] = "strike"
    task: int
    round: int


class HoldTask(_Ledger, frozen=True):
    """For an arbiter: no round of the task is final until `ReleaseTask`."""

    function: ClassVar[str] = "hold"
    task: int


class ReleaseTask(_Ledger, frozen=True):
    """For an arbiter."""

    function: ClassVar[str] = "release"
    task: int


class SetLedgerArbiters(_Ledger, frozen=True):
    """For an administrator, once."""

    function: ClassVar[str] = "setArbiters"
    first: bytes
    second: bytes


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
    """That the header with this hash, anchored at `anchored_at` (seconds), owes `node` this much in total: entry `index` of
    `size`, proven by the siblings' sums and hashes in `path`, leaf to root (`trust.merkle.pack_sum_path`). The record holds the
    rewards root beside the header's hash, so the header itself is not sent."""

    contract: ClassVar[str] = "Rewards"
    function: ClassVar[str] = "claim"
    task: int
    round: int
    header_hash: bytes
    anchored_at: int
    node: int
    cumulative: int
    index: int
    size: int
    path: bytes

    def arguments(self) -> tuple[Any, ...]:
        claim = (self.node, self.cumulative, self.index, self.size, self.path)
        return self.task, self.round, self.header_hash, self.anchored_at, claim


class Reclaim(_Call, frozen=True):
    """The publisher takes back what the last round that counts does not promise. `total` and `tree` are
    `merkle.sum_top` of its rewards, zeros when it has none."""

    contract: ClassVar[str] = "Rewards"
    function: ClassVar[str] = "reclaim"
    header: Header
    anchored_at: int
    total: int
    tree: bytes


class ReclaimUnused(_Call, frozen=True):
    """The publisher takes everything back that was not paid, where no round counts."""

    contract: ClassVar[str] = "Rewards"
    function: ClassVar[str] = "reclaimUnused"
    task: int


class Mint(_Call, frozen=True):
    contract: ClassVar[str] = "Credit"
    function: ClassVar[str] = "mint"
    to: bytes
    amount: int


class Burn(_Call, frozen=True):
    """The sender's own token units."""

    contract: ClassVar[str] = "Credit"
    function: ClassVar[str] = "burn"
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


# -------------------------------------------------------------------------------------------------------------- Arbiter


class _Part(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A struct of IArbiter.sol, which says what each field is."""


class Placed(_Part, frozen=True):
    """A leaf and where it stands under an edge's root."""

    leaf: Leaf
    index: int
    path: tuple[bytes, ...]


class Member(_Part, frozen=True):
    """An edge's report and where it stands under a header's `inputs_root`; `members` of the tree over the edges is
    `inputs_count`, or one more when updates were forced in."""

    edge: EdgeLeaf
    index: int
    path: tuple[bytes, ...]
    members: int


class Chunk(_Part, frozen=True):
    """Chunk `index` of a node's sums: its committed leaf hash `found`, under the root `sums`."""

    index: int
    sums: bytes
    found: bytes
    path: tuple[bytes, ...]


class Step(_Part, frozen=True):
    """One step up a sum tree: the parent's sums' root, and the path from the child to the parent's children's root."""

    sums: bytes
    path: tuple[bytes, ...]


class Group(_Part, frozen=True):
    """Group `number` of an edge's updates, packed as IArbiter.sol says."""

    number: int
    updates: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    weights: tuple[bytes, ...]
    chunk: Chunk
    walk: tuple[Step, ...]


class Inner(_Part, frozen=True):
    """Inner node `number` of `level` (1 is the lowest) with its children, packed as IArbiter.sol says."""

    level: int
    number: int
    children: tuple[bytes, ...]
    chunk: Chunk
    walk: tuple[Step, ...]


class Taken(_Part, frozen=True):
    """Everything that one edge took in, packed as in a group."""

    edge: EdgeLeaf
    updates: tuple[bytes, ...]


class _Arbiter(_Call, frozen=True):
    contract: ClassVar[str] = "Arbiter"


class Omission(_Arbiter, frozen=True):
    """The edge promised a place to a leaf and gave it to `found`, or ended its round before it."""

    function: ClassVar[str] = "omission"
    receipt: Receipt
    receipt_signature: bytes
    leaf: Leaf
    root: EdgeLeaf
    root_signature: bytes
    found: bytes
    path: tuple[bytes, ...]


class EdgeOmission(_Arbiter, frozen=True):
    """The cloud promised a place to an edge's leaf and gave it to `found`, or ended the round before it."""

    function: ClassVar[str] = "edgeOmission"
    receipt: Receipt
    signature: bytes
    header: Header
    anchored_at: int
    found: bytes
    path: tuple[bytes, ...]


class ForcedIgnored(_Arbiter, frozen=True):
    """The cloud's head does not acknowledge forced update `k`, though it came more than an hour before."""

    function: ClassVar[str] = "forcedIgnored"
    k: int
    header: Header
    anchored_at: int


class ConflictingReceipts(_Arbiter, frozen=True):
    function: ClassVar[str] = "conflictingReceipts"
    a: Receipt
    signature_a: bytes
    b: Receipt
    signature_b: bytes


class ConflictingRoots(_Arbiter, frozen=True):
    function: ClassVar[str] = "conflictingRoots"
    a: EdgeLeaf
    signature_a: bytes
    b: EdgeLeaf
    signature_b: bytes


class InactiveSender(_Arbiter, frozen=True):
    """The edge took in a leaf that the roster which it names forbade."""

    function: ClassVar[str] = "inactiveSender"
    root: EdgeLeaf
    signature: bytes
    placed: Placed


class DuplicateSender(_Arbiter, frozen=True):
    function: ClassVar[str] = "duplicateSender"
    root: EdgeLeaf
    signature: bytes
    a: Placed
    b: Placed


class WrongGroup(_Arbiter, frozen=True):
    """Rule LINEAR, the cloud: the sums of one group of updates are wrong in one chunk."""

    function: ClassVar[str] = "wrongGroup"
    header: Header
    anchored_at: int
    member: Member
    edge_weights: bytes
    weights_path: tuple[bytes, ...]
    group: Group


class WrongEdgeGroup(_Arbiter, frozen=True):
    """Rule TWO_LEVELS, the edge: the sums of one group of updates are wrong in one chunk."""

    function: ClassVar[str] = "wrongEdgeGroup"
    root: EdgeLeaf
    signature: bytes
    group: Group


class WrongNode(_Arbiter, frozen=True):
    """Rules LINEAR and TWO_LEVELS, the cloud: a node above the edges is not the sum of its children in one chunk."""

    function: ClassVar[str] = "wrongNode"
    header: Header
    anchored_at: int
    members: int
    inner: Inner


class WrongInnerNode(_Arbiter, frozen=True):
    """Rule LINEAR, the cloud: a node within an edge is not the sum of its children in one chunk."""

    function: ClassVar[str] = "wrongInnerNode"
    header: Header
    anchored_at: int
    member: Member
    inner: Inner


class WrongEdgeNode(_Arbiter, frozen=True):
    """Rule TWO_LEVELS, the edge: a node within an edge is not the sum of its children in one chunk."""

    function: ClassVar[str] = "wrongEdgeNode"
    root: EdgeLeaf
    signature: bytes
    inner: Inner


class WrongMember(_Arbiter, frozen=True):
    """Rule TWO_LEVELS, the cloud: the tree over the edges holds `found` where the edge reported its `aggregate`."""

    function: ClassVar[str] = "wrongMember"
    header: Header
    anchored_at: int
    member: Member
    found: bytes
    walk: tuple[Step, ...]


class WrongWeights(_Arbiter, frozen=True):
    """Rule TWO_LEVELS, the cloud: the weights' tree holds `found` where the edge reported its `weights`."""

    function: ClassVar[str] = "wrongWeights"
    header: Header
    anchored_at: int
    member: Member
    found: bytes
    path: tuple[bytes, ...]


class WrongCoordinate(_Arbiter, frozen=True):
    """Rules MEDIAN and TRIMMED_MEAN, the cloud: the chunk `shown` of the undivided result is wrong at `coordinate`."""

    function: ClassVar[str] = "wrongCoordinate"
    header: Header
    anchored_at: int
    taken: tuple[Taken, ...]
    chunk: Chunk
    shown: bytes
    coordinate: int


class Collect(_Arbiter, frozen=True):
    """Pays the beneficiary of a verdict, and burns the rest. `kind` is the proof's function, padded with zeros."""

    function: ClassVar[str] = "collect"
    kind: bytes
    task: int
    round: int
    accused: int


# ---------------------------------------------------------------------------------------------------------------- Court


class _Court(_Call, frozen=True):
    contract: ClassVar[str] = "Court"


class Demand(_Court, frozen=True):
    """Asks, against a bond, for a leaf (kind 1), a chunk with its salt (2) or the edge's signature (3)."""

    function: ClassVar[str] = "demand"
    header: Header
    anchored_at: int
    member: Member
    kind: int
    index: int
    chunk: int


class AnswerLeaf(_Court, frozen=True):
    function: ClassVar[str] = "answerLeaf"
    id: int
    edge: EdgeLeaf
    placed: Placed


class AnswerChunk(_Court, frozen=True):
    """`data` is salt 16 | 256 integers."""

    function: ClassVar[str] = "answerChunk"
    id: int
    edge: EdgeLeaf
    placed: Placed
    chunk: int
    data: bytes
    path: tuple[bytes, ...]


class AnswerRoot(_Court, frozen=True):
    function: ClassVar[str] = "answerRoot"
    id: int
    edge: EdgeLeaf
    signature: bytes


class Expire(_Court, frozen=True):
    """Ends a demand that nobody met in time."""

    function: ClassVar[str] = "expire"
    id: int


class Challenge(_Court, frozen=True):
    """Claims, against a bond, that a header's weights (1), sums (2), model (3), scores (4), rewards (5) or manifest (6)
    should be `claim`."""

    function: ClassVar[str] = "challenge"
    header: Header
    anchored_at: int
    subject: int
    claim: bytes


class Commit(_Court, frozen=True):
    """`hash` is keccak256(abi.encode(id, node, digest, salt))."""

    function: ClassVar[str] = "commit"
    id: int
    node: int
    hash: bytes


class Reveal(_Court, frozen=True):
    function: ClassVar[str] = "reveal"
    id: int
    node: int
    digest: bytes
    salt: bytes


class Conclude(_Court, frozen=True):
    function: ClassVar[str] = "conclude"
    id: int


class Decide(_Court, frozen=True):
    """For the council."""

    function: ClassVar[str] = "decide"
    id: int
    guilty: bool


class Lapse(_Court, frozen=True):
    function: ClassVar[str] = "lapse"
    id: int


class WithdrawShares(_Court, frozen=True):
    """What bonds left to the sender."""

    function: ClassVar[str] = "withdraw"


# --------------------------------------------------------------------------------------------------------------- Models


class _Models(_Call, frozen=True):
    """IModels.sol says what each field is."""

    contract: ClassVar[str] = "Models"


class PublishModel(_Models, frozen=True):
    """The model of a final round, by the task's publisher."""

    function: ClassVar[str] = "publish"
    root: bytes
    header: Header
    anchored_at: int
    licence: bytes
    price: int
    share: int


class PublishForeign(_Models, frozen=True):
    """A model that no task here made."""

    function: ClassVar[str] = "publishForeign"
    root: bytes
    licence: bytes
    price: int
    share: int


class SetPrice(_Models, frozen=True):
    function: ClassVar[str] = "setPrice"
    root: bytes
    price: int


class GrantLicence(_Models, frozen=True):
    function: ClassVar[str] = "grant"
    root: bytes
    user: bytes
    expiry: int  # seconds since 1970
    quota: int  # units of work


class RevokeLicence(_Models, frozen=True):
    function: ClassVar[str] = "revoke"
    root: bytes
    user: bytes


class OpenChannel(_Models, frozen=True):
    """Token units, from the sender, who approved Models."""

    function: ClassVar[str] = "openChannel"
    root: bytes
    edge: int
    deposit: int


class FundChannel(_Models, frozen=True):
    function: ClassVar[str] = "fundChannel"
    channel: int
    amount: int


class Redeem(_Models, frozen=True):
    """A voucher; anybody may send it."""

    function: ClassVar[str] = "redeem"
    channel: int
    units: int
    chain: bytes
    signature: bytes


class CloseChannel(_Models, frozen=True):
    function: ClassVar[str] = "closeChannel"
    channel: int


class WithdrawChannel(_Models, frozen=True):
    function: ClassVar[str] = "withdraw"
    channel: int


AnyCall: TypeAlias = (
    Register | Admit | Suspend | Reinstate | Revoke | RotateNetKey | ProposeAccount | AcceptAccount | SetMeta | Stake
    | Unstake | Withdraw | RegisterBatch | AdmitBatch | SuspendBatch | ReinstateBatch | RevokeBatch | Materialise | Slash | Settle
    | HoldNode | ReleaseNode | SetRegistryArbiters | PauseRegistry | UnpauseRegistry | CreateTask | AnchorRound
    | CloseTask | SubmitDirect | Checkpoint | Strike | HoldTask | ReleaseTask | SetLedgerArbiters | PauseLedger
    | UnpauseLedger | Fund | Claim | Reclaim | ReclaimUnused | Mint | Burn | Approve | GrantRole | Omission
    | EdgeOmission | ForcedIgnored | ConflictingReceipts | ConflictingRoots | InactiveSender | DuplicateSender
    | WrongGroup | WrongEdgeGroup | WrongNode | WrongInnerNode | WrongEdgeNode | WrongMember | WrongWeights
    | WrongCoordinate | Collect | Demand | AnswerLeaf | AnswerChunk | AnswerRoot | Expire | Challenge | Commit | Reveal | Conclude
    | Decide | Lapse | WithdrawShares | PublishModel | PublishForeign | SetPrice | GrantLicence | RevokeLicence | OpenChannel
    | FundChannel | Redeem | CloseChannel | WithdrawChannel
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


def abi_value(value: Any) -> Any:
    """A value as the ABI's encoder takes it: our structs, and lists of them, as tuples."""
    if isinstance(value, msgspec.Struct):
        return tuple(map(abi_value, msgspec.structs.astuple(value)))
    return tuple(map(abi_value, value)) if isinstance(value, tuple) else value


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
