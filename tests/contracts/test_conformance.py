"""One suite for both ledgers: the specification in Python and the contracts on a chain refuse, emit and remember alike.

Named cases state each function's main refusals; a random walk compares the two after every step, down to the bytes of
the logs. The chain's clock is set before every transaction, so both see the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ledger import calls, events
from ledger.calls import AnyCall
from ledger.events import Event, decode_event, encode_event
from ledger.spec import PAUSER, PUBLISHER, REGISTRAR, Specification
from middleware.errors import LedgerRefused
from middleware.trust import merkle
from middleware.trust.eip712 import header_hash, registration_digest, rotation_digest
from middleware.trust.keys import AccountKey
from middleware.types import ZERO20, ZERO32, Header

Log = tuple[bytes, tuple[bytes, ...], bytes]

POLICY: Final = b'{"rounds":3}'
GENESIS: Final = sha256(b"genesis").digest()
LATER: Final = 10**6  # seconds: a deadline that no walk reaches


class Evm(Protocol):
    """conftest's."""

    chain_id: int
    admin: bytes
    min_stake: tuple[int, int, int]
    unbonding_seconds: int
    contracts: dict[str, bytes]
    block: int
    now: int

    def send(self, contract: str, function: str, arguments: Sequence[object], sender: bytes, now: int) -> list[Log]: ...
    def view(self, contract: str, function: str, *arguments: object) -> list[object]: ...
    def snapshot(self) -> tuple[str, int, int]: ...
    def revert(self, snapshot: tuple[str, int, int]) -> None: ...


def named(name: str) -> AccountKey:
    return AccountKey(sha256(name.encode()).digest())


REGISTRAR_KEY, PUBLISHER_KEY, PAUSER_KEY = named("registrar"), named("publisher"), named("pauser")
NODES: Final = [named(f"node {number}") for number in range(4)]
OWNER, STRANGER = named("owner"), named("stranger")
PEOPLE: Final = [key.address for key in (REGISTRAR_KEY, PUBLISHER_KEY, PAUSER_KEY, OWNER, STRANGER, *NODES)]
NET_KEYS: Final = [sha256(f"network {number}".encode()).digest() for number in range(6)]


def specification(evm: Evm) -> Specification:
    return Specification(evm.chain_id, evm.contracts, evm.admin, evm.min_stake, evm.unbonding_seconds)


class Step(msgspec.Struct, frozen=True):
    """What one call did: the logs, or the custom error."""

    logs: tuple[Log, ...] = ()
    error: str = ""
    arguments: tuple[object, ...] = ()


class SpecificationWorld:
    def __init__(self, evm: Evm) -> None:
        self.specification, self.contracts = specification(evm), evm.contracts
        self.block, self.now = evm.block, evm.now

    def act(self, call: AnyCall, sender: bytes, now: int) -> Step:
        self.block, self.now = self.block + 1, now
        try:
            happened = self.specification.apply(call, sender, now, self.block)
        except LedgerRefused as refused:
            return Step((), refused.name, refused.arguments)
        return Step(tuple(self._log(call, event) for event in happened))

    def _log(self, call: AnyCall, event: Event) -> Log:
        tokens = type(event).__name__ in ("Transfer", "Approval")
        return self.contracts["Credit" if tokens else call.contract], *encode_event(event)


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


# --------------------------------------------------------------------------------------------------------------- calls


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
    path = merkle.sum_path(promised, index)
    wish: dict[str, Any] = {
        "header": of, "anchored_at": anchored_at, "node": promised[index][0], "cumulative": promised[index][1],
        "index": index, "size": len(promised), "sums": tuple(step[0] for step in path),
        "hashes": tuple(step[1] for step in path), **changes,
    }  # fmt: skip
    return calls.Claim(**wish)


FIRST: Final = header(1, 1, ZERO32, GENESIS)
SECOND: Final = header(1, 2, header_hash(FIRST), FIRST.model_out)


