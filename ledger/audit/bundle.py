"""An offline proof of one thing that a round did: a node's update, under the header on the ledger, under one block hash.

    block hash, the reader's own        the one thing that is believed, with the Ledger's address and the chain's id
      = keccak(last header)             its ancestors by parent hash, back to the block that anchored the round
      -> stateRoot -> account -> storage root -> record[task][round]
         = keccak(abi.encode(headerHash, rewardsRoot, anchoredAt))
    anchoring block -> receiptsRoot -> RoundAnchored with the 16 fields of the header
      header -> inputsRoot  -> edge leaf -> update leaf      in the frames that the edge and the device signed
      header -> roster      -> the keys of both
      header -> rewardsRoot -> what the node is owed in all since the task began

The way down to the header is Ethereum's (`ledger.patricia`, EIP-1186); from there on the trees are ours (`trust.merkle`). Either
way into the block would do: the log says what was anchored, the record that it stands there still and what its time is.

No fact stands in the file twice, and the file has one form, so each byte of it is under some comparison. A tree whose size no
root commits to is walked by its `turns`: bit i says whether the sibling of step i stands on the left. Those are the bits of an
index in a perfect tree of as many levels, and the root comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Final, TypeVar

import msgspec
import rlp
from eth_hash.auto import keccak

from ledger.audit.evidence import Evidence
from ledger.audit.explain import anchored, manifest_of
from ledger.audit.scene import Blobs
from ledger.block import Block, decode_header, decode_receipt
from ledger.events import RoundAnchored, encode_event
from ledger.patricia import PROOF_NODES, Nodes, decode_bytes, decode_list, value_under
from ledger.spec import record_hash
from middleware.errors import ConfigurationError, PeerFault
from middleware.protocol import inclusion
from middleware.protocol.inclusion import Inclusion, Step
from middleware.trust import eip712, keys, merkle
from middleware.types import LIMITS, Header, Node, Roster, Status, Tier, Verdict
from middleware.wire.canonical import refuse_malformed
from middleware.wire.commitment import Context, roster_entries, roster_entry
from middleware.wire.manifest import Manifest
from middleware.wire.message import EdgeReport, M, Signed, Update, decode_stored

FORMAT: Final = "drystone/bundle/1"
BUNDLE_BYTES: Final = 64 * 1024 * 1024  # of one file
MOST_BLOCKS: Final = 4_096  # from the anchoring block to the one whose state is proven
RECORD_SLOT: Final = 3  # of `Ledger.record`, as the compiler lays the storage out

Hex = Annotated[str, msgspec.Meta(pattern=r"\A0x(?:[0-9a-f]{2})*\Z")]
Amount = Annotated[
    str, msgspec.Meta(pattern=r"\A(?:0|[1-9][0-9]{0,38})\Z")
]  # JSON's numbers end at 64 bits in many readers
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Proof = Annotated[tuple[Hex, ...], msgspec.Meta(max_length=PROOF_NODES)]
Path = Annotated[tuple[Hex, ...], msgspec.Meta(max_length=LIMITS.path_hashes)]


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the log is: in which of its block's receipts, which of its logs, and the nodes from receiptsRoot to it."""

    index: Number
    log: Number
    proof: Proof


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node as the round's roster has it, and its path to the header's `roster`."""

    id: Number
    net_key: Hex
    account: Hex
    owner: Hex
    tier: Number
    status: Number
    parent: Number
    turns: Number
    path: Path


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The two signed frames and their places in the edge's tree and in that of the `edges` edges."""

    update: Hex
    index: Number
    path: Path
    report: Hex
    edge_index: Number
    edges: Number
    edge_path: Path


class SumStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sum: Amount
    hash: Hex


class Reward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node has earned in this task up to this round, in token units, and its path to the rewards root."""

    cumulative: Amount
    turns: Number
    path: Annotated[tuple[SumStep, ...], msgspec.Meta(max_length=LIMITS.path_hashes)]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `blocks` are the headers, in RLP, from the block that anchored the round to the one whose state is proven."""

    format: str
    chain_id: Number
    ledger: Hex
    header: dict[str, Number | Hex]  # the 16 fields of `types.Header`, in their order
    anchored_at: Number  # seconds since 1970
    blocks: Annotated[tuple[Hex, ...], msgspec.Meta(min_length=1, max_length=MOST_BLOCKS)]
    receipt: Receipt
    account: Proof
    storage: Proof
    device: Member
    edge: Member
    inclusion: Placed
    reward: Reward | None  # None: it had earned nothing yet


