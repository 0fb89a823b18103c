"""Lists of batches for whoever reads a ledger: taken from wherever their blobs are."""

from __future__ import annotations

from collections.abc import Callable

from ledger.calls import Materialise
from ledger.index import Index
from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import eip712, merkle
from middleware.trust.access import unproven_members
from middleware.types import Node, Tier
from middleware.wire.members import decode_members, member_data


def learn_known(index: Index, registry: eip712.Domain, get: Callable[[bytes], bytes | None]) -> None:
    """Learn every list that `get` has by its digest. One that is missing or wrong stays unlearned: an audit names it."""
    for batch in index.unlisted():
        data = get(batch.list)
        if data is None:
            continue
        try:
            index.learn(data, unproven_members(registry, batch.owner, decode_members(data)))
        except PeerFault:
            continue


def materialisation(index: Index, node: Node) -> Materialise:
    """The call that gives a member of a batch an entry of its own. Raises ConfigurationError while its list is not known."""
    members = index.list_of(node.batch)
    if members is None:
        raise ConfigurationError(f"the list of the batch of node {node.id} is not here: give --blobs")
    place = node.id - node.batch
    member, tree = members[place], merkle.Tree.of(map(member_data, members))
    return Materialise(
        node.batch, place, member.net_key, member.account, node.owner, int(Tier.END), member.parent, member.name,
        member.meta_hash, member.deadline, member.account_signature, member.net_key_proof, tuple(tree.path(place)),
    )  # fmt: skip