def opening(evm: Evm, chain: Specification, deadline: int) -> list[tuple[AnyCall, bytes]]:
    """Roles; an active cloud 1, a pending edge 2 with an owner; task 1 of that cloud, window 100 s; some credit."""
    registrar, publisher, owner = REGISTRAR_KEY.address, PUBLISHER_KEY.address, OWNER.address
    return [
        (calls.GrantRole(REGISTRAR, registrar), evm.admin),
        (calls.GrantRole(PUBLISHER, publisher), evm.admin),
        (calls.GrantRole(PAUSER, PAUSER_KEY.address), evm.admin),
        (registration(chain, deadline), registrar),
        (registration(chain, deadline, node=1, key=1, tier=2, parent=1, owner=owner), owner),
        (calls.CreateTask(1, 100, GENESIS, POLICY), publisher),
        (calls.Mint(owner, 1_000), evm.admin),
        (calls.Approve(evm.contracts["Registry"], 500), owner),
        (calls.Approve(evm.contracts["Rewards"], (1 << 256) - 1), owner),
    ]


# --------------------------------------------------------------------------------------------------------------- cases


class Stage:
    """One world after the opening. `chain` only says which domain a signature is for."""

    def __init__(self, evm: Evm, world: World) -> None:
        self.evm, self.world, self.chain = evm, world, specification(evm)
        self.deadline = evm.now + LATER
        self.anchored_at = 0
        for call, sender in opening(evm, self.chain, self.deadline):
            self.succeed(call, sender)

    def act(self, call: AnyCall, sender: bytes, seconds: int = 1) -> Step:
        return self.world.act(call, sender, self.world.now + seconds)

    def succeed(self, call: AnyCall, sender: bytes, seconds: int = 1) -> list[str]:
        """The names of the events."""
        step = self.act(call, sender, seconds)
        assert step.error == "", f"{call} was refused: {step.error}{step.arguments}"
        return [type(decode_event(topics, data)).__name__ for _, topics, data in step.logs]

    def anchor(self) -> None:
        self.succeed(calls.AnchorRound(FIRST), NODES[0].address)
        self.anchored_at = self.world.now

    def fund(self, amount: int) -> None:
        self.succeed(calls.Fund(1, amount), OWNER.address)


@pytest.fixture(params=["specification", "evm"])
def stage(request: pytest.FixtureRequest, evm: Evm) -> Iterator[Stage]:
    before = evm.snapshot()
    yield Stage(evm, SpecificationWorld(evm) if request.param == "specification" else EvmWorld(evm))
    evm.revert(before)


Case = tuple[Callable[[Stage], object], Callable[[Stage], AnyCall], bytes, str, Callable[[Stage], tuple[object, ...]]]

NOTHING: Final[Callable[[Stage], object]] = lambda stage: None  # noqa: E731
REG, PUB, CLOUD, EDGE, OWN = (
    REGISTRAR_KEY.address,
    PUBLISHER_KEY.address,
    NODES[0].address,
    NODES[1].address,
    OWNER.address,
)
ODD: Final = STRANGER.address


def case(
    call: Callable[[Stage], AnyCall],
    sender: bytes,
    error: str,
    *arguments: object,
    before: Callable[[Stage], object] = NOTHING,
) -> Any:
    def expected(stage: Stage) -> tuple[object, ...]:
        return tuple(argument(stage) if callable(argument) else argument for argument in arguments)

    return before, call, sender, error, expected


def join(**changes: Any) -> Callable[[Stage], AnyCall]:
    return lambda stage: registration(stage.chain, **{"deadline": stage.deadline, "node": 2, "key": 2, **changes})


def anchor(of: Header = FIRST, **changes: Any) -> Callable[[Stage], AnyCall]:
    return lambda stage: calls.AnchorRound(msgspec.structs.replace(of, **changes))


def before_claim(stage: Stage, funded: int = 1_000, seconds: int = 100) -> None:
    if funded:
        stage.fund(funded)
    stage.anchor()
    stage.succeed(calls.Approve(ODD, 1), ODD, seconds)


def claimed_once(stage: Stage) -> None:
    before_claim(stage)
    stage.succeed(take()(stage), ODD)


def take(index: int = 0, **changes: Any) -> Callable[[Stage], AnyCall]:
    return lambda stage: claim(FIRST, **{"anchored_at": stage.anchored_at, "index": index, **changes})


def rotate(id: int = 1, key: int = 3, signer: AccountKey = NODES[0], **changes: Any) -> Callable[[Stage], AnyCall]:
    return lambda stage: rotation(
        stage.chain, **{"deadline": stage.deadline, "id": id, "key": key, "signer": signer, **changes}
    )


