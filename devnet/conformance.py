"""The specification in Python and the contracts on a chain, side by side: the same calls, the same answers.

`World` is either of them; a step is the logs that a call made, to the byte, or the custom error with its arguments. `Walk`
makes random calls to both, sensible ones and spoiled ones, with real signatures and real proofs, and compares after each of
them what it said and everything that can be read. The chain's clock is set before every transaction, so both see the same
time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import Any, ClassVar, Final

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from devnet.accusations import ACCUSATIONS, FAULTS, Scene, altered, play, possible
from devnet.evm import Evm, Log, View
from ledger import calls
from ledger.calls import AnyCall
from ledger.court import commitment
from ledger.events import Event, emitter, encode_event
from ledger.spec import (
    COUNCIL,
    PAUSER,
    PUBLISHER,
    REGISTRAR,
    ChallengeState,
    ChannelState,
    DemandState,
    LogState,
    Specification,
    member_hash,
)
from middleware.errors import LedgerRefused
from middleware.trust import chunks, merkle
from middleware.trust.eip712 import direct_digest, header_hash, registration_digest, rotation_digest
from middleware.trust.keys import AccountKey
from middleware.types import ZERO20, ZERO32, Header, Leaf, Status

POLICY: Final = b'{"rounds":3}'
GENESIS: Final = sha256(b"genesis").digest()
LATER: Final = 10**7  # seconds: a deadline that no walk reaches


def named(name: str) -> AccountKey:
    """The same key for the same name."""
    return AccountKey(sha256(name.encode()).digest())


REGISTRAR_KEY, PUBLISHER_KEY, PAUSER_KEY = named("registrar"), named("publisher"), named("pauser")
COUNCIL_KEY = named("council")
NODES: Final = [named(f"node {number}") for number in range(14)]
OWNER, STRANGER = named("owner"), named("stranger")
PEOPLE: Final = [
    key.address for key in (REGISTRAR_KEY, PUBLISHER_KEY, PAUSER_KEY, COUNCIL_KEY, OWNER, STRANGER, *NODES)
]  # fmt: skip
KEYS: Final = {
    key.address: key for key in (REGISTRAR_KEY, PUBLISHER_KEY, PAUSER_KEY, COUNCIL_KEY, OWNER, STRANGER, *NODES)
}
NET_KEYS: Final = [sha256(f"network {number}".encode()).digest() for number in range(14)]
REG, PUB, OWN, ODD = (key.address for key in (REGISTRAR_KEY, PUBLISHER_KEY, OWNER, STRANGER))


def specification(evm: Evm) -> Specification:
    """The contracts as they are when they were just deployed."""
    return Specification(
        evm.chain_id, evm.contracts, evm.admin, evm.min_stake, evm.unbonding_seconds, evm.terms
    )  # fmt: skip


class Step(msgspec.Struct, frozen=True):
    """What one call did: the logs, or the custom error."""

    logs: tuple[Log, ...] = ()
    error: str = ""
    arguments: tuple[object, ...] = ()


class SpecificationWorld:
    def __init__(self, evm: Evm, start: Specification | None = None) -> None:
        self.specification, self.contracts = start or specification(evm), evm.contracts
        self.block, self.now = evm.block, evm.now

    def act(self, call: AnyCall, sender: bytes, now: int) -> Step:
        self.block, self.now = self.block + 1, now
        try:
            happened = self.specification.apply(call, sender, now, self.block)
        except LedgerRefused as refused:
            return Step((), refused.name, refused.arguments)
        return Step(tuple(self._log(call, event) for event in happened))

    def _log(self, call: AnyCall, event: Event) -> Log:
        return self.contracts[emitter(event, call.contract)], *encode_event(event)


class EvmWorld:
    def __init__(self, evm: Evm) -> None:
        self.evm, self.contracts = evm, evm.contracts

    @property
    def now(self) -> int:
        return self.evm.now

    def act(self, call: AnyCall, sender: bytes, now: int) -> Step:
        try:
            return Step(tuple(self.evm.send(call.contract, call.function, call.arguments(), sender, now)))
        except LedgerRefused as refused:
            return Step((), refused.name, refused.arguments)


World = SpecificationWorld | EvmWorld


# ---------------------------------------------------------------------------------------------------------------- calls


def registration(
    chain: Specification, deadline: int, node: int = 0, key: int = 0, signer: AccountKey | None = None, **changes: Any
) -> calls.Register:
    """A node's signed wish to join, with some of its fields changed before it is signed."""
    wish: dict[str, Any] = {
        "net_key": NET_KEYS[key], "account": NODES[node].address, "owner": NODES[node].address, "tier": 3, "parent": 0,
        "name": f"node {node}".encode().ljust(32, b"\0"), "meta_hash": ZERO32, "deadline": deadline, **changes,
    }  # fmt: skip
    proof = wish.pop("net_key_proof", bytes(64))
    signature = wish.pop("account_signature", None)
    if signature is None:
        signature = (signer or NODES[node]).sign_digest(registration_digest(chain.domain, **wish))
    return calls.Register(**wish, account_signature=signature, net_key_proof=proof)


def rotation(
    chain: Specification, deadline: int, id: int, key: int, signer: AccountKey, nonce: int = 0, proof: bytes = bytes(64)
) -> calls.RotateNetKey:
    digest = rotation_digest(chain.domain, id, NET_KEYS[key], nonce, deadline)
    return calls.RotateNetKey(id, NET_KEYS[key], deadline, signer.sign_digest(digest), proof)