_decoder: Final = msgspec.json.Decoder(Bundle)


class OnChain(msgspec.Struct, frozen=True):
    """What a node of the chain answers, as bytes. Fields as in `Bundle`."""

    blocks: Nodes
    receipt_index: int
    log: int
    receipt: Nodes
    account: Nodes
    storage: Nodes


class Trusted(msgspec.Struct, frozen=True):
    """What the reader knows from elsewhere; None: nothing."""

    block_hash: bytes | None = None
    ledger: bytes | None = None
    chain_id: int | None = None


class Checked(msgspec.Struct, frozen=True):
    """The verdict, every comparison, and what the reader still has to compare."""

    verdict: Verdict
    proves: tuple[str, ...]
    steps: tuple[Step, ...]
    compare: tuple[str, ...] = ()

    @property
    def first_failure(self) -> Step | None:
        return next((step for step in self.steps if not step.holds), None)


# ---------------------------------------------------------------------------------------------------------------- the file


def encode_bundle(bundle: Bundle) -> bytes:
    """The one form of the file: indented JSON, fields in order, bytes in hex, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"


def decode_bundle(data: bytes) -> Bundle:
    """The bundle whose `encode_bundle` is exactly `data`. PeerFault: "malformed", or "too-large" past the limit."""
    if len(data) > BUNDLE_BYTES:
        raise PeerFault("too-large", f"a bundle of {len(data)} bytes, at most {BUNDLE_BYTES}")
    bundle = refuse_malformed(lambda: _decoder.decode(data), "bundle")
    if bundle.format != FORMAT:
        raise PeerFault("malformed", f"bundle of format {bundle.format[:40]!r}, this reads {FORMAT}")
    if encode_bundle(bundle) != data:
        raise PeerFault("malformed", "the bundle is not spelt as it was written")
    return bundle


# ---------------------------------------------------------------------------------------------------------------- making it


def record_slot(task: int, round: int) -> bytes:
    """The storage slot of `record[task][round]` (Solidity, "Layout of state variables in storage", nested mappings)."""
    of_task = keccak(task.to_bytes(32, "big") + RECORD_SLOT.to_bytes(32, "big"))
    return keccak(round.to_bytes(32, "big") + of_task)


def assemble(evidence: Evidence, blobs: Blobs, task: int, round: int, node: int, chain: OnChain) -> Bundle:
    """The bundle for a node's update in a round. Raises ConfigurationError if it has none, Unavailable without the manifest."""
    item = anchored(evidence, task, round)
    manifest = manifest_of(blobs, item)
    proof = inclusion.prove(evidence.ledger_domain.context, manifest, node)
    if proof is None:
        raise ConfigurationError(f"round {round} of task {task} holds no update of node {node}")
    edge = next(e for e in manifest.edges if decode_stored(e.report, EdgeReport).message.leaf == proof.edge_leaf)
    roster = evidence.index.roster(manifest.roster_block)
    return Bundle(
        format=FORMAT, chain_id=evidence.addresses.chain_id, ledger=_hex(evidence.addresses.ledger),
        header=_named(item.header), anchored_at=item.position.time, blocks=_hexes(chain.blocks),
        receipt=Receipt(chain.receipt_index, chain.log, _hexes(chain.receipt)), account=_hexes(chain.account),
        storage=_hexes(chain.storage), device=_member(roster, node), edge=_member(roster, proof.edge_leaf.edge),
        inclusion=Placed(
            _hex(edge.updates[proof.index].frame), proof.index, _hexes(proof.path), _hex(edge.report), proof.edge_index,
            proof.edges, _hexes(proof.edge_path),
        ),
        reward=_reward(manifest, node),
    )  # fmt: skip


def _member(roster: Roster, id: int) -> Member:
    node = roster.nodes.get(id)
    if node is None:
        raise ConfigurationError(f"the round's roster has no node {id}: `drystone audit verify` says what is wrong")
    if node.batch:
        raise ConfigurationError(
            f"node {id} stands in the roster with its batch only: give it an entry of its own first"
        )
    entries = roster_entries(roster)
    index = entries.index(roster_entry(node))
    path = merkle.Tree.of(entries).path(index)
    return Member(
        node.id, _hex(node.net_key), _hex(node.account), _hex(node.owner), int(node.tier), int(node.status), node.parent,
        _turns(index, len(entries)), _hexes(path),
    )  # fmt: skip


