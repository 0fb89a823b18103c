"""Writes the golden vectors beside it: `python tests/vectors/generate.py`. The tests demand that nothing would change.

Python and Solidity read the same files, so a change of any format shows in both.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from middleware.policy import Policy
from middleware.protocol.scoring import scores_root
from middleware.trust import keys, merkle, roots
from middleware.trust.access import registration_digest_of
from middleware.trust.eip712 import Domain, edge_root_digest, header_hash, receipt_digest, rotation_digest
from middleware.types import EdgeLeaf, Header, Leaf, Receipt, Seen, Tier
from middleware.wire import commitment, message
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestScore, ManifestUpdate, Scoring, encode_manifest
from middleware.wire.model import FileRequest
from middleware.wire.policy import encode_policy
from middleware.wire.session import Hello, Terms
from middleware.wire.state import State, encode_state

SIZES = range(1, 201)

LEDGER = Domain(31337, bytes(range(20)))
REGISTRY = Domain(31337, bytes(range(20, 40)))
NETWORK = keys.NetworkKey(hashlib.sha256(b"network").digest())
ACCOUNT = keys.AccountKey(hashlib.sha256(b"account").digest())


def merkle_vectors() -> list[dict[str, Any]]:
    """RFC 9162 trees of every size; the data of leaf i is i as 8 big-endian bytes."""
    leaves = merkle.leaf_hashes(number.to_bytes(8, "big") for number in range(SIZES[-1]))
    vectors = []
    for size in SIZES:
        tree, index = merkle.Tree.over(leaves[:size]), size // 3
        firsts = (max(1, size // 3), 1 << (size.bit_length() - 1), max(1, size - 1))
        vectors.append(
            {
                "size": size,
                "root": tree.root.hex(),
                "index": index,
                "leaf": leaves[index].hex(),
                "path": [step.hex() for step in tree.path(index)],
                "consistency": [
                    {
                        "first": first,
                        "first_root": merkle.root_over(leaves[:first]).hex(),
                        "path": [step.hex() for step in merkle.consistency(leaves[:size], first)],
                    }
                    for first in firsts
                ],
            }
        )
    return vectors


def merkle_sum_vectors() -> list[dict[str, Any]]:
    """Sum trees of every size; entry i is (node 2i + 1, cumulative 10**18 * i + 7)."""
    entries = [(2 * number + 1, 10**18 * number + 7) for number in range(SIZES[-1])]
    vectors = []
    for size in SIZES:
        index = size // 3
        node, cumulative = entries[index]
        steps = merkle.sum_path(entries[:size], index)
        vectors.append(
            {
                "size": size,
                "root": merkle.sum_root(entries[:size]).hex(),
                "total": str(sum(amount for _, amount in entries[:size])),
                "index": index,
                "node": node,
                "cumulative": str(cumulative),
                "sums": [str(amount) for amount, _ in steps],
                "hashes": [step.hex() for _, step in steps],
            }
        )
    return vectors


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


BODY = b"a sealed body"
METRICS = message.encode_metrics({"accuracy": 0.5, "samples": 32})
LEAF = Leaf(7, 3, 11, 2, 9, 32, hashlib.sha256(BODY).digest(), digest("update"), hashlib.sha256(METRICS).digest())
EDGE_LEAF = EdgeLeaf(
    7, 3, 2, roots.edge_tree(LEDGER.context, [LEAF]).root, 1, digest("aggregate"), digest("weights"), 12
)
RECEIPT = Receipt(7, 3, 2, 0, roots.leaf_hash(LEDGER.context, LEAF))
HEADER = Header(
    task=7,
    round=3,
    prev=digest("prev"),
    roster=digest("roster"),
    policy=digest("policy"),
    model_in=digest("in"),
    inputs_root=digest("inputs"),
    inputs_count=5,
    forced=digest("forced"),
    weights_root=digest("weights"),
    model_out=digest("out"),
    chunks_root=digest("chunks"),
    scores_root=digest("scores"),
    rewards_root=digest("rewards"),
    budget=digest("budget"),
    manifest=digest("manifest"),
)
# A sealed box is randomised, so the vector's is a pattern of the right length.
UPDATE = message.Update(11, 9, LEAF, (message.Wrapped(NETWORK.public, bytes(range(80))),), METRICS,
                        LEAF.ciphertext, len(BODY), Seen(9, digest("block")))  # fmt: skip
STORED_UPDATE = keys.sign_message(LEDGER.context, NETWORK, UPDATE).stored()
EDGE_BODY = message.encode_edge_body(message.EdgeBody((STORED_UPDATE,), ("",)))


def registration() -> message.Registration:
    """A registration that both of its keys signed."""
    unsigned = message.Registration(
        0, 1, NETWORK.public, ACCOUNT.address, ACCOUNT.address, Tier.END, 2, commitment.pack_name("phone"),
        digest("meta"), 1_800_000_000, bytes(65), bytes(64),
    )  # fmt: skip
    signed = registration_digest_of(REGISTRY, unsigned)
    return message.Registration(
        0, 1, NETWORK.public, ACCOUNT.address, ACCOUNT.address, Tier.END, 2, commitment.pack_name("phone"),
        digest("meta"), 1_800_000_000, ACCOUNT.sign_digest(signed), NETWORK.sign_digest(signed),
    )  # fmt: skip


def examples() -> list[tuple[message.Message, bytes]]:
    """(message, body) of each type."""
    report = message.EdgeReport(
        2, 4, EDGE_LEAF, keys.sign_edge_root(LEDGER, ACCOUNT, EDGE_LEAF), 32, (), hashlib.sha256(EDGE_BODY).digest(),
        len(EDGE_BODY), Seen(9, digest("block")),
    )  # fmt: skip
    return [
        (message.Poll(11, 8, 7, 2), b""),
        (
            message.Offer(
                1,
                5,
                7,
                3,
                digest("policy"),
                digest("model"),
                77_000,
                -13,
                29.5,
                digest("prev"),
                "open",
                12,
                Seen(9, digest("block")),
            ),
            b"",
        ),
        (UPDATE, BODY),
        (report, EDGE_BODY),
        (message.ReceiptReply(2, 6, RECEIPT, keys.sign_receipt(LEDGER, ACCOUNT, RECEIPT)), b""),
        (registration(), b""),
        (Hello(11, 7, digest("root"), digest("half"), ACCOUNT.address), b""),
        (
            Terms(
                2, 8, digest("hello"), digest("half"), 3, 5, 16, 400, 1.5, ((0, 2, 3.25), (1, 2, 2.0)), (), 0.0, 0.0, 70
            ),
            b"",
        ),
        (FileRequest(11, 9, digest("file"), ACCOUNT.address), b""),
    ]


def message_vectors() -> dict[str, Any]:
    """One whole frame of each type, and the packed bytes and digests that the contracts share."""
    frames = {}
    report = b""
    for value, body in examples():
        signed = keys.sign_message(LEDGER.context, NETWORK, value)
        frames[type(value).__name__] = signed.frame(body).hex()
        report = signed.stored() if isinstance(value, message.EdgeReport) else report
    manifest = Manifest(
        7, 3, 31337, LEDGER.contract, 12, -13, False, digest("in"), digest("out"),
        (ManifestEdge(report, (ManifestUpdate(STORED_UPDATE, 0, 1, digest("key")),)),), (), 1, ((11, 1 << 100),), METRICS,
    )  # fmt: skip
    lines = (ManifestScore(11, -(1 << 100), -(1 << 124), 12345, 937), ManifestScore(12, 7, 0, 0, 500, "echo"))
    scored = Manifest(
        7, 3, 31337, LEDGER.contract, 12, -13, False, digest("in"), digest("out"),
        (ManifestEdge(report, (ManifestUpdate(STORED_UPDATE, 0, 1, digest("key")),)),), (), 1, ((11, 1 << 100),), METRICS,
        Scoring(digest("importance"), -17, 3, 5_000_000, lines),
    )  # fmt: skip
    carried = State(
        {11: (-3, 1 << 40), 12: (7, 0)},
        np.array([-5, 6, 1 << 20], np.int32),
        (np.array([0.5, -0.25, 0], np.float32),),
        ((0.25, 1.5),),
    )
    stated = msgspec.structs.replace(manifest, state=digest("state"))
    return {
        "chain_id": LEDGER.chain_id,
        "ledger": LEDGER.contract.hex(),
        "registry": REGISTRY.contract.hex(),
        "network_key": NETWORK.public.hex(),
        "account": ACCOUNT.address.hex(),
        "frames": frames,
        "manifest": encode_manifest(manifest).hex(),
        "manifest_scored": encode_manifest(scored).hex(),
        "manifest_stated": encode_manifest(stated).hex(),
        "manifest_scored_stated": encode_manifest(msgspec.structs.replace(scored, state=digest("state"))).hex(),
        "state": encode_state(carried).hex(),
        "scores_root": scores_root(scored.scoring).hex(),
        "policy": encode_policy(Policy("digits", "mlp:64-256-10", 19_210)).decode(),
        "policy_scored": encode_policy(
            Policy(
                "digits",
                "mlp:64-256-10",
                19_210,
                pay="scores",
                epoch_rounds=5,
                evaluation=digest("slices").hex(),
                evaluation_slices=4,
            )
        ).decode(),
        "leaf_data": commitment.leaf_data(LEDGER.context, LEAF).hex(),
        "edge_leaf_data": commitment.edge_leaf_data(LEDGER.context, EDGE_LEAF).hex(),
        "receipt_digest": receipt_digest(LEDGER, RECEIPT).hex(),
        "edge_root_digest": edge_root_digest(LEDGER, EDGE_LEAF).hex(),
        "registration_digest": registration_digest_of(REGISTRY, registration()).hex(),
        "rotation_digest": rotation_digest(REGISTRY, 11, digest("new key"), 1, 1_800_000_000).hex(),
        "header_hash": header_hash(HEADER).hex(),
    }


def vectors() -> dict[str, Any]:
    return {
        "merkle.json": merkle_vectors(),
        "merkle_sum.json": merkle_sum_vectors(),
        "messages.json": message_vectors(),
    }


def text(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


if __name__ == "__main__":
    for name, value in vectors().items():
        (Path(__file__).parent / name).write_text(text(value))
