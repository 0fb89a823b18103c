"""A fleet of any size in one process: real keys, real sealing, real trees, one settlement; no socket, no sleep, no torch.

The same pure functions that the daemons call are called in a row, and the header goes to whichever ledger is given: the
specification in memory, or a chain. What the devices learned is given by a function, so a test can let them lie.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import numpy.typing as npt

from ledger.artifacts import NAMES
from ledger.calls import Admit, AnchorRound, CreateTask, Register, RegisterBatch
from ledger.index import Index
from ledger.memory import MemoryLedger
from ledger.spec import COUNCIL, PUBLISHER, REGISTRAR, Specification
from middleware.errors import PeerFault
from middleware.policy import Policy
from middleware.ports import Ledger, Outcome
from middleware.protocol import memory, peering, scoring
from middleware.protocol import settlement as settling
from middleware.protocol import update as updates
from middleware.protocol.choice import choose
from middleware.protocol.measuring import Measure as Error
from middleware.protocol.settlement import Opening, Received, Reported, Settlement
from middleware.protocol.update import Floats
from middleware.trust import eip712, merkle, roots
from middleware.trust.keys import AccountKey, KeyFile, sign_edge_root, sign_message
from middleware.types import ZERO32, EdgeLeaf, Header, Tier
from middleware.wire import tensors
from middleware.wire.commitment import Context, pack_name
from middleware.wire.manifest import Manifest
from middleware.wire.members import Member, encode_members, member_data
from middleware.wire.message import EdgeBody, EdgeReport, Metrics, Update, encode_edge_body, encode_metrics
from middleware.wire.policy import encode_policy, policy_hash

FAR_DEADLINE = 1 << 40  # seconds: registrations of a simulation do not expire

CHAIN_ID = 31337

Learned = Callable[[int, int, Floats], Floats]  # (device number from 0, round, model) -> update
Doubles = npt.NDArray[np.float64]
Measure = Callable[[Policy, Floats, Doubles, int], Doubles | None]  # (policy, model, move, slice) -> v


def in_memory(operator: AccountKey) -> tuple[MemoryLedger, Context, bytes]:
    """(ledger, where signatures mean something, the Registry's address): the contracts' specification as `deploy` leaves it."""
    addresses = {name: bytes([number]) * 20 for number, name in enumerate(NAMES, start=1)}

    def deployed() -> Specification:
        made = Specification(CHAIN_ID, addresses, operator.address)
        made.roles |= {(role, operator.address) for role in (REGISTRAR, PUBLISHER, COUNCIL)}
        judges = (addresses["Arbiter"], addresses["Court"])
        made.arbiters = {"Registry": judges, "Ledger": judges}
        return made

    return MemoryLedger(deployed), Context(CHAIN_ID, addresses["Ledger"]), addresses["Registry"]


class Simulation:
    """One cloud, `edges` edges, `devices` devices dealt to the edges in blocks."""

    def __init__(
        self, ledger: Ledger, context: Context, registry: bytes, operator: AccountKey, policy: Policy, learned: Learned,
        devices: int = 8, edges: int = 2, seed: int = 0, measure: Measure | None = None,
        samples: Callable[[int], int] = lambda device: 100, error: Error | None = None, feedback: bool = False,
        secret: bytes = b"", link: Callable[[int], float] = lambda device: inf,
    ) -> None:  # fmt: skip
        """`feedback`: devices keep their codec's residuals from round to round. `link`: bytes a second that a device uploads,
        as it knows from its first round on."""
        self.ledger, self.context, self.operator, self.policy, self.learned = ledger, context, operator, policy, learned
        self.domain = eip712.Domain(context.chain_id, context.ledger)
        self.registry = eip712.Domain(context.chain_id, registry)
        self.measure, self.samples, self.error, self.feedback = measure, samples, error, feedback
        self.link = link
        self.secret = secret  # of a private task's noise
        self.devices, self.edges = devices, edges
        self.generator = np.random.default_rng(seed)
        self.keys: dict[int, KeyFile] = {}  # by node id: 1 is the cloud, then the edges, then the devices
        self.index = Index()
        self.model: Floats = np.zeros(policy.parameters, np.float32)
        self.rewards: dict[int, int] = {}
        self.last: Manifest | None = None
        self.moves: scoring.Moves = ()
        self.state = memory.EMPTY
        self.blobs: dict[bytes, bytes] = {}
        self.prev = ZERO32
        self.residuals: dict[int, Floats] = {}  # by device's node id
        self.task = self.round = self.sequence = 0
        self.sent = 0  # bytes of sealed bodies

    def _random(self, count: int) -> bytes:
        return self.generator.bytes(count)

    @property
    def cloud(self) -> AccountKey:
        return self.keys[1].account

    def edge_ids(self) -> list[int]:
        return list(range(2, 2 + self.edges))

    def device_ids(self, edge: int) -> list[int]:
        first = 2 + self.edges
        return [first + d for d in range(self.devices) if 2 + d * self.edges // self.devices == edge]

    # ------------------------------------------------------------------------------------------------------------ joining

    async def join(self, batch: bool = False) -> None:
        """Register and admit everyone, fund nothing, create the task. `batch`: the devices in one transaction."""
        plan = [("cloud", Tier.CLOUD, 0)]
        plan += [(f"edge-{n + 1}", Tier.EDGE, 1) for n in range(self.edges)]
        devices = [(f"device-{d + 1}", Tier.END, 2 + d * self.edges // self.devices) for d in range(self.devices)]
        plan += [] if batch else devices
        for number, (name, tier, parent) in enumerate(plan, start=1):
            keys = KeyFile.generate(self._random)
            self.keys[number] = keys
            await self.ledger.send(self._registration(keys, name, tier, parent), self.operator)
        await self.refresh()
        for node in self.index.roster().nodes.values():
            if node.status.name == "PENDING":
                await self.ledger.send(Admit(node.id), self.operator)
        if batch:
            await self._enrol(devices)
        blob = tensors.encode_model(self.model)
        await self.ledger.send(CreateTask.of(1, 0, tensors.model_hash(blob), self.policy), self.operator)
        await self.refresh()
        self.task = max(self.index.tasks)
        self.blobs[tensors.model_hash(blob)] = blob

    async def _enrol(self, devices: list[tuple[str, Tier, int]]) -> None:
        """All devices as one batch of the operator's, a registrar, so that they are active at once; its list is a blob."""
        members = []
        for number, (name, tier, parent) in enumerate(devices, start=2 + self.edges):
            keys = self.keys[number] = KeyFile.generate(self._random)
            made = self._registration(keys, name, tier, parent, self.operator.address)
            members.append(
                Member(
                    made.net_key, made.account, parent, made.name, made.meta_hash, made.deadline, made.account_signature,
                    made.net_key_proof,
                )
            )  # fmt: skip
        listed = encode_members(members)
        self.blobs[tensors.model_hash(listed)] = listed
        root = merkle.root(map(member_data, members))
        await self.ledger.send(RegisterBatch(root, len(members), tensors.model_hash(listed)), self.operator)

    def _registration(self, keys: KeyFile, name: str, tier: Tier, parent: int, owner: bytes = b"") -> Register:
        """Signed by both keys; a node without another `owner` is its own."""
        account = keys.account.address
        owner = owner or account
        digest = eip712.registration_digest(
            self.registry,
            keys.network.public,
            account,
            owner,
            int(tier),
            parent,
            pack_name(name),
            ZERO32,
            FAR_DEADLINE,
        )
        return Register(
            keys.network.public, account, owner, int(tier), parent, pack_name(name), ZERO32, FAR_DEADLINE,
            keys.account.sign_digest(digest), keys.network.sign_digest(digest),
        )  # fmt: skip

    async def refresh(self) -> None:
        self.index.extend(await self.ledger.entries(self.index.cursor))

    # ------------------------------------------------------------------------------------------------------------- rounds

    async def play(self) -> tuple[Settlement, Outcome]:
        """One round from the devices' training to the anchored header."""
        settlement, header = await self.settle()
        return settlement, await self.ledger.send(AnchorRound(header), self.cloud)

    async def settle(self) -> tuple[Settlement, Header]:
        """One round up to the header that nobody has anchored yet."""
        await self.refresh()
        self.round += 1
        opening = Opening(
            task=self.task, round=self.round, prev=self.prev, policy_hash=policy_hash(encode_policy(self.policy)),
            model_in=tensors.model_hash(tensors.encode_model(self.model)), model=self.model,
            roster_root=roots.roster_root(self.index.roster()), roster_block=self.index.head_block, rewards=self.rewards,
            state=self.state, secret=self.secret,
        )  # fmt: skip
        reports = [self._edge(edge) for edge in self.edge_ids()]
        settlement = settling.settle(self.context, self.policy, opening, reports, measure=self.error)
        if self.policy.pay == "scores":
            settlement = self._score(opening, settlement, reports)
        header, manifest = settling.finish(settlement, encode_metrics({}))
        self.blobs[header.manifest] = manifest
        self.blobs[header.model_out] = settlement.model_blob
        if settlement.state_blob:
            self.blobs[settlement.manifest.state] = settlement.state_blob
        self.moves = scoring.remember(self.moves, self.model, settlement.model, self.policy.grid.exponent)
        self.prev, self.model, self.rewards = eip712.header_hash(header), settlement.model, settlement.rewards
        self.last, self.state = settlement.manifest, settlement.state
        return settlement, header

    def _score(self, opening: Opening, settlement: Settlement, reports: list[Reported]) -> Settlement:
        """Measure the round, keep what was measured, and pay by it."""
        measured = None
        if settlement.applied is not None and self.measure is not None:
            place = scoring.slice_of(
                settlement.header.inputs_root, self.task, self.round, self.policy.evaluation_slices
            )
            move = settlement.applied.astype(np.float64) * self.policy.grid.step
            vector = self.measure(self.policy, self.model, move, place)
            measured = scoring.quantise(vector, self.policy.parameters)
            blob = scoring.encode_importance(measured)
            self.blobs[tensors.model_hash(blob)] = blob
        before = scoring.carried(self.policy, self.last)
        return scoring.pay(self.policy, opening, settlement, reports, before, self.moves, measured)

    def _edge(self, edge: int) -> Reported:
        return self._report(edge, [self._device(device, edge) for device in self.device_ids(edge)])

    def _report(self, edge: int, received: list[Received]) -> Reported:
        """What an edge signs of these updates."""
        leaf = EdgeLeaf(
            self.task,
            self.round,
            edge,
            roots.edge_tree(self.context, [r.leaf for r in received]).root,
            len(received),
            roster_block=self.index.head_block,
        )
        total = sum(r.leaf.weight for r in received if not r.refused)
        body = encode_edge_body(EdgeBody(tuple(r.frame for r in received), tuple(r.refused for r in received)))
        digest = tensors.model_hash(body)
        self.blobs[digest] = body
        self.sequence += 1
        signature = sign_edge_root(self.domain, self.keys[edge].account, leaf)
        report = EdgeReport(edge, self.sequence, leaf, signature, total, (), digest, len(body))
        signed = sign_message(self.context, self.keys[edge].network, report)
        weights = settling.used_weights(self.policy, received)
        adds = self.policy.rule.name == "mean"
        summed = settling.edge_sums(received, weights, self.policy.parameters) if adds else None
        return Reported(signed.stored(), leaf, tuple(received), summed)

    def _learned(self, device: int, number: int) -> tuple[Floats, Metrics]:
        """What a device learned, and what it tells of that in its metrics."""
        return self.learned(number, self.round, self.model_below(number)), {}

    def model_below(self, number: int) -> Floats:
        """The model that a device, by its number from 0, starts from: its edge's, where edges have their own."""
        edge = 2 + number * self.edges // self.devices
        return peering.model_of(self.model, self.state.peers.get(edge), self.policy.grid.exponent)

    def _device(self, device: int, edge: int) -> Received:
        """Compose, open again as the cloud does, and keep the body."""
        self.sequence += 1
        number = device - 2 - self.edges
        learned, told = self._learned(device, number)
        readers = [self.keys[edge].network.public, self.keys[1].network.public]
        samples = self.samples(number)
        composed = updates.compose(
            learned, self.residuals.get(device), self.policy, (self.task, self.round, device, edge, self.sequence), samples,
            encode_metrics({"samples": samples, **told}), readers, self._random,
            choose(self.policy, self.link(number) if self.round > 1 else None),
        )  # fmt: skip
        if self.feedback and composed.residual is not None:
            self.residuals[device] = composed.residual
        self.sent += len(composed.body)
        message = Update(
            device,
            self.sequence,
            composed.leaf,
            composed.wrapped,
            composed.metrics,
            composed.leaf.ciphertext,
            len(composed.body),
        )
        signed = sign_message(self.context, self.keys[device].network, message)
        self.blobs[composed.leaf.ciphertext] = composed.body
        key = updates.content_key(composed.wrapped, self.keys[1].network)
        try:
            opened = updates.judge(message, composed.body, key, self.policy)
            updates.audit(message, opened, self.policy)
        except PeerFault as fault:
            return Received(signed.stored(), composed.leaf, key, fault.code, None)
        return Received(signed.stored(), composed.leaf, key, "", opened.integers)