def _reward(manifest: Manifest, node: int) -> Reward | None:
    nodes = [number for number, _ in manifest.rewards]
    if node not in nodes:
        return None
    index = nodes.index(node)
    steps = tuple(SumStep(str(amount), _hex(digest)) for amount, digest in merkle.sum_path(manifest.rewards, index))
    return Reward(str(manifest.rewards[index][1]), _turns(index, len(nodes)), steps)


def _turns(index: int, size: int) -> int:
    """The sides of a path as bits: where the last leaf is carried up unpaired there is no step, hence no bit."""
    turns, steps, last = 0, 0, size - 1
    while last > 0:
        if index & 1 or index < last:
            turns |= (index & 1) << steps
            steps += 1
        index, last = index >> 1, last >> 1
    return turns


def _named(header: Header) -> dict[str, int | str]:
    fields = {name: getattr(header, name) for name in Header.__struct_fields__}
    return {name: _hex(value) if isinstance(value, bytes) else value for name, value in fields.items()}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _hexes(items: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(map(_hex, items))


# -------------------------------------------------------------------------------------------------------------- checking it


def check_file(data: bytes, trusted: Trusted) -> Checked:
    """`check` of a file's bytes. Never raises: bytes that are no bundle are INVALID."""
    try:
        bundle = decode_bundle(data)
    except PeerFault as fault:
        return Checked(
            Verdict.INVALID, (), (Step("the file is a bundle in its one form", fault.detail, FORMAT, False),)
        )
    return check(bundle, trusted)


def check(bundle: Bundle, trusted: Trusted) -> Checked:
    """INVALID when a comparison fails; else UNVERIFIABLE while the reader brought no block hash, ledger or chain id."""
    steps: list[Step] = []
    compare: list[str] = []
    proves: list[str] = []
    blocks = _read(steps, "the block headers", lambda: tuple(decode_header(_raw(block)) for block in bundle.blocks))
    header = _read(steps, "the round's header", lambda: _header(bundle))
    frames = _read(steps, "the signed frames", lambda: _frames(bundle))
    if blocks is not None:
        compare = _place(bundle, blocks[-1], trusted, steps)
        _ancestry(blocks, steps)
    if blocks is not None and header is not None:
        _read(steps, "the record", lambda: _record(bundle, blocks[-1], header, steps))
        _read(steps, "the receipt", lambda: _log(bundle, blocks[0], header, steps))
    if header is not None and frames is not None:
        _read(steps, "the places in the round's trees", lambda: _inclusion(bundle, header, frames, steps))
        _read(steps, "the roster's entries", lambda: _roster(bundle, header, frames, steps))
        _read(steps, "the signatures", lambda: _signatures(bundle, frames, steps))
        proves.append(_said(header, frames.update.message))
        if bundle.reward is not None:
            reward = bundle.reward
            owed = _read(steps, "the reward", lambda: _owed(reward, header, frames.update.message.sender, steps))
            proves.append(owed or "")
    if not all(step.holds for step in steps):
        return Checked(Verdict.INVALID, (), tuple(steps))
    return Checked(Verdict.UNVERIFIABLE if compare else Verdict.VALID, tuple(proves), tuple(steps), tuple(compare))


T = TypeVar("T")


def _read(steps: list[Step], what: str, part: Callable[[], T]) -> T | None:
    """`part()`; where a stranger's bytes cannot be read at all, a failed step says so."""
    try:
        return part()
    except (PeerFault, ConfigurationError, OverflowError) as error:
        detail = error.detail if isinstance(error, PeerFault) else str(error)
        steps.append(Step(f"{what} can be read", detail, "as `audit bundle` writes it", False))
        return None


def _place(bundle: Bundle, last: Block, trusted: Trusted, steps: list[Step]) -> list[str]:
    """The three things that are believed; those that the reader did not bring are left to be compared."""
    compare: list[str] = []
    where = f"block {last.number}"
    wanted: tuple[tuple[str, object, object, str], ...] = (
        (f"{where} is the one that you trust", last.hash, trusted.block_hash,
         f"the hash of {where} with a source of your own, and give it with --block-hash"),
        ("the ledger is the one that you trust", _raw(bundle.ledger), trusted.ledger,
         "the ledger's address with the one that you know, and give it with --ledger"),
        ("the chain is the one that you trust", bundle.chain_id, trusted.chain_id,
         "the chain's id with the one that you know, and give it with --chain-id"),
    )  # fmt: skip
    for what, found, believed, words in wanted:
        if believed is None:
            shown = _hex(found) if isinstance(found, bytes) else str(found)
            compare.append(f"{words}: {shown}")
        else:
            steps.append(_step(what, found, believed))
    return compare


def _ancestry(blocks: Sequence[Block], steps: list[Step]) -> None:
    links = list(pairwise(blocks))
    if links:
        parent, child = next((link for link in links if link[1].parent != link[0].hash), links[-1])
        what = f"each of blocks {blocks[0].number} to {blocks[-1].number} is the parent of the next"
        steps.append(_step(what, parent.hash, child.parent))


def _record(bundle: Bundle, last: Block, header: Header, steps: list[Step]) -> None:
    """stateRoot -> account -> storage root -> record[task][round]."""
    ledger = _raw(bundle.ledger)
    what = f"account {_hex(ledger)} stands under stateRoot of block {last.number}"
    account = _shown_under(steps, what, last.state_root, keccak(ledger), bundle.account)
    if account is None:
        return
    fields = decode_list(account, "an account")
    if len(fields) != 4 or not isinstance(fields[2], bytes) or len(fields[2]) != 32:
        raise PeerFault("malformed", "an account is (nonce, balance, storage root, code hash)")
    slot = record_slot(header.task, header.round)
    what = f"record[{header.task}][{header.round}], slot {_hex(slot)}, stands under its storage root"
    kept = _shown_under(steps, what, fields[2], keccak(slot), bundle.storage)
    if kept is not None:
        record = decode_bytes(kept, "a storage value").rjust(32, b"\0")
        what = "the record is the hash of the header, its rewards root and the time it was anchored"
        expected = record_hash(eip712.header_hash(header), header.rewards_root, bundle.anchored_at)
        steps.append(_step(what, expected, record))


def _log(bundle: Bundle, first: Block, header: Header, steps: list[Step]) -> None:
    """receiptsRoot -> receipt -> RoundAnchored, and the time of its block."""
    place = bundle.receipt
    steps.append(_step(f"it was anchored at the time of block {first.number}", bundle.anchored_at, first.time))
    what = f"receipt {place.index} stands under receiptsRoot of block {first.number}"
    receipt = _shown_under(steps, what, first.receipts_root, rlp.encode(place.index), place.proof)
    if receipt is None:
        return
    logs = decode_receipt(receipt)
    if place.log >= len(logs):
        raise PeerFault("mismatch", f"it has {len(logs)} logs, there is no number {place.log}")
    hashed = eip712.header_hash(header)
    said = encode_event(RoundAnchored(task=header.task, round=header.round, header_hash=hashed, header=header))
    what = f"its log {place.log} is the ledger's RoundAnchored with this header"
    steps.append(_step(what, _digest(_raw(bundle.ledger), *said), _digest(*logs[place.log])))


def _inclusion(bundle: Bundle, header: Header, frames: _Frames, steps: list[Step]) -> None:
    """inputsRoot -> edge leaf -> update leaf."""
    placed = bundle.inclusion
    proof = Inclusion(
        frames.update.message.leaf, placed.index, _raws(placed.path), frames.report.message.leaf, placed.edge_index,
        placed.edges, _raws(placed.edge_path),
    )  # fmt: skip
    steps += inclusion.steps(_domain(bundle).context, header, proof)


def _roster(bundle: Bundle, header: Header, frames: _Frames, steps: list[Step]) -> None:
    """roster -> the two senders, who were what they had to be."""
    leaf, edge_leaf = frames.update.message.leaf, frames.report.message.leaf
    sender, taker = _node(bundle.device), _node(bundle.edge)
    for node, member, who in ((sender, bundle.device, "device"), (taker, bundle.edge, "edge")):
        path = _raws(member.path)
        root = merkle.root_from_path(merkle.leaf_hash(roster_entry(node)), member.turns, 1 << len(path), path)
        steps.append(_step(f"node {node.id}, the {who}, stands under the header's roster", root, header.roster))
    found: tuple[object, ...] = (sender.id, sender.tier.label, sender.status.name, sender.parent)
    wanted: tuple[object, ...] = (leaf.node, Tier.END.label, Status.ACTIVE.name, leaf.edge)
    steps.append(_step("the update's sender was an active device of that edge", found, wanted))
    found, wanted = (
        (taker.id, taker.tier.label, taker.status.name),
        (edge_leaf.edge, Tier.EDGE.label, Status.ACTIVE.name),
    )
    steps.append(_step("the report's sender was an active edge", found, wanted))


def _signatures(bundle: Bundle, frames: _Frames, steps: list[Step]) -> None:
    domain, report = _domain(bundle), frames.report
    steps.append(_signed("the device's network key signed the update", domain.context, bundle.device, frames.update))
    steps.append(_signed("the edge's network key signed its report", domain.context, bundle.edge, report))
    digest = eip712.edge_root_digest(domain, report.message.leaf)
    signer = keys.recover_account(digest, report.message.root_signature)
    steps.append(_step("the edge's account signed its root", signer, _raw(bundle.edge.account)))


def _owed(reward: Reward, header: Header, node: int, steps: list[Step]) -> str:
    """rewardsRoot -> the node's amount, in words."""
    amount = int(reward.cumulative)
    path = [(int(step.sum), _raw(step.hash)) for step in reward.path]
    total, root = merkle.sum_root_from_path(node, amount, reward.turns, 1 << len(path), path)
    steps.append(_step(f"node {node} is owed {amount} of {total} under rewardsRoot", root, header.rewards_root))
    return f"up to this round it earned {amount:,} token units of {total:,}"


def _said(header: Header, update: Update) -> str:
    leaf = update.leaf
    return (
        f"node {leaf.node} sent an update in round {header.round} of task {header.task}, with {leaf.weight} samples declared "
        f"and the body of SHA-256 {leaf.ciphertext.hex()}; node {leaf.edge} took it in"
    )


def _shown_under(steps: list[Step], what: str, root: bytes, key: bytes, proof: Sequence[str]) -> bytes | None:
    """The value that a proof shows, with the step that says so; None when it shows none."""
    nodes = _raws(proof)
    try:
        value = value_under(root, key, nodes)
    except PeerFault as fault:
        steps.append(Step(what, fault.detail, root.hex(), False))
        return None
    steps.append(_step(what, keccak(nodes[0]), root))
    return value


def _signed(what: str, context: Context, member: Member, signed: Signed[M]) -> Step:
    good = keys.message_is_signed_by(context, _raw(member.net_key), signed)
    return Step(what, "signed" if good else "not signed", "signed", good)


class _Frames(msgspec.Struct, frozen=True):
    update: Signed[Update]
    report: Signed[EdgeReport]


def _frames(bundle: Bundle) -> _Frames:
    """PeerFault("malformed")."""
    placed = bundle.inclusion
    return _Frames(decode_stored(_raw(placed.update), Update), decode_stored(_raw(placed.report), EdgeReport))


def _domain(bundle: Bundle) -> eip712.Domain:
    """ConfigurationError for a chain or address that there is none of."""
    return eip712.Domain(bundle.chain_id, _raw(bundle.ledger))


def _node(member: Member) -> Node:
    """PeerFault("malformed")."""
    raw = _raw(member.net_key), _raw(member.account), _raw(member.owner)
    return refuse_malformed(
        lambda: Node(member.id, *raw, Tier(member.tier), Status(member.status), member.parent, name=""), "a node"
    )


def _header(bundle: Bundle) -> Header:
    """The header, all of whose fields are there, in order and of their types. PeerFault("malformed")."""
    if tuple(bundle.header) != Header.__struct_fields__:
        raise PeerFault("malformed", f"the header has the fields {', '.join(Header.__struct_fields__)}, in this order")
    fields = [_raw(value) if isinstance(value, str) else value for value in bundle.header.values()]
    return refuse_malformed(lambda: msgspec.convert(fields, Header, builtin_types=(bytes,)), "header")


def _digest(address: bytes, topics: tuple[bytes, ...], data: bytes) -> bytes:
    """One value for a whole log, so that two can be shown side by side."""
    return keccak(rlp.encode([address, list(topics), data]))


def _raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _raws(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(map(_raw, texts))


def _step(what: str, computed: object, expected: object) -> Step:
    return Step(what, _shown(computed), _shown(expected), computed == expected)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    return value.hex() if isinstance(value, bytes) else str(value)
