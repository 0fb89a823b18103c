"""One suite for both ledgers: the specification in Python and the contracts on a chain refuse, emit and remember alike.

Named cases state each function's main refusals; random walks (`devnet.conformance`) compare the two after every step, down
to the bytes of the logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

import msgspec
import pytest

from devnet.conformance import (
    FIRST,
    GENESIS,
    LATER,
    NET_KEYS,
    NODES,
    ODD,
    OWN,
    OWNER,
    PAUSER_KEY,
    POLICY,
    PUB,
    REG,
    SECOND,
    STRANGER,
    EvmWorld,
    SpecificationWorld,
    Step,
    World,
    claim,
    new_task,
    opening,
    registration,
    rotation,
    specification,
)
from devnet.evm import Evm
from ledger import calls, events
from ledger.calls import AnyCall
from ledger.events import decode_event
from ledger.spec import PAUSER, PUBLISHER, REGISTRAR
from middleware.trust import merkle
from middleware.trust.eip712 import header_hash
from middleware.trust.keys import AccountKey
from middleware.types import ZERO20, ZERO32, Header

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
CLOUD, EDGE = NODES[0].address, NODES[1].address


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
        is_(new_task()), REG, "NotAuthorised", REG, PUBLISHER
    ),
    "create a task for an edge": case(is_(new_task(2)), PUB, "NotActive", 2),
    "create a task without a policy": case(is_(new_task(policy=b"")), PUB, "BadPolicy"),
    "create a task with a long policy": case(is_(new_task(policy=bytes(8193))), PUB, "BadPolicy"),
    "create a task while paused": case(
        is_(new_task()), PUB, "Paused",
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
        take(path=bytes(48 * 41)), ODD, "PathTooLong", 41, before=before_claim
    ),
    "claim with a byte too many": case(take(path=bytes(48 * 40 + 1)), ODD, "PathTooLong", 40, before=before_claim),
    "claim with a step too few": case(take(path=bytes(48)), ODD, "BadProof", before=before_claim),
    "claim with half a step": case(take(path=bytes(48 + 24)), ODD, "BadProof", before=before_claim),
    "claim of another header": case(take(header_hash=GENESIS), ODD, "NotFinal", 1, 1, before=before_claim),
    "claim of a round to come": case(take(round=2), ODD, "NotFinal", 1, 2, before=before_claim),
    "claim of another task": case(take(task=2), ODD, "NotFinal", 2, 1, before=before_claim),
    "claim more": case(take(cumulative=11), ODD, "NotFinal", 1, 1, before=before_claim),
    "claim at another place": case(take(index=1, node=1, cumulative=10), ODD, "NotFinal", 1, 1, before=before_claim),
    "claim past the tree": case(take(size=0), ODD, "BadProof", before=before_claim),
    "claim sums past 128 bits": case(take(path=b"\xff" * 16 + bytes(80)), ODD, "BadProof", before=before_claim),
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
    wish = calls.Claim(1, 2, header_hash(second), stage.world.now, 2, 15, 0, 1, b"")
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