def membership(chain: Specification, first: int, count: int, owner: bytes, parent: int) -> list[calls.Materialise]:
    """The members of a batch that will begin at `first`, each with its path: all of it agreed and signed."""
    made = []
    for index in range(count):
        key = named(f"member {first + index}")
        wish: dict[str, Any] = {
            "net_key": sha256(key.address).digest(), "account": key.address, "owner": owner, "tier": 1, "parent": parent,
            "name": b"member".ljust(32, b"\0"), "meta_hash": ZERO32, "deadline": 5,
        }  # fmt: skip
        signature = key.sign_digest(registration_digest(chain.domain, **wish))
        made.append(
            calls.Materialise(first, index, **wish, account_signature=signature, net_key_proof=bytes(64), path=())
        )
    tree = merkle.Tree.over([member_hash(one) for one in made])
    return [msgspec.structs.replace(one, path=tuple(tree.path(one.index))) for one in made]


def batch_root(members: Sequence[calls.Materialise]) -> bytes:
    return merkle.root_over([member_hash(one) for one in members])


def direct(chain: Specification, signer: AccountKey, **changes: Any) -> calls.SubmitDirect:
    """An update that node 4 sends past its edge, with some of its fields changed before it is signed."""
    wish: dict[str, Any] = {
        "task": 1, "round": 1, "node": 4, "edge": 2, "sequence": 1, "weight": 5, "ciphertext": GENESIS,
        "update_root": GENESIS, "metrics": GENESIS, **changes,
    }  # fmt: skip
    leaf = Leaf(**wish)
    digest = direct_digest(chain.ledger_domain, leaf.task, leaf.round, leaf.node, chain.leaf_hash(leaf))
    return calls.SubmitDirect(leaf, signer.sign_digest(digest))


def entries(round: int) -> list[tuple[int, int]]:
    """What a round's rewards promise altogether: to node 1, node 2, and a node that nobody registered."""
    return [(1, 10 * round), (2, 7 * round), (99, 3 * round)]


def header(task: int, round: int, prev: bytes, model_in: bytes, **changes: Any) -> Header:
    wish: dict[str, Any] = {
        "task": task, "round": round, "prev": prev, "policy": sha256(POLICY).digest(), "model_in": model_in,
        "inputs_count": round, "model_out": sha256(model_in).digest(), "rewards_root": merkle.sum_root(entries(round)),
        **{name: sha256(name.encode()).digest() for name in ("roster", "inputs_root", "weights_root", "chunks_root")},
        **{name: ZERO32 for name in ("forced", "scores_root", "budget", "manifest")},
        **changes,
    }  # fmt: skip
    return Header(**wish)


def claim(of: Header, anchored_at: int, index: int, **changes: Any) -> calls.Claim:
    promised = entries(of.round)
    wish: dict[str, Any] = {
        "task": of.task, "round": of.round, "header_hash": header_hash(of), "anchored_at": anchored_at,
        "node": promised[index][0], "cumulative": promised[index][1],
        "index": index, "size": len(promised), "path": merkle.pack_sum_path(merkle.sum_path(promised, index)), **changes,
    }  # fmt: skip
    return calls.Claim(**wish)


def new_task(cloud: int = 1, window: int = 1, rule: int = calls.REPLAY, trim: int = 0, width: int = 2, size: int = 2,
             policy: bytes = POLICY) -> calls.CreateTask:  # fmt: skip
    return calls.CreateTask(cloud, window, rule, trim, width, size, GENESIS, policy)


FIRST: Final = header(1, 1, ZERO32, GENESIS)
SECOND: Final = header(1, 2, header_hash(FIRST), FIRST.model_out)


def opening(evm: Evm, chain: Specification, deadline: int) -> list[tuple[AnyCall, bytes]]:
    """Roles; an active cloud 1, a pending edge 2 with an owner; task 1 of that cloud, window 100 s; some credit."""
    return [
        (calls.GrantRole(REGISTRAR, REG), evm.admin),
        (calls.GrantRole(PUBLISHER, PUB), evm.admin),
        (calls.GrantRole(PAUSER, PAUSER_KEY.address), evm.admin),
        (registration(chain, deadline), REG),
        (registration(chain, deadline, node=1, key=1, tier=2, parent=1, owner=OWN), OWN),
        (new_task(window=100), PUB),
        (calls.Mint(OWN, 1_000), evm.admin),
        (calls.Approve(evm.contracts["Registry"], 500), OWN),
        (calls.Approve(evm.contracts["Rewards"], (1 << 256) - 1), OWN),
    ]


def gathering(evm: Evm, chain: Specification, deadline: int) -> list[tuple[AnyCall, bytes]]:
    """What `opening` leaves out: edges 2 and 3, devices 4 and 5 below 2 and 6 below 3, edges 7 to 9 that may be witnesses,
    cloud 10; stakes; tasks 2 to 5 with the other rules; the council; bonds for the owner, a stranger and node 4's account."""
    court, registry = evm.contracts["Court"], evm.contracts["Registry"]
    joining = [
        registration(chain, deadline, number - 1, number - 1, tier=tier, parent=parent)
        for number, tier, parent in (
            (3, 2, 1), (4, 1, 2), (5, 1, 2), (6, 1, 3), (7, 2, 1), (8, 2, 1), (9, 2, 1), (10, 3, 0),
        )
    ]  # fmt: skip
    richer = [(calls.Mint(account, 20_000), evm.admin) for account in (OWN, ODD, NODES[3].address)]
    bonds = [(calls.Approve(court, 20_000), account) for account in (OWN, ODD, NODES[3].address)]
    stakes = [(calls.Stake(id, amount), OWN) for id, amount in ((1, 1_001), (2, 100), (3, 151), (7, 100), (8, 100))]
    tasks = [
        new_task(1, 1_000, calls.TWO_LEVELS), new_task(1, 1_000, calls.MEDIAN), new_task(1, 1_000, calls.TRIMMED_MEAN, 1, 4),
        new_task(1, 1_000, calls.LINEAR, width=4),
    ]  # fmt: skip
    return [
        (calls.GrantRole(COUNCIL, COUNCIL_KEY.address), evm.admin),
        *((one, REG) for one in joining), *richer, (calls.Approve(registry, 10_000), OWN), *bonds, *stakes,
        *((task, PUB) for task in tasks), (calls.Fund(2, 500), OWN), (calls.Fund(5, 500), OWN),
    ]  # fmt: skip


