"""A small history made in memory, with real keys, real sealing and the real settlement: 1 cloud, 2 edges, 4 devices.

A test that wants a lie overrides the one method of `History` where that lie is told; everything behind it is computed
from the lie, as a liar would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
from eth_hash.auto import keccak

from ledger.audit.evidence import Addresses, Evidence, of_entries
from ledger.calls import CreateTask
from ledger.events import Forced, KeyRotated, Registered, RoundAnchored, StatusChanged, TaskCreated, entry_of
from middleware.policy import Policy, Rule
from middleware.ports import Entry, Event, Position
from middleware.protocol import memory
from middleware.protocol import settlement as settling
from middleware.protocol import update as updates
from middleware.protocol.settlement import Opening, Received, Reported, Settlement
from middleware.protocol.sums import Summed
from middleware.trust import eip712, keys, roots, seal
from middleware.trust.keys import AccountKey, NetworkKey
from middleware.types import ZERO32, EdgeLeaf, Header, Roster, Status, Tier
from middleware.wire import tensors
from middleware.wire.commitment import pack_name
from middleware.wire.manifest import Manifest, decode_manifest, encode_manifest
from middleware.wire.message import EdgeBody, EdgeReport, Metrics, Update, Wrapped, encode_edge_body, encode_metrics
from middleware.wire.policy import encode_policy, policy_hash

CHAIN = 31337
LEDGER = b"\x11" * 20
REGISTRY = b"\x22" * 20
REWARDS = b"\x33" * 20
CLOUD, EDGES, DEVICES = 1, (2, 3), (4, 5, 6, 7)
PARENT = {2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3}
TASK = 1
PARAMETERS = 600  # three chunks
ADDRESSES = Addresses(CHAIN, REGISTRY, LEDGER, REWARDS)
DOMAIN = eip712.Domain(CHAIN, LEDGER)
REGISTRY_DOMAIN = eip712.Domain(CHAIN, REGISTRY)


class Store:
    """Blobs in a dictionary, as an auditor reads them."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}

    def put(self, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        self.blobs[digest] = data
        return digest

    def get(self, digest: bytes) -> bytes | None:
        return self.blobs.get(digest)


class Sent(msgspec.Struct, frozen=True):
    """An update on its way: the frame, what was sealed, and the numbers in it."""

    received: Received
    body: bytes


def stream(seed: str) -> Callable[[int], bytes]:
    """A deterministic source of bytes."""
    state = {"n": 0}

    def random(count: int) -> bytes:
        out = b""
        while len(out) < count:
            state["n"] += 1
            out += hashlib.sha256(f"{seed}:{state['n']}".encode()).digest()
        return out[:count]

    return random


def policy_of(**changes: object) -> Policy:
    fields: dict[str, object] = {
        "workload": "digits", "model": "mlp:2-2-2", "parameters": PARAMETERS, "rounds": 3, "rule": Rule("multi-krum", 0),
        "min_updates": 3, "reward_per_round": 1000, "samples_cap": 100,
    }  # fmt: skip
    return Policy(**{**fields, **changes})  # type: ignore[arg-type]


class History:
    """Build with `run()`; then `record` and `store` are what an auditor reads."""

    def __init__(self, policy: Policy | None = None, rounds: int = 3) -> None:
        self.policy = policy or policy_of()
        self.rounds = rounds
        self.random = stream("history")
        self.numbers = np.random.default_rng(7)
        self.network = {node: NetworkKey.generate(stream(f"network {node}")) for node in range(1, 9)}
        self.account = {node: AccountKey.generate(stream(f"account {node}")) for node in range(1, 9)}
        self.auditor = NetworkKey.generate(stream("auditor"))
        self.store = Store()
        self.entries: list[Entry] = []
        self.block = 0
        self.sequence = 0
        self.headers: list[Header] = []
        self.manifests: list[Manifest] = []
        self.model = np.asarray(self.numbers.normal(0, 1, self.policy.parameters), np.float32)
        self.rewards: dict[int, int] = {}
        self.state = memory.EMPTY
        self.roster_block = 0

    # ----------------------------------------------------------------------------------------------------------- ledger

    def mine(self, event: Event, sender: bytes = b"\x99" * 20) -> Entry:
        self.block += 1
        address = ADDRESSES.owner(event) or LEDGER
        entry = entry_of(
            Position(
                block=self.block, block_hash=hashlib.sha256(b"block %d" % self.block).digest(), time=1000 + self.block,
                transaction=hashlib.sha256(b"transaction %d" % self.block).digest(), log_index=0, gas_used=80_000,
                sender=sender,
            ),
            event,
            address,
        )  # fmt: skip
        self.entries.append(entry)
        return entry

    def registration(self, node: int) -> Registered:
        tier = Tier.CLOUD if node == CLOUD else Tier.EDGE if node in EDGES else Tier.END
        name = pack_name({CLOUD: "cloud"}.get(node, f"{tier.label}-{node}"))
        account = self.account[node].address
        place = (self.network[node].public, account, account, tier, PARENT.get(node, 0), name, ZERO32, 10_000)
        digest = eip712.registration_digest(REGISTRY_DOMAIN, *place)
        return Registered(
            id=node, net_key=place[0], account=account, owner=account, tier=int(tier), status=int(Status.ACTIVE),
            parent=place[4], name=name, meta_hash=ZERO32, deadline=10_000,
            account_signature=self.account[node].sign_digest(digest), net_key_proof=self.network[node].sign_digest(digest),
        )  # fmt: skip

    window = 0  # seconds, of the task

    def create(self) -> None:
        for node in (CLOUD, *EDGES, *DEVICES):
            self.mine(self.registration(node))
        data = encode_policy(self.policy)
        self.genesis = self.store.put(tensors.encode_model(self.model))
        terms = CreateTask.of(CLOUD, self.window, self.genesis, self.policy)
        self.mine(
            TaskCreated(
                task=TASK, cloud=CLOUD, publisher=b"\x99" * 20, window=self.window, policy_hash=policy_hash(data),
                genesis_model=self.genesis, rule=terms.rule, trim=terms.trim, width=terms.width, chunks=terms.chunks,
                policy=data,
            )
        )  # fmt: skip

    @property
    def record(self) -> Evidence:
        return of_entries(self.entries, ADDRESSES)

    def roster(self, block: int) -> Roster:
        return self.record.index.roster(block)

    # ----------------------------------------------------------------------------------------------------------- rounds

    def run(self) -> History:
        self.create()
        for number in range(1, self.rounds + 1):
            self.round(number)
        return self

    def present(self, number: int) -> tuple[int, ...]:
        """The devices that send an update in this round."""
        return DEVICES

    def before_round(self, number: int) -> None:
        """Something on the ledger before this round opens."""

    def update_of(self, node: int, number: int) -> np.ndarray:
        """What the device learned: float32 (d,)."""
        return np.asarray(self.numbers.normal(0, 0.01, self.policy.parameters), np.float32)

    def send(self, node: int, number: int) -> Sent:
        self.sequence += 1
        edge = PARENT[node]
        readers = [self.network[edge].public, self.network[CLOUD].public]
        if self.policy.readers == "auditors":
            readers += [bytes.fromhex(key) for key in self.policy.auditors]
        metrics = encode_metrics(self.metrics_of(node, number))
        composed = updates.compose(
            self.update_of(node, number), None, self.policy, (TASK, number, node, edge, self.sequence), 10 + node,
            metrics, readers, self.random,
        )  # fmt: skip
        message = Update(
            node, self.sequence, composed.leaf, composed.wrapped, metrics, composed.leaf.ciphertext, len(composed.body)
        )
        signed = keys.sign_message(DOMAIN.context, self.signer(node, number), message)
        key = updates.content_key(composed.wrapped, self.network[CLOUD])
        opened = updates.judge(message, composed.body, key, self.policy)
        shown = key if self.policy.readers == "public" else b""
        return Sent(Received(signed.stored(), composed.leaf, shown, "", opened.integers), composed.body)

    def metrics_of(self, node: int, number: int) -> Metrics:
        """What the device's metrics say."""
        return {"loss": 0.5}

    def signer(self, node: int, number: int) -> NetworkKey:
        return self.network[node]

    def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
        """What the edge puts into its tree."""
        return sent

    def edge_sums(self, edge: int, number: int, rows: list[Received]) -> Summed:
        return settling.edge_sums(rows, settling.used_weights(self.policy, rows), self.policy.parameters)

    def report(self, edge: int, number: int, rows: list[Received]) -> Reported:
        wrapped: tuple[Wrapped, ...] = ()
        sealed, aggregate, weights, key, summed = b"", ZERO32, ZERO32, b"", None
        total = sum(row.leaf.weight for row in rows)
        if self.policy.rule.name == "mean":
            summed = self.edge_sums(edge, number, rows)
        if self.policy.arrangement == "two-level" and summed is not None:
            key = seal.new_content_key(self.random)
            sealed = seal.seal(key, tensors.encode_sums(summed.vector), seal.leaf_context(TASK, number, edge))
            wrapped = (Wrapped(self.network[CLOUD].public, seal.wrap(key, self.network[CLOUD].public)),)
            aggregate = summed.node
            weights = roots.edge_weights(settling.weights_entries(rows, settling.declared_weights(rows)))
        root = roots.edge_tree(DOMAIN.context, [row.leaf for row in rows]).root
        leaf = EdgeLeaf(TASK, number, edge, root, len(rows), aggregate, weights, self.roster_block)
        digest = self.store.put(sealed) if sealed else ZERO32
        body = encode_edge_body(EdgeBody(tuple(r.frame for r in rows), ("",) * len(rows), sealed, digest))
        self.sequence += 1
        message = EdgeReport(
            edge, self.sequence, leaf, keys.sign_edge_root(DOMAIN, self.account[edge], leaf), total, wrapped,
            self.store.put(body), len(body),
        )  # fmt: skip
        signed = keys.sign_message(DOMAIN.context, self.network[edge], message)
        return Reported(signed.stored(), leaf, tuple(rows), summed, digest, key)

    def reports(self, number: int) -> list[Reported]:
        sent = {node: self.send(node, number) for node in self.present(number)}
        for item in sent.values():
            self.store.put(item.body)
        reported = []
        for edge in EDGES:
            mine = self.listed(edge, number, [item for node, item in sent.items() if PARENT[node] == edge])
            reported.append(self.report(edge, number, [item.received for item in mine]))
        return reported

    def round(self, number: int) -> None:
        self.before_round(number)
        self.roster_block = self.block
        opening = Opening(
            task=TASK, round=number, prev=self.prev(), policy_hash=policy_hash(encode_policy(self.policy)),
            model_in=self.headers[-1].model_out if self.headers else self.genesis, model=self.model,
            roster_root=roots.roster_root(self.roster(self.roster_block)), roster_block=self.roster_block,
            rewards=self.rewards, state=self.state,
        )  # fmt: skip
        received, forced = self.received(number), self.forced(number)
        settlement = self.settled(number, self.settle(opening, received, forced))
        settlement = self.scored(number, settlement, opening, received, forced)
        header, blob = settling.finish(settlement, encode_metrics({"accuracy": 0.5, "loss": 0.5}))
        manifest = self.manifest(number, decode_manifest(blob))
        header = self.header(
            number, msgspec.structs.replace(header, manifest=self.store.put(encode_manifest(manifest)))
        )
        self.store.put(settlement.model_blob)
        if settlement.state_blob:
            self.store.put(settlement.state_blob)
        self.anchor(number, header)
        self.model, self.rewards, self.state = settlement.model, dict(manifest.rewards), settlement.state
        self.headers.append(header)
        self.manifests.append(manifest)

    def settle(self, opening: Opening, received: list[Reported], forced: settling.Forced) -> Settlement:
        return settling.settle(DOMAIN.context, self.policy, opening, received, forced)

    def received(self, number: int) -> list[Reported]:
        return self.reports(number)

    def force(self, sent: Sent) -> None:
        """Put an update before the ledger, as its device would."""
        leaf = sent.received.leaf
        leaf_hash = roots.leaf_hash(DOMAIN.context, leaf)
        self.chain, self.count = keccak(self.chain + leaf_hash), self.count + 1
        self.mine(Forced(TASK, leaf.round, leaf.node, self.count, self.chain, leaf_hash, leaf))
        self.store.put(sent.body)

    chain, count = ZERO32, 0

    def forced(self, number: int) -> settling.Forced:
        """What the round acknowledges and lists of it."""
        return settling.Forced(self.chain)

    def prev(self) -> bytes:
        return eip712.header_hash(self.headers[-1]) if self.headers else ZERO32

    def settled(self, number: int, settlement: Settlement) -> Settlement:
        """Where a cloud that lies about the result would."""
        return settlement

    def scored(
        self, number: int, settlement: Settlement, opening: Opening, received: list[Reported], forced: settling.Forced
    ) -> Settlement:
        """Where a cloud that pays scores would measure and pay."""
        return settlement

    def manifest(self, number: int, manifest: Manifest) -> Manifest:
        """Where a cloud that lies about the inputs would."""
        return manifest

    def header(self, number: int, header: Header) -> Header:
        return header

    def anchor(self, number: int, header: Header) -> None:
        event = RoundAnchored(task=TASK, round=header.round, header_hash=eip712.header_hash(header), header=header)
        self.mine(event, self.account[CLOUD].address)

    def suspend(self, node: int, status: Status = Status.SUSPENDED) -> None:
        self.mine(StatusChanged(id=node, status=int(status)))

    def rotate(self, node: int, new: NetworkKey) -> None:
        """A new network key for `node`, its first rotation."""
        digest = eip712.rotation_digest(REGISTRY_DOMAIN, node, new.public, 0, 10_000)
        self.mine(KeyRotated(id=node, new_key=new.public, deadline=10_000, net_key_proof=new.sign_digest(digest)))
        self.network[node] = new
