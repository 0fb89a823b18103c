"""What the Arbiter and the Court have in common (contracts/src/Evidence.sol): whether a piece of evidence is what it claims
to be, and what happens to whoever is found guilty."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import calls
from ledger.state import Message, State, signer_of
from middleware.errors import LedgerRefused, PeerFault
from middleware.ports import Event
from middleware.trust import merkle, roots
from middleware.types import LIMITS, EdgeLeaf, Header, Leaf
from middleware.wire.commitment import pack_leaf


class Evidence(State):
    """Checks that raise LedgerRefused with the contracts' errors."""

    def leaf_hash(self, leaf: Leaf) -> bytes:
        """Of any leaf, also of one that no honest node makes."""
        return merkle.leaf_hash(pack_leaf(self.ledger_domain.context, leaf))

    def edge_hash(self, edge: EdgeLeaf) -> bytes:
        return roots.edge_leaf_hash(self.ledger_domain.context, edge)

    def _require_anchored(self, header: Header, anchored_at: int) -> None:
        if not self.is_anchored(header, anchored_at):
            raise LedgerRefused("NotAnchored", header.task, header.round)

    def _require_member(self, header: Header, member: calls.Member) -> None:
        if (member.edge.task, member.edge.round) != (header.task, header.round):
            raise LedgerRefused("Unrelated")
        leaf = self.edge_hash(member.edge)
        require_under(member.path, member.index, header.inputs_count, leaf, header.inputs_root)

    def _require_placed(self, root: EdgeLeaf, placed: calls.Placed) -> None:
        require_under(placed.path, placed.index, root.count, self.leaf_hash(placed.leaf), root.root)

    def _require_signed(self, id: int, digest: bytes, signature: bytes, message: Message) -> None:
        if not self.bound(id, signer_of(digest, signature), message.now):
            raise LedgerRefused("BadSignature", id)

    def _settle_half(self, amount: int, beneficiary: bytes, judge: Message) -> list[Event]:
        """Pays half of what was taken to `beneficiary`, and burns the rest."""
        return self.settle(beneficiary, amount // 2, amount - amount // 2, judge)

    def _disputable(self, anchored_at: int, window: int, message: Message) -> bool:
        return message.now < anchored_at + window

    def _as(self, contract: str, message: Message) -> Message:
        """The same moment, with a contract as the caller of another."""
        return Message(self.addresses[contract], message.now, message.block)


def root_from_path(path: Sequence[bytes], index: int, size: int, leaf: bytes) -> bytes:
    """The root that `path` proves for leaf hash `leaf`. LedgerRefused: PathTooLong, BadProof (no path of such a tree)."""
    if len(path) > LIMITS.path_hashes:
        raise LedgerRefused("PathTooLong", len(path))
    try:
        return merkle.root_from_path(leaf, index, size, path)
    except PeerFault as fault:
        raise LedgerRefused("BadProof") from fault


def require_under(path: Sequence[bytes], index: int, size: int, leaf: bytes, root: bytes) -> None:
    """Unless `leaf` is number `index` of the `size` leaves under `root`: LedgerRefused PathTooLong, BadProof."""
    if root_from_path(path, index, size, leaf) != root:
        raise LedgerRefused("BadProof")