def camel(state: msgspec.Struct) -> dict[str, object]:
    """A state's fields under their Solidity names."""

    def renamed(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return {renamed(name): value for name, value in msgspec.structs.asdict(state).items()}


def readable(chain: Specification, now: int, headers: Sequence[tuple[Header, int]] = ()) -> list[tuple[View, object]]:
    """Everything that can be asked of the contracts after a walk, with what the specification would answer."""
    found: list[tuple[View, object]] = [
        (("Registry", "count"), chain.count), (("Registry", "paused"), chain.paused["Registry"]),
        (("Registry", "seized"), chain.seized), (("Ledger", "count"), len(chain.tasks)),
        (("Ledger", "paused"), chain.paused["Ledger"]),
        (("Credit", "totalSupply"), chain.token.supply), (("Court", "count"), chain.disputes),
    ]  # fmt: skip
    for id in (*chain.nodes, chain.count + 1):
        found.append((("Registry", "node", id), camel(chain.node(id))))
        found.append((("Registry", "slashable", id), chain.slashable(id)))
        found.append((("Registry", "proposedAccount", id), chain.proposed.get(id, ZERO20)))
    for first, batch in chain.batches.items():
        found.append((("Registry", "batch", first), camel(batch)))
    for id in chain.tasks:
        found.append((("Ledger", "task", id), camel(chain.task(id))))
        found.append((("Ledger", "forcedChain", id), chain.forced_chain.get(id, ZERO32)))
        found.append((("Rewards", "funded", id), chain.funded.get(id, 0)))
        found.append((("Rewards", "paid", id), chain.paid.get(id, 0)))
        found.append((("Rewards", "claimed", id, 1), chain.claimed.get((id, 1), 0)))
    for node, log in chain.logs.items():
        found.append((("Ledger", "log", node), [log.size, log.root]))
    for (task, link), k in chain.forced_index.items():
        found.append((("Ledger", "forcedIndex", task, link), k))
        found.append((("Ledger", "forcedAt", task, k), chain.forced_at[task, k]))
    for of, at in headers:
        found.append((("Ledger", "record", of.task, of.round), chain.records[of.task, of.round]))
        shown = ("Ledger", "isFinal", of.task, of.round, header_hash(of), of.rewards_root, at)
        found.append((shown, chain.is_final(of, at, now)))
    found.append((("Models", "channels"), chain.opened_channels))
    for root, model in chain.models.items():
        found.append((("Models", "model", root), camel(model)))
    for root, user in chain.grants:
        found.append((("Models", "grantOf", root, user), camel(chain.grant_of(root, user))))
        found.append((("Models", "mayInfer", root, user), chain.may_infer(root, user, now)))
    for id in range(1, chain.opened_channels + 1):
        found.append((("Models", "channelOf", id), camel(chain.channels.get(id, ChannelState()))))
    for account in PEOPLE:
        id = chain.id_of_account.get(account, 0)
        found.append((("Registry", "idOfAccount", account), id))
        found.append((("Registry", "retiredAt", account), chain.retired_at.get(account, 0)))
        found.append((("Registry", "bound", id, account), chain.bound(id, account, now)))
        found.append((("Court", "withdrawable", account), chain.withdrawable.get(account, 0)))
    for key in NET_KEYS:
        found.append((("Registry", "idOfKey", key), chain.id_of_key.get(key, 0)))
    for case, verdict in chain.verdicts.items():
        found.append((("Arbiter", "verdict", *case), [verdict.beneficiary, verdict.amount]))
    for id in range(1, chain.disputes + 1):
        found.append((("Court", "demandOf", id), camel(chain.demands.get(id, DemandState()))))
        found.append((("Court", "challengeOf", id), camel(chain.challenges.get(id, ChallengeState()))))
    for (id, node), said in chain.committed_to.items():
        found.append((("Court", "committedTo", id, node), said))
    for account in (OWN, ODD, PUB, NODES[0].address, *list(chain.addresses.values())[2:]):
        found.append((("Credit", "balanceOf", account), chain.token.balance(account)))
    return found


# ----------------------------------------------------------------------------------------------------------------- walk

people = st.sampled_from(PEOPLE)
ids = st.integers(0, 11)
tasks = st.sampled_from([1, 2, 3, 4, 5, 5, 9])
seconds = st.sampled_from([1, 1, 1, 2, 99, 100, 600])
seeds = st.integers(0, 1 << 32)
rarely = st.sampled_from([False, False, False, True])


Small = tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]  # a method and what it is called with
_DISTURBANCES: Final[list[Small]] = []
_MOTIONS: Final[list[Small]] = []