def does(call: AnyCall, sender: bytes) -> Callable[[Stage], object]:
    return lambda stage: stage.succeed(call, sender)


def is_(call: AnyCall) -> Callable[[Stage], AnyCall]:
    return lambda stage: call


CASES: Final[dict[str, Any]] = {
    "register while paused": case(join(), REG, "Paused", before=does(calls.PauseRegistry(), PAUSER_KEY.address)),
    "register too late": case(join(deadline=5), REG, "Expired", 5),
    "register below the tiers": case(join(tier=0), REG, "BadTier", 0),
    "register above the tiers": case(join(tier=4), REG, "BadTier", 4),
    "register a cloud below a cloud": case(join(parent=1), REG, "BadParent", 1, 3),
    "register an end below a cloud": case(join(tier=1, parent=1), REG, "BadParent", 1, 1),
    "register an edge below nobody": case(join(tier=2), REG, "BadParent", 0, 2),
    "register below a revoked node": case(
        join(tier=2, parent=1), REG, "BadParent", 1, 2, before=does(calls.Revoke(1), REG)
    ),
    "register without a key": case(join(net_key=ZERO32), REG, "BadKey"),
    "register with a short proof": case(join(net_key_proof=bytes(63)), REG, "BadKey"),
    "register without a name": case(join(name=ZERO32), REG, "BadName"),
    "register a key twice": case(join(key=0), REG, "KeyTaken", NET_KEYS[0]),
    "register an account twice": case(join(node=0), REG, "AccountTaken", CLOUD),
    "register for another owner": case(join(owner=OWN), REG, "NotOwner", REG),
    "register with another's signature": case(join(signer=STRANGER), REG, "BadSignature"),
    "register with no signature": case(join(account_signature=b""), REG, "BadSignature"),
    "register with a recovery byte of 0": case(join(account_signature=bytes(65)), REG, "BadSignature"),
    "admit nobody": case(is_(calls.Admit(7)), REG, "UnknownNode", 7),
    "admit without the role": case(is_(calls.Admit(2)), OWN, "NotAuthorised", OWN, REGISTRAR),
    "admit twice": case(is_(calls.Admit(1)), REG, "BadStatus", 1, 2),
    "suspend without the role": case(is_(calls.Suspend(1)), OWN, "NotAuthorised", OWN, REGISTRAR),
    "suspend what is pending": case(is_(calls.Suspend(2)), OWN, "BadStatus", 2, 1),
    "reinstate as the owner": case(is_(calls.Reinstate(2)), OWN, "NotAuthorised", OWN, REGISTRAR),
    "reinstate what is active": case(is_(calls.Reinstate(1)), REG, "BadStatus", 1, 2),
    "revoke without the role": case(is_(calls.Revoke(1)), ODD, "NotAuthorised", ODD, REGISTRAR),
    "revoke twice": case(is_(calls.Revoke(2)), OWN, "BadStatus", 2, 4, before=does(calls.Revoke(2), OWN)),
    "rotate nobody's key": case(rotate(id=9), ODD, "UnknownNode", 9),
    "rotate a revoked node's key": case(rotate(), ODD, "BadStatus", 1, 4, before=does(calls.Revoke(1), REG)),
    "rotate too late": case(rotate(deadline=5), ODD, "Expired", 5),
    "rotate with a long proof": case(rotate(proof=bytes(65)), ODD, "BadKey"),
    "rotate to a used key": case(rotate(key=1), ODD, "KeyTaken", NET_KEYS[1]),
    "rotate with another's signature": case(rotate(signer=STRANGER), ODD, "BadSignature"),
    "rotate with another nonce": case(rotate(nonce=1), ODD, "BadSignature"),
    "propose for another": case(is_(calls.ProposeAccount(1, ODD)), ODD, "NotOwner", ODD),
    "accept unasked": case(is_(calls.AcceptAccount(1)), ODD, "NotOwner", ODD),
    "accept with a used account": case(
        is_(calls.AcceptAccount(1)), EDGE, "AccountTaken", EDGE, before=does(calls.ProposeAccount(1, EDGE), CLOUD)
    ),
    "describe another": case(is_(calls.SetMeta(1, GENESIS)), ODD, "NotOwner", ODD),
    "describe nobody": case(is_(calls.SetMeta(9, GENESIS)), ODD, "UnknownNode", 9),
    "stake on nobody": case(is_(calls.Stake(9, 1)), OWN, "UnknownNode", 9),
    "stake on the revoked": case(is_(calls.Stake(2, 1)), OWN, "BadStatus", 2, 4, before=does(calls.Revoke(2), OWN)),
    "stake more than was approved": case(
        is_(calls.Stake(2, 501)), OWN, "ERC20InsufficientAllowance", lambda s: s.evm.contracts["Registry"], 500, 501
    ),
    "stake more than 96 bits": case(
        is_(calls.Stake(2, 1 << 96)), OWN, "SafeCastOverflowedUintDowncast", 96, 1 << 96
    ),
    "stake so much that the sum overflows": case(
        is_(calls.Stake(2, (1 << 96) - 1)), OWN, "Panic", 0x11, before=does(calls.Stake(2, 1), OWN)
    ),
    "unstake another's": case(is_(calls.Unstake(2, 1)), EDGE, "NotOwner", EDGE),
    "unstake more than there is": case(is_(calls.Unstake(2, 1)), OWN, "InsufficientStake", 2, 0),
    "unstake below the least while active": case(
        is_(calls.Unstake(2, 1)), OWN, "InsufficientStake", 2, 100, before=does(calls.Stake(2, 100), OWN)
    ),
    "withdraw too early": case(
        is_(calls.Withdraw(2)), OWN, "StillBonded", lambda s: s.world.now - 1 + 600,
        before=lambda s: (does(calls.Stake(2, 9), OWN)(s), does(calls.Unstake(2, 9), OWN)(s)),
    ),
    "withdraw nothing": case(is_(calls.Withdraw(2)), OWN, "InsufficientStake", 2, 0),
    "pause the registry without the role": case(is_(calls.PauseRegistry()), REG, "NotAuthorised", REG, PAUSER),
    "unpause the ledger without the role": case(is_(calls.UnpauseLedger()), REG, "NotAuthorised", REG, PAUSER),
    "create a task without the role": case(
        is_(calls.CreateTask(1, 1, GENESIS, POLICY)), REG, "NotAuthorised", REG, PUBLISHER
    ),
    "create a task for an edge": case(is_(calls.CreateTask(2, 1, GENESIS, POLICY)), PUB, "NotActive", 2),
    "create a task without a policy": case(is_(calls.CreateTask(1, 1, GENESIS, b"")), PUB, "BadPolicy"),
    "create a task with a long policy": case(is_(calls.CreateTask(1, 1, GENESIS, bytes(8193))), PUB, "BadPolicy"),
    "create a task while paused": case(
        is_(calls.CreateTask(1, 1, GENESIS, POLICY)), PUB, "Paused",
        before=does(calls.PauseLedger(), PAUSER_KEY.address),
    ),
    "close nothing": case(is_(calls.CloseTask(9)), PUB, "UnknownTask", 9),
    "close another's task": case(is_(calls.CloseTask(1)), ODD, "NotAuthorised", ODD, PUBLISHER),
    "close twice": case(is_(calls.CloseTask(1)), CLOUD, "TaskClosed", 1, before=does(calls.CloseTask(1), PUB)),
    "anchor in no task": case(anchor(task=9), CLOUD, "UnknownTask", 9),
    "anchor as another": case(anchor(), ODD, "NotCloud", ODD),
    "anchor while suspended": case(anchor(), CLOUD, "NotCloud", CLOUD, before=does(calls.Suspend(1), REG)),
    "anchor in a closed task": case(anchor(), CLOUD, "TaskClosed", 1, before=does(calls.CloseTask(1), PUB)),
    "anchor too far ahead": case(anchor(SECOND), CLOUD, "WrongRound", 1, 2),
    "anchor a second header": case(anchor(model_out=GENESIS), CLOUD, "WrongRound", 2, 1, before=Stage.anchor),
    "anchor after another header": case(
        anchor(SECOND, prev=GENESIS), CLOUD, "WrongPrev", header_hash(FIRST), before=Stage.anchor
    ),
    "anchor under another policy": case(anchor(policy=GENESIS), CLOUD, "WrongPolicy", sha256(POLICY).digest()),
    "anchor from another model": case(anchor(model_in=ZERO32), CLOUD, "WrongModel", GENESIS),
    "fund nothing": case(is_(calls.Fund(2, 1)), OWN, "UnknownTask", 2),
    "fund without an allowance": case(
        is_(calls.Fund(1, 1)), ODD, "ERC20InsufficientAllowance", lambda s: s.evm.contracts["Rewards"], 0, 1
    ),
    "fund without a balance": case(is_(calls.Fund(1, 1_001)), OWN, "ERC20InsufficientBalance", OWN, 1_000, 1_001),
    "claim too early": case(take(), ODD, "NotFinal", 1, 1, before=lambda s: before_claim(s, seconds=98)),
    "claim at another time": case(take(anchored_at=5), ODD, "NotFinal", 1, 1, before=before_claim),
    "claim with a long path": case(
        take(sums=(0,) * 41, hashes=(ZERO32,) * 41), ODD, "PathTooLong", 41, before=before_claim
    ),
    "claim with one sum too few": case(take(sums=()), ODD, "BadProof", before=before_claim),
    "claim more": case(take(cumulative=11), ODD, "BadProof", before=before_claim),
    "claim at another place": case(take(index=1, node=1, cumulative=10), ODD, "BadProof", before=before_claim),
    "claim past the tree": case(take(size=0), ODD, "BadProof", before=before_claim),
    "claim sums past 128 bits": case(take(sums=((1 << 128) - 1, 1)), ODD, "BadProof", before=before_claim),
    "claim for nobody": case(take(2), ODD, "UnknownNode", 99, before=before_claim),
    "claim twice": case(
        take(), ODD, "NothingToClaim", 1, before=claimed_once
    ),
    "claim from a pool that is too small": case(
        take(), ODD, "PoolExceeded", 1, 20, 19, before=lambda s: before_claim(s, funded=19)
    ),
    "mint without the role": case(is_(calls.Mint(ODD, 1)), OWN, "NotAuthorised", OWN, 0),
    "mint past the cap": case(
        is_(calls.Mint(ODD, 10**27)), bytes.fromhex("a0" * 20), "ERC20ExceededCap", 10**27 + 1_000, 10**27
    ),
    "mint past 256 bits": case(is_(calls.Mint(ODD, (1 << 256) - 1)), bytes.fromhex("a0" * 20), "Panic", 0x11),
    "mint for nobody": case(is_(calls.Mint(ZERO20, 1)), bytes.fromhex("a0" * 20), "ERC20InvalidReceiver", ZERO20),
    "approve nobody": case(is_(calls.Approve(ZERO20, 1)), OWN, "ERC20InvalidSpender", ZERO20),
    "grant without the role": case(is_(calls.GrantRole(1, ODD)), ODD, "AccessManagerUnauthorizedAccount", ODD, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_both_ledgers_refuse_to(name: str, stage: Stage) -> None:
    before, call, sender, error, arguments = CASES[name]
    before(stage)
    wanted = call(stage)
    step = stage.act(wanted, sender)
    assert (step.error, step.arguments) == (error, arguments(stage))


def test_both_ledgers_accept_the_whole_life_of_a_task(stage: Stage) -> None:
    before_claim(stage)
    assert stage.succeed(take()(stage), ODD) == ["Claimed", "Transfer"]
    assert stage.succeed(calls.AnchorRound(FIRST), ODD) == []
    assert stage.succeed(calls.AnchorRound(SECOND), CLOUD) == ["RoundAnchored"]
    assert stage.succeed(calls.CloseTask(1), CLOUD) == ["TaskEnded"]
    assert stage.succeed(calls.AnchorRound(SECOND), CLOUD) == []


def test_both_ledgers_accept_the_whole_life_of_a_node(stage: Stage) -> None:
    assert stage.succeed(calls.Stake(2, 100), OWN) == ["Staked", "StatusChanged", "Transfer"]
    assert stage.succeed(rotate(id=2, signer=NODES[1])(stage), ODD) == ["KeyRotated"]
    assert stage.succeed(rotate(id=2, key=4, signer=NODES[1], nonce=1)(stage), ODD) == ["KeyRotated"]
    assert stage.succeed(calls.ProposeAccount(2, NODES[3].address), EDGE) == ["AccountProposed"]
    assert stage.succeed(calls.AcceptAccount(2), NODES[3].address) == ["AccountRotated"]
    assert stage.succeed(calls.SetMeta(2, GENESIS), OWN) == ["MetaChanged"]
    assert stage.succeed(calls.Suspend(2), OWN) == ["StatusChanged"]
    assert stage.succeed(calls.Reinstate(2), REG) == ["StatusChanged"]
    assert stage.succeed(calls.Revoke(2), OWN) == ["StatusChanged"]
    assert stage.succeed(calls.Unstake(2, 100), OWN) == ["Unbonding"]
    assert stage.succeed(calls.Withdraw(2), OWN, seconds=600) == ["Withdrawn", "Transfer"]


def test_both_ledgers_leave_admission_to_a_registrar_where_the_least_stake_is_zero(stage: Stage) -> None:
    stage.succeed(join()(stage), ODD)
    assert stage.succeed(calls.Stake(3, 100), OWN) == ["Staked", "Transfer"]
    assert stage.succeed(calls.Admit(3), REG) == ["StatusChanged"]


def test_both_ledgers_keep_a_pool_from_paying_more_over_several_roots_than_it_holds(stage: Stage) -> None:
    """Either root alone promises less than the pool; what was paid under the first counts against the second."""
    before_claim(stage, funded=20)
    assert stage.succeed(take()(stage), ODD) == ["Claimed", "Transfer"]
    second = msgspec.structs.replace(SECOND, rewards_root=merkle.sum_root([(2, 15)]))
    stage.succeed(calls.AnchorRound(second), CLOUD)
    wish = calls.Claim(second, stage.world.now, 2, 15, 0, 1, (), ())
    assert stage.act(wish, ODD, 100) == Step((), "PoolExceeded", (1, 25, 20))
    stage.fund(5)
    assert stage.succeed(wish, ODD) == ["Claimed", "Transfer"]


def test_both_ledgers_bond_what_is_unstaked_in_parts_as_one_sum_from_the_last_part_on(stage: Stage) -> None:
    stage.succeed(calls.Stake(2, 300), OWN)
    stage.succeed(calls.Unstake(2, 100), OWN)
    stage.succeed(calls.Unstake(2, 60), OWN)
    until = stage.world.now + 600
    assert stage.act(calls.Withdraw(2), OWN, 599) == Step((), "StillBonded", (until,))
    step = stage.act(calls.Withdraw(2), OWN)
    assert [decode_event(topics, data) for _, topics, data in step.logs] == [
        events.Withdrawn(2, 160), events.Transfer(stage.evm.contracts["Registry"], OWN, 160),
    ]  # fmt: skip


def test_both_ledgers_never_admit_by_stake_where_the_least_is_nothing(stage: Stage) -> None:
    stage.succeed(join(tier=1, parent=2, owner=OWN)(stage), OWN)
    assert stage.succeed(calls.Stake(3, 400), OWN) == ["Staked", "Transfer"]


def test_both_ledgers_give_stake_back_that_never_admitted(stage: Stage) -> None:
    """An edge that a registrar admitted may hold less than the least, and take that back while it is active."""
    stage.succeed(calls.Admit(2), REG)
    stage.succeed(calls.Stake(2, 50), OWN)
    assert stage.succeed(calls.Unstake(2, 20), OWN) == ["Unbonding"]


def test_both_ledgers_forget_a_proposed_account_once_it_is_accepted(stage: Stage) -> None:
    stage.succeed(calls.ProposeAccount(2, ODD), OWN)
    stage.succeed(calls.AcceptAccount(2), ODD)
    assert stage.act(calls.AcceptAccount(2), ODD) == Step((), "NotOwner", (ODD,))


# ---------------------------------------------------------------------------------------------------------------- walk

people = st.sampled_from(PEOPLE)
ids = st.integers(0, 4)
seconds = st.sampled_from([1, 2, 99, 100, 600])


class Walk(RuleBasedStateMachine):
    """Random calls, sensible and not, made to both. `evm` is set by the test that runs the walk."""

    evm: Evm

    def __init__(self) -> None:
        super().__init__()
        self.before = self.evm.snapshot()
        self.deadline = self.evm.now + LATER
        self.left, self.right = SpecificationWorld(self.evm), EvmWorld(self.evm)
        self.chain = self.left.specification
        self.anchored: list[tuple[Header, int]] = []

    @initialize()
    def open(self) -> None:
        for call, sender in opening(self.evm, self.chain, self.deadline):
            assert self.both(call, sender, 1).error == ""

    def both(self, call: AnyCall, sender: bytes, wait: int) -> Step:
        now = self.evm.now + wait
        left, right = self.left.act(call, sender, now), self.right.act(call, sender, now)
        assert left == right, f"{call} by {sender.hex()}: the specification says {left}, the contracts {right}"
        return left

    def teardown(self) -> None:
        self.evm.revert(self.before)

    @rule(
        node=st.integers(0, 3), key=st.integers(0, 5), tier=st.integers(0, 4), parent=ids, sender=people, wait=seconds,
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

    @rule(node=st.integers(1, 3), key=st.integers(1, 5), wait=seconds)
    def register_well(self, node: int, key: int, wait: int) -> None:
        self.both(registration(self.chain, self.deadline, node, key, tier=2, parent=1), REG, wait)

    @rule(
        kind=st.sampled_from([calls.Admit, calls.Suspend, calls.Reinstate, calls.Revoke, calls.AcceptAccount]),
        id=ids, sender=st.one_of(people, st.just(REG), st.just(OWN)), wait=seconds,
    )  # fmt: skip
    def change_status(self, kind: Any, id: int, sender: bytes, wait: int) -> None:
        self.both(kind(id), sender, wait)

    @rule(id=ids, key=st.integers(0, 5), signer=st.sampled_from(NODES), nonce=st.integers(0, 1), late=st.booleans())
    def rotate_key(self, id: int, key: int, signer: AccountKey, nonce: int, late: bool) -> None:
        self.both(rotation(self.chain, self.evm.now if late else self.deadline, id, key, signer, nonce), ODD, 1)

    @rule(id=ids, account=people, sender=people)
    def propose_account(self, id: int, account: bytes, sender: bytes) -> None:
        if self.both(calls.ProposeAccount(id, account), sender, 1).error == "":
            self.both(calls.AcceptAccount(id), account, 1)

    @rule(id=ids, meta=st.sampled_from([GENESIS, ZERO32]), sender=people)
    def describe(self, id: int, meta: bytes, sender: bytes) -> None:
        self.both(calls.SetMeta(id, meta), sender, 1)

    @rule(
        kind=st.sampled_from([calls.Stake, calls.Unstake, calls.Fund, calls.Withdraw]), id=ids,
        amount=st.sampled_from([0, 1, 30, 99, 100, 101, 1_000, 1 << 96, (1 << 256) - 1]),
        sender=st.one_of(st.just(OWN), people), wait=seconds,
    )  # fmt: skip
    def move_money(self, kind: Any, id: int, amount: int, sender: bytes, wait: int) -> None:
        self.both(kind(id) if kind is calls.Withdraw else kind(id, amount), sender, wait)

    @rule(
        to=st.one_of(people, st.just(ZERO20)), amount=st.sampled_from([0, 50, 10**27, (1 << 256) - 1]),
        contract=st.sampled_from(["Registry", "Rewards"]), honest=st.booleans(),
    )  # fmt: skip
    def mint_and_approve(self, to: bytes, amount: int, contract: str, honest: bool) -> None:
        self.both(calls.Mint(to, amount), self.evm.admin if honest else ODD, 1)
        self.both(calls.Approve(self.evm.contracts[contract], amount), to if to != ZERO20 else ODD, 1)

    @rule(role=st.sampled_from([1, 2, 4, (1 << 64) - 1]), account=people, honest=st.booleans())
    def grant(self, role: int, account: bytes, honest: bool) -> None:
        self.both(calls.GrantRole(role, account), self.evm.admin if honest else account, 1)

    @rule(
        kind=st.sampled_from([calls.PauseRegistry, calls.UnpauseRegistry, calls.PauseLedger, calls.UnpauseLedger]),
        honest=st.booleans(),
    )  # fmt: skip
    def pause(self, kind: Any, honest: bool) -> None:
        self.both(kind(), PAUSER_KEY.address if honest else ODD, 1)

    @rule(cloud=ids, policy=st.sampled_from([POLICY, b"", bytes(8192), bytes(8193)]), honest=st.booleans())
    def create_task(self, cloud: int, policy: bytes, honest: bool) -> None:
        self.both(calls.CreateTask(cloud, 50, GENESIS, policy), PUB if honest else ODD, 1)

    @rule(task=ids, sender=people)
    def close_task(self, task: int, sender: bytes) -> None:
        self.both(calls.CloseTask(task), sender, 1)

    @rule(
        task=st.sampled_from([1, 1, 1, 2, 9]), wait=seconds, sender=st.one_of(st.just(CLOUD), people),
        flaw=st.sampled_from(
            [{}, {}, {}, {"round": 9}, {"prev": POLICY.ljust(32)}, {"policy": ZERO32}, {"model_in": ZERO32}]
        ),
    )  # fmt: skip
    def anchor_round(self, task: int, wait: int, sender: bytes, flaw: dict[str, Any]) -> None:
        known = self.chain.task(task)
        wish = {"task": task, "round": known.head + 1, "prev": known.last_header, "model_in": known.last_model, **flaw}
        made = header(**wish)
        if self.both(calls.AnchorRound(made), sender, wait).error == "":
            self.anchored.append((made, self.evm.now))
            self.both(calls.AnchorRound(made), ODD, 1)

    @rule(wait=seconds, index=st.integers(0, 2), flaw=st.sampled_from([{}, {}, {"cumulative": 1}, {"anchored_at": 1}]))
    def claim_rewards(self, wait: int, index: int, flaw: dict[str, int]) -> None:
        for made, at in self.anchored[-1:]:
            self.both(claim(made, **{"anchored_at": at, "index": index, **flaw}), ODD, wait)

    @rule(index=st.integers(0, 2))
    def go_from_header_to_reward(self, index: int) -> None:
        known = self.chain.task(1)
        made = header(1, known.head + 1, known.last_header, known.last_model)
        if self.both(calls.AnchorRound(made), self.chain.node(known.cloud).account, 1).error == "":
            self.anchored.append((made, self.evm.now))
            self.both(calls.Mint(OWN, 60), self.evm.admin, 1)
            self.both(calls.Fund(1, 60), OWN, 1)
            self.both(claim(made, self.anchored[-1][1], index), ODD, 100)

    @invariant()
    def remember_the_same(self) -> None:
        view, chain = self.evm.view, self.chain
        assert view("Registry", "count") == [len(chain.nodes)]
        assert view("Ledger", "count") == [len(chain.tasks)]
        assert view("Registry", "paused") + view("Ledger", "paused") == list(chain.paused.values())
        for id in chain.nodes:
            assert view("Registry", "node", id) == [camel(chain.node(id))]
            assert view("Registry", "proposedAccount", id) == [chain.proposed.get(id, ZERO20)]
        for id in chain.tasks:
            assert view("Ledger", "task", id) == [{"forcedCount": 0, "openDisputes": 0, **camel(chain.task(id))}]
            assert view("Rewards", "funded", id) == [chain.funded.get(id, 0)]
            assert view("Rewards", "paid", id) == [chain.paid.get(id, 0)]
            assert view("Rewards", "claimed", id, 1) == [chain.claimed.get((id, 1), 0)]
        for made, at in self.anchored[-1:]:
            values = msgspec.structs.astuple(made)
            assert view("Ledger", "record", made.task, made.round) == [chain.records[made.task, made.round]]
            assert view("Ledger", "isFinal", values, at) == [chain.is_final(made, at, self.evm.now)]
        assert view("Credit", "totalSupply") == [chain.token.supply]
        for account in (OWN, *list(self.evm.contracts.values())[2:]):
            assert view("Credit", "balanceOf", account) == [chain.token.balance(account)]

    @invariant()
    def know_who_uses_what(self) -> None:
        for account in PEOPLE:
            assert self.evm.view("Registry", "idOfAccount", account) == [self.chain.id_of_account.get(account, 0)]
        for key in NET_KEYS:
            assert self.evm.view("Registry", "idOfKey", key) == [self.chain.id_of_key.get(key, 0)]


def camel(state: msgspec.Struct) -> dict[str, object]:
    """A state's fields under their Solidity names."""

    def renamed(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return {renamed(name): value for name, value in msgspec.structs.asdict(state).items()}


def test_both_ledgers_agree_on_random_walks(evm: Evm) -> None:
    walk = type("Walk", (Walk,), {"evm": evm})
    bounds = settings(max_examples=20, stateful_step_count=15, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(walk, settings=bounds)