def _one_of(
    small: list[Small], **strategies: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds a method to the small things that `draw_one` draws from, so that all of them together weigh as one rule."""

    def add(method: Callable[..., None]) -> Callable[..., None]:
        small.append((method, strategies))
        return method

    return add


def draw_one(walk: Walk, data: st.DataObject, small: Sequence[Small]) -> None:
    method, strategies = data.draw(st.sampled_from(small))
    method(walk, **{name: data.draw(strategy, name) for name, strategy in strategies.items()})


class Opened(msgspec.Struct, frozen=True):
    """Both ledgers after `opening` and `gathering`."""

    evm: Evm
    specification: Specification
    deadline: int


def open_both(evm: Evm) -> Opened:
    """Makes the calls of `opening` and `gathering` to both."""
    pair, deadline = Pair(evm, specification(evm)), evm.now + LATER
    for makes in (opening, gathering):
        for call, sender in makes(evm, pair.chain, deadline):
            if (step := pair.act(call, sender)).error:
                raise RuntimeError(f"{call} was refused: {step.error}{step.arguments}")
    return Opened(evm, pair.chain, deadline)


class Difference(AssertionError):
    """The two ledgers do not agree."""


class Pair:
    """Both ledgers, told the same."""

    def __init__(self, evm: Evm, start: Specification) -> None:
        self.evm = evm
        self.left, self.right = SpecificationWorld(evm, start), EvmWorld(evm)
        self.chain = self.left.specification

    def act(self, call: AnyCall, sender: bytes, wait: int = 1) -> Step:
        """What both did, `wait` seconds after the call before. Raises Difference."""
        now = self.evm.now + wait
        said, heard = self.left.act(call, sender, now), self.right.act(call, sender, now)
        if said != heard:
            raise Difference(f"{call} by {sender.hex()}: the specification says {said}, the contracts {heard}")
        return said

    def compare(self, headers: Sequence[tuple[Header, int]] = ()) -> None:
        """Reads everything from both. Raises Difference."""
        wanted = readable(self.chain, self.evm.now, headers)
        for (view, said), heard in zip(wanted, self.evm.views([view for view, _ in wanted]), strict=True):
            if heard != (said if isinstance(said, list) else [said]):
                raise Difference(f"{view}: the specification says {said}, the contracts {heard}")


class Walk(RuleBasedStateMachine):
    """What all walks share: calls made to both, what disturbs them, and the comparison. `opened` is set by whoever runs the
    walk."""

    opened: ClassVar[Opened]
    judges: ClassVar[tuple[str, ...]] = ("both", "both", "both", "both", "first", "second")  # who of them is a contract

    def __init__(self) -> None:
        super().__init__()
        self.evm = self.opened.evm
        self.before = self.evm.snapshot()
        self.deadline = self.opened.deadline
        self.pair = Pair(self.evm, self.opened.specification.copy())
        self.chain = self.pair.chain
        self.anchored: list[tuple[Header, int]] = []
        self.scenes: list[Scene] = []
        self.members: list[calls.Materialise] = []
        self.trees: dict[int, list[bytes]] = {}
        self.committed: list[calls.Reveal] = []
        self.steps = 0

    def both(self, call: AnyCall, sender: bytes, wait: int = 1) -> Step:
        self.steps += 1
        return self.pair.act(call, sender, wait)

    def teardown(self) -> None:
        self.evm.revert(self.before)

    def account(self, id: int) -> bytes:
        """A node's account; a stranger's where there is none."""
        found = self.chain.node(id).account
        return found if found in KEYS else ODD

    @initialize(judges=st.integers(0, 5))
    def name_arbiters(self, judges: int) -> None:
        kind = self.judges[judges % len(self.judges)]
        if kind == "nobody":
            return
        first = self.evm.contracts["Arbiter"] if kind != "second" else NODES[13].address
        second = self.evm.contracts["Court"] if kind != "first" else NODES[13].address
        self.both(calls.SetRegistryArbiters(first, second), self.evm.admin)
        self.both(calls.SetLedgerArbiters(first, second), self.evm.admin)

    # ----------------------------------------------------------------------------------------------------- disturbances

    @_one_of(_DISTURBANCES,
        kind=st.sampled_from([calls.Admit, calls.Suspend, calls.Reinstate, calls.Revoke, calls.AcceptAccount]),
        id=ids, sender=st.one_of(people, st.just(REG), st.just(OWN)), wait=seconds,
    )  # fmt: skip
    def change_status(self, kind: Any, id: int, sender: bytes, wait: int) -> None:
        self.both(kind(id), sender, wait)

    @_one_of(_DISTURBANCES, id=ids, account=people, sender=people, honest=st.booleans())
    def propose_account(self, id: int, account: bytes, sender: bytes, honest: bool) -> None:
        if self.both(calls.ProposeAccount(id, account), self.account(id) if honest else sender).error == "":
            self.both(calls.AcceptAccount(id), account)

    @_one_of(_DISTURBANCES,
        id=ids, amount=st.sampled_from([0, 1, 100, 1_001]), part=st.sampled_from([0, 1, 100, 2_000]),
        to=st.sampled_from([ODD, ZERO20]), honest=st.booleans(),
    )  # fmt: skip
    def slash(self, id: int, amount: int, part: int, to: bytes, honest: bool) -> None:
        judge = NODES[13].address if honest else ODD
        self.both(calls.Slash(id, amount, GENESIS), judge)
        self.both(calls.Settle(to, part, amount // 2), judge)

    @_one_of(_DISTURBANCES,
        kind=st.sampled_from([calls.HoldNode, calls.ReleaseNode, calls.HoldTask, calls.ReleaseTask]), id=ids,
        honest=st.booleans(),
    )  # fmt: skip
    def hold(self, kind: Any, id: int, honest: bool) -> None:
        self.both(kind(id), NODES[13].address if honest else ODD)

    @_one_of(_DISTURBANCES, task=tasks, round=st.integers(0, 2), honest=st.booleans())
    def strike(self, task: int, round: int, honest: bool) -> None:
        self.both(calls.Strike(task, round), NODES[13].address if honest else ODD)

    @_one_of(_DISTURBANCES, task=tasks, sender=st.one_of(people, st.just(PUB)))
    def close_task(self, task: int, sender: bytes) -> None:
        self.both(calls.CloseTask(task), sender)

    @_one_of(_DISTURBANCES,
        task=tasks, device=st.sampled_from([4, 4, 5, 6, 2]), ahead=st.integers(0, 2), weight=st.sampled_from([0, 5, 5, 5]),
        edge=st.sampled_from([None, None, None, 3]), forged=rarely,
    )  # fmt: skip
    def submit_direct(self, task: int, device: int, ahead: int, weight: int, edge: int | None, forged: bool) -> None:
        node = self.chain.node(device)
        signer = STRANGER if forged else KEYS[self.account(device)]
        wish = {"task": task, "round": self.chain.task(task).head + ahead, "node": device, "weight": weight}
        self.both(direct(self.chain, signer, **wish, edge=node.parent if edge is None else edge), ODD)

    @rule(data=st.data())
    def disturb(self, data: st.DataObject) -> None:
        draw_one(self, data, _DISTURBANCES)

    # ------------------------------------------------------------------------------------------------------- comparison

    @invariant()
    def remember_the_same(self) -> None:
        self.pair.compare(self.anchored[-3:])


class Members(Walk):
    """Who takes part, what is promised, who is paid."""

    judges = ("second", "first", "nobody")

    # -------------------------------------------------------------------------------------------------------- registry

    @rule(
        node=st.integers(0, 12), key=st.integers(0, 12), tier=st.integers(0, 4), parent=ids, sender=people, wait=seconds,
        owner=st.one_of(st.none(), people),
        flaw=st.sampled_from(["", "", "", "late", "name", "proof", "signer", "key"]),
    )  # fmt: skip
    def register(
        self, node: int, key: int, tier: int, parent: int, sender: bytes, wait: int, owner: bytes | None, flaw: str
    ) -> None:
        flaws: dict[str, dict[str, Any]] = {
            "name": {"name": ZERO32}, "proof": {"net_key_proof": b"\x01"}, "signer": {"signer": STRANGER},
            "key": {"net_key": ZERO32},
        }  # fmt: skip
        deadline = self.evm.now if flaw == "late" else self.deadline
        wish = {"node": node, "key": key, "tier": tier, "parent": parent, "owner": owner or NODES[node].address}
        self.both(registration(self.chain, deadline, **{**wish, **flaws.get(flaw, {})}), sender, wait)

    @rule(node=st.integers(10, 12), key=st.integers(10, 12), wait=seconds)
    def register_well(self, node: int, key: int, wait: int) -> None:
        self.both(registration(self.chain, self.deadline, node, key, tier=2, parent=1), REG, wait)

    @rule(id=ids, key=st.integers(0, 13), signer=st.sampled_from(NODES), nonce=st.integers(0, 1), late=st.booleans())
    def rotate_key(self, id: int, key: int, signer: AccountKey, nonce: int, late: bool) -> None:
        self.both(rotation(self.chain, self.evm.now if late else self.deadline, id, key, signer, nonce), ODD)

    @rule(id=ids, meta=st.sampled_from([GENESIS, ZERO32]), sender=people)
    def describe(self, id: int, meta: bytes, sender: bytes) -> None:
        self.both(calls.SetMeta(id, meta), sender)

    @rule(
        kind=st.sampled_from([calls.Stake, calls.Unstake, calls.Fund, calls.Withdraw]), id=ids,
        amount=st.sampled_from([0, 1, 30, 99, 100, 101, 1_000, 1 << 96, (1 << 128) - 1, (1 << 256) - 1]),
        sender=st.one_of(st.just(OWN), people), wait=seconds,
    )  # fmt: skip
    def move_money(self, kind: Any, id: int, amount: int, sender: bytes, wait: int) -> None:
        self.both(kind(id) if kind is calls.Withdraw else kind(id, amount), sender, wait)

    @rule(id=st.integers(1, 9), amount=st.sampled_from([1, 50, 51]), early=st.booleans())
    def unstake_and_withdraw(self, id: int, amount: int, early: bool) -> None:
        owner = self.chain.node(id).owner
        self.both(calls.Suspend(id), REG)
        self.both(calls.Unstake(id, amount), owner)
        self.both(calls.Withdraw(id), owner, self.evm.unbonding_seconds - early)

    @rule(
        to=st.one_of(people, st.just(ZERO20)), amount=st.sampled_from([0, 50, 10**27, (1 << 256) - 1]),
        contract=st.sampled_from(["Registry", "Rewards", "Court"]), honest=st.booleans(),
    )  # fmt: skip
    def mint_and_approve(self, to: bytes, amount: int, contract: str, honest: bool) -> None:
        self.both(calls.Mint(to, amount), self.evm.admin if honest else ODD)
        self.both(calls.Approve(self.evm.contracts[contract], amount), to if to != ZERO20 else ODD)

    @rule(amount=st.sampled_from([0, 5, 10**27]), sender=people)
    def burn(self, amount: int, sender: bytes) -> None:
        self.both(calls.Burn(amount), sender)

    @rule(role=st.sampled_from([1, 2, 3, 4, (1 << 64) - 1]), account=people, honest=st.booleans())
    def grant(self, role: int, account: bytes, honest: bool) -> None:
        self.both(calls.GrantRole(role, account), self.evm.admin if honest else account)

    @rule(
        kind=st.sampled_from([calls.PauseRegistry, calls.UnpauseRegistry, calls.PauseLedger, calls.UnpauseLedger]),
        honest=st.booleans(),
    )  # fmt: skip
    def pause(self, kind: Any, honest: bool) -> None:
        self.both(kind(), PAUSER_KEY.address if honest else ODD)

    # --------------------------------------------------------------------------------------------------------- batches

    @rule(
        count=st.sampled_from([0, 1, 3, 5, 1 << 14, (1 << 14) + 1, (1 << 20) + 1]),
        sender=st.sampled_from([REG, REG, OWN, ODD]), parent=st.sampled_from([2, 2, 3, 1]),
    )  # fmt: skip
    def register_batch(self, count: int, sender: bytes, parent: int) -> None:
        members = membership(self.chain, self.chain.count + 1, min(count, 5), sender, parent)
        if count <= 5 and self.both(calls.RegisterBatch(batch_root(members), count, GENESIS), sender).error == "":
            self.members += members
        elif count > 5:
            self.both(calls.RegisterBatch(GENESIS, count, GENESIS), sender)

    @rule(
        kind=st.sampled_from([calls.AdmitBatch, calls.SuspendBatch, calls.ReinstateBatch, calls.RevokeBatch]),
        sender=st.sampled_from([REG, REG, OWN, ODD]), known=st.booleans(), seed=seeds,
    )  # fmt: skip
    def change_batch(self, kind: Any, sender: bytes, known: bool, seed: int) -> None:
        firsts = list(self.chain.batches) if known and self.chain.batches else [3]
        self.both(kind(Random(seed).choice(firsts)), sender)

    @rule(seed=seeds, flawed=rarely)
    def materialise(self, seed: int, flawed: bool) -> None:
        random = Random(seed)
        if self.members:
            member = random.choice(self.members)
            self.both(altered(member, random) if flawed else member, ODD)

    # ----------------------------------------------------------------------------------------------------------- ledger

    @rule(
        cloud=st.sampled_from([1, 1, 10, 2]), policy=st.sampled_from([POLICY, POLICY, b"", bytes(8192), bytes(8193)]),
        rule_number=st.integers(0, 5), trim=st.sampled_from([0, 0, 1]), width=st.sampled_from([2, 4, 3]),
        size=st.sampled_from([2, 2, 0]), honest=st.booleans(),
    )  # fmt: skip
    def create_task(
        self, cloud: int, policy: bytes, rule_number: int, trim: int, width: int, size: int, honest: bool
    ) -> None:
        self.both(new_task(cloud, 50, rule_number, trim, width, size, policy), PUB if honest else ODD)

    @rule(
        task=tasks, wait=seconds, sender=st.one_of(st.just(NODES[0].address), people),
        flaw=st.sampled_from(
            [{}, {}, {}, {"round": 9}, {"prev": POLICY.ljust(32)}, {"policy": ZERO32}, {"model_in": ZERO32},
             {"forced": GENESIS}]
        ),
    )  # fmt: skip
    def anchor_round(self, task: int, wait: int, sender: bytes, flaw: dict[str, Any]) -> None:
        known = self.chain.task(task)
        links = {"forced": self.chain.forced_chain.get(task, ZERO32)} if known.forced_done else {}
        wish = {"task": task, "round": known.head + 1, "prev": known.last_header, "model_in": known.last_model}
        made = header(**{**wish, **links, **flaw})
        if self.both(calls.AnchorRound(made), sender, wait).error == "":
            self.anchored.append((made, self.evm.now))
            self.both(calls.AnchorRound(made), ODD)

    @rule(
        id=st.sampled_from([1, 2, 4, 11]), grows=st.integers(-1, 4), forked=rarely, flawed=rarely, seed=seeds,
        honest=st.sampled_from([True, True, True, False]),
    )  # fmt: skip
    def checkpoint(self, id: int, grows: int, forked: bool, flawed: bool, seed: int, honest: bool) -> None:
        held = self.chain.logs.get(id, LogState()).size
        kept = self.trees.get(id, [])[:held]
        size = max(held + grows, 0)
        grown = (kept + [sha256(f"{id} {place}".encode()).digest() for place in range(held, size)])[:size]
        if forked and grown:
            grown[0] = GENESIS
        path = tuple(merkle.consistency(grown, held)) if 0 < held <= size else ()
        call = calls.Checkpoint(id, size, merkle.root_over(grown), path)
        call = altered(call, Random(seed)) if flawed else call
        if self.both(call, self.account(id) if honest else ODD).error == "":
            self.trees[id] = grown

    # --------------------------------------------------------------------------------------------------------- arbiters

    @rule(
        kind=st.sampled_from([calls.SetRegistryArbiters, calls.SetLedgerArbiters]), honest=st.booleans(),
        first=st.sampled_from([ZERO20, NODES[13].address]),
    )  # fmt: skip
    def name_arbiters_again(self, kind: Any, honest: bool, first: bytes) -> None:
        self.both(kind(first, NODES[13].address), self.evm.admin if honest else ODD)

    # ---------------------------------------------------------------------------------------------------------- rewards

    @rule(
        wait=seconds, index=st.integers(0, 2), flaw=st.sampled_from([{}, {}, {"cumulative": 1}, {"anchored_at": 1}])
    )  # fmt: skip
    def claim_rewards(self, wait: int, index: int, flaw: dict[str, int]) -> None:
        for made, at in self.anchored[-1:]:
            self.both(claim(made, **{"anchored_at": at, "index": index, **flaw}), ODD, wait)

    @rule(index=st.integers(0, 2), task=st.sampled_from([1, 5]))
    def go_from_header_to_reward(self, index: int, task: int) -> None:
        known = self.chain.task(task)
        forced = self.chain.forced_chain.get(task, ZERO32)
        made = header(task, known.head + 1, known.last_header, known.last_model, forced=forced)
        if self.both(calls.AnchorRound(made), self.account(known.cloud)).error == "":
            self.anchored.append((made, self.evm.now))
            self.both(calls.Fund(task, 60), OWN)
            self.both(claim(made, self.anchored[-1][1], index), ODD, 1_000)

    @rule(seed=seeds, flawed=rarely, wait=st.sampled_from([1, 1_000]), sender=st.sampled_from([PUB, PUB, PUB, ODD]))
    def reclaim(self, seed: int, flawed: bool, wait: int, sender: bytes) -> None:
        random = Random(seed)
        if self.anchored:
            made, at = random.choice(self.anchored)
            known = made.rewards_root == merkle.sum_root(entries(made.round))
            total, tree = merkle.sum_top(entries(made.round)) if known else (0, ZERO32)
            call = calls.Reclaim(made, at, total, tree)
            self.both(calls.CloseTask(made.task), PUB)
            self.both(altered(call, random) if flawed else call, sender, wait)

    @rule(task=tasks, sender=st.sampled_from([PUB, PUB, ODD]), closed=st.booleans())
    def reclaim_unused(self, task: int, sender: bytes, closed: bool) -> None:
        if closed:
            self.both(calls.CloseTask(task), PUB)
        self.both(calls.ReclaimUnused(task), sender)


class Trials(Walk):
    """Rounds with faults in them, and whoever accuses somebody of one."""

    most_accusations: ClassVar[int] = 5

    @rule(
        task=st.sampled_from([2, 2, 3, 4, 5, 5, 5]), fault=st.sampled_from(FAULTS), seed=seeds,
        shape=st.sampled_from([(3,), (1, 2), (2, 16), (18, 1), (35,), (0, 2), (3, 0), ()]),
        roster_block=st.sampled_from([0, 60, 95, 130, 1_000]), accusations=st.integers(0, 5), flawed=rarely,
        wait=st.sampled_from([1, 1, 1_000, 3_601, 90_000]), forced=rarely,
    )  # fmt: skip
    def play_and_accuse(
        self, task: int, fault: str, seed: int, shape: tuple[int, ...], roster_block: int, accusations: int, flawed: bool,
        wait: int, forced: bool,
    ) -> None:  # fmt: skip
        task = self.ready(task)
        if forced:
            wish = {"task": task, "round": self.chain.task(task).head + 1, "edge": self.chain.node(4).parent}
            self.both(direct(self.chain, KEYS[self.account(4)], **wish), ODD)
        edges = [(id, KEYS[self.account(id)]) for id in (2, 3)][: len(shape)]
        scene = play(self.chain, task, edges, shape, fault, seed, entries(self.chain.task(task).head + 1), roster_block)
        if self.both(calls.AnchorRound(scene.header), self.account(1), wait).error == "":
            scene.anchored_at = self.evm.now
            self.anchored.append((scene.header, self.evm.now))
        self.scenes.append(scene)
        for name in possible(scene, Random(seed))[: min(accusations, self.most_accusations)]:
            self.accuse_of(scene, name, Random(seed), flawed)

    def ready(self, task: int) -> int:
        """The task, or another one like it, with a cloud that may go on."""
        if self.chain.node(1).status == Status.SUSPENDED:
            self.both(calls.Reinstate(1), REG)
        known = self.chain.task(task)
        if known.open:
            return task
        wish = new_task(1, 1_000, known.rule, known.trim, known.width)
        return len(self.chain.tasks) if self.both(wish, PUB).error == "" else task

    def accuse_of(self, scene: Scene, name: str, random: Random, flawed: bool, wait: int = 1) -> None:
        call = ACCUSATIONS[name](self.chain, scene, random, KEYS[self.account(1)])
        self.both(altered(call, random) if flawed else call, random.choice([ODD, OWN]), wait)

    @rule(name=st.sampled_from(sorted(ACCUSATIONS)), seed=seeds, flawed=st.booleans(), wait=seconds)
    def accuse(self, name: str, seed: int, flawed: bool, wait: int) -> None:
        random = Random(seed)
        for scene in random.choices(self.scenes[-3:]) if self.scenes else ():
            if name in possible(scene, random):
                self.accuse_of(scene, name, random, flawed, wait)

    @rule(seed=seeds, flawed=rarely, sender=people)
    def collect(self, seed: int, flawed: bool, sender: bytes) -> None:
        random = Random(seed)
        for kind, task, round, accused in random.choices(list(self.chain.verdicts)) if self.chain.verdicts else ():
            call = calls.Collect(kind, task, round, accused)
            self.both(altered(call, random) if flawed else call, sender)


class Sessions(Trials):
    """The same, with the Court in session."""

    most_accusations = 1

    # ------------------------------------------------------------------------------------------------------------- court

    @rule(
        kind=st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4]), seed=seeds, flawed=rarely, spoiled=rarely,
        wait=st.sampled_from([1, 1, 1, 199, 200]), sender=st.sampled_from([ODD, ODD, OWN, PUB]), then_expire=st.booleans(),
    )  # fmt: skip
    def demand_and_answer(
        self, kind: int, seed: int, flawed: bool, spoiled: bool, wait: int, sender: bytes, then_expire: bool
    ) -> None:  # fmt: skip
        random = Random(seed)
        for scene in self.scenes[-1:]:
            if not scene.edges:
                return
            place = random.randrange(len(scene.edges))
            edge = scene.edges[place]
            index = random.choice([0, max(len(edge.leaves) - 1, 0), len(edge.leaves)])
            chunk = random.choice([0, scene.chunks - 1, scene.chunks])
            wish = calls.Demand(scene.header, scene.anchored_at, scene.member(place), kind, index, chunk)
            self.both(altered(wish, random) if flawed else wish, sender)
            id = random.choice([self.chain.disputes, self.chain.disputes, 1])
            answer = self.answer(scene, place, id, kind, index, chunk)
            if answer is not None:
                self.both(altered(answer, random) if spoiled else answer, random.choice([PUB, edge.key.address]), wait)
            if then_expire:
                self.both(calls.Expire(id), ODD, random.choice([1, 200]))

    def answer(self, scene: Scene, place: int, id: int, kind: int, index: int, chunk: int) -> AnyCall | None:
        edge = scene.edges[place]
        if kind == 3:
            return calls.AnswerRoot(id, edge.report, edge.signature)
        if index >= len(edge.leaves):
            return None
        if kind == 1:
            return calls.AnswerLeaf(id, edge.report, edge.placed(index))
        if kind != 2 or chunk >= scene.chunks:
            return None
        tree = chunks.update_tree(edge.integers[index], edge.salts[index], scene.width)
        data = edge.salts[index] + chunks.update_chunk(edge.integers[index], chunk, scene.width)
        return calls.AnswerChunk(id, edge.report, edge.placed(index), chunk, data, tuple(tree.path(chunk)))

    @_one_of(
        _MOTIONS,
        seed=seeds,
        subject=st.integers(0, 7),
        flawed=rarely,
        sender=st.sampled_from([ODD, ODD, NODES[6].address, PUB]),
    )
    def challenge(self, seed: int, subject: int, flawed: bool, sender: bytes) -> None:
        random = Random(seed)
        for of, at in self.anchored[-1:]:
            call = calls.Challenge(of, at, subject, random.choice([GENESIS, of.weights_root, ZERO32]))
            self.both(altered(call, random) if flawed else call, sender)

    @_one_of(
        _MOTIONS, id=st.integers(0, 3), node=ids, wait=seconds, digest=st.sampled_from([GENESIS, ZERO32]), honest=rarely
    )
    def commit(self, id: int, node: int, wait: int, digest: bytes, honest: bool) -> None:
        said = calls.Commit(id, node, commitment(id, node, digest, GENESIS))
        if self.both(said, self.account(node) if not honest else ODD, wait).error == "":
            self.committed.append(calls.Reveal(id, node, digest, GENESIS))

    @_one_of(_MOTIONS, seed=seeds, flawed=rarely, wait=st.sampled_from([1, 1, 99, 100]))
    def reveal(self, seed: int, flawed: bool, wait: int) -> None:
        random = Random(seed)
        if self.committed:
            wish = random.choice(self.committed)
            self.both(altered(wish, random) if flawed else wish, self.account(wish.node), wait)

    @_one_of(_MOTIONS,
        kind=st.sampled_from([calls.Conclude, calls.Lapse, calls.Expire, calls.Decide]), id=st.integers(0, 3),
        wait=st.sampled_from([1, 100, 200]), guilty=st.booleans(), sender=st.sampled_from([COUNCIL_KEY.address, ODD]),
    )  # fmt: skip
    def end_dispute(self, kind: Any, id: int, wait: int, guilty: bool, sender: bytes) -> None:
        self.both(calls.Decide(id, guilty) if kind is calls.Decide else kind(id), sender, wait)

    @_one_of(_MOTIONS, sender=people)
    def withdraw_shares(self, sender: bytes) -> None:
        self.both(calls.WithdrawShares(), sender)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        draw_one(self, data, _MOTIONS)

    @rule(
        subject=st.integers(1, 6), seed=seeds, jury=st.integers(0, 4), verdict=st.sampled_from(["as said", "other", "split"]),
        end=st.sampled_from([calls.Lapse, calls.Decide, None]), guilty=st.booleans(), late=rarely,
    )  # fmt: skip
    def hold_court(
        self, subject: int, seed: int, jury: int, verdict: str, end: Any, guilty: bool, late: bool
    ) -> None:  # fmt: skip
        """A challenge from its beginning to its end."""
        if not self.anchored:
            return
        of, at = self.anchored[-1]
        if self.both(calls.Challenge(of, at, subject, sha256(b"claim").digest()), ODD).error:
            return
        id, challenge = self.chain.disputes, self.chain.challenges[self.chain.disputes]
        reveals = []
        for place, node in enumerate((2, 7, 8, 9)[:jury]):
            other = verdict == "other" or (verdict == "split" and place == jury - 1)
            digest = GENESIS if other else challenge.committed
            self.both(calls.Commit(id, node, commitment(id, node, digest, GENESIS)), self.account(node))
            reveals.append((calls.Reveal(id, node, digest, GENESIS), self.account(node)))
        self.both(calls.Burn(0), ODD, self.evm.terms.commit_seconds + late)
        for wish, sender in reveals:
            self.both(wish, sender)
        self.both(calls.Conclude(id), PUB, self.evm.terms.reveal_seconds)
        if end is not None:
            wait = self.evm.terms.council_seconds if end is calls.Lapse else 1
            self.both(calls.Decide(id, guilty) if end is calls.Decide else end(id), COUNCIL_KEY.address, wait)
        for _, sender in reveals[:2]:
            self.both(calls.WithdrawShares(), sender)
