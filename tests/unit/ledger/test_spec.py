"""The specification by itself; that it is the contracts' is tests/contracts/test_conformance.py's to show."""

from __future__ import annotations

from hashlib import sha256

import pytest

from ledger import calls, events
from ledger.artifacts import NAMES
from ledger.credit import CREDIT_CAP, Token
from ledger.spec import PUBLISHER, REGISTRAR, CourtTerms, NodeState, Specification, record_hash
from middleware.errors import LedgerRefused
from middleware.policy import Grid, Policy, Rule
from middleware.trust.eip712 import header_hash, registration_digest
from middleware.trust.keys import AccountKey
from middleware.types import ZERO32, Header, Status
from middleware.wire.policy import decode_policy

ADDRESSES = {name: bytes([n]) * 20 for n, name in enumerate(NAMES, start=1)}
ADMIN = b"\xad" * 20
CLOUD = AccountKey(sha256(b"cloud").digest())
GENESIS = sha256(b"genesis").digest()
NOW = 1_000


def register(chain: Specification, key: bytes = b"\x01" * 32) -> calls.Register:
    fields = (key, CLOUD.address, CLOUD.address, 3, 0, b"cloud".ljust(32, b"\0"), ZERO32, NOW)
    return calls.Register(*fields, CLOUD.sign_digest(registration_digest(chain.domain, *fields)), bytes(64))


@pytest.fixture
def chain() -> Specification:
    """An active cloud, node 1, whose account is also a publisher; task 1 with a window of 10 s."""
    made = Specification(1, ADDRESSES, ADMIN)
    made.apply(calls.GrantRole(REGISTRAR, ADMIN), ADMIN, NOW, 1)
    made.apply(calls.GrantRole(PUBLISHER, CLOUD.address), ADMIN, NOW, 2)
    made.apply(register(made), ADMIN, NOW, 3)
    made.apply(calls.CreateTask(1, 10, calls.REPLAY, 0, 2, 1, GENESIS, b"{}"), CLOUD.address, NOW, 4)
    return made


def first() -> Header:
    policy = sha256(b"{}").digest()
    zeros = [ZERO32] * 5
    return Header(1, 1, ZERO32, ZERO32, policy, GENESIS, ZERO32, 0, ZERO32, ZERO32, b"\x0f" * 32, *zeros)


def test_a_registrar_registers_active_nodes_with_the_block_they_came_in(chain: Specification) -> None:
    node = chain.node(1)
    assert (node.status, node.since, node.account) == (Status.ACTIVE, 3, CLOUD.address)
    assert chain.id_of_account == {CLOUD.address: 1}
    assert chain.node(2) == NodeState()


def test_a_late_registration_is_refused_with_its_deadline(chain: Specification) -> None:
    with pytest.raises(LedgerRefused) as refused:
        chain.apply(register(chain, b"\x02" * 32), ADMIN, NOW + 1, 5)
    assert (refused.value.name, refused.value.arguments) == ("Expired", (NOW,))


def test_an_anchored_round_moves_the_task_and_leaves_a_record_of_its_time(chain: Specification) -> None:
    header = first()
    happened = chain.apply(calls.AnchorRound(header), CLOUD.address, NOW, 5)
    assert happened == [events.RoundAnchored(1, 1, header_hash(header), header)]
    assert chain.task(1).head == 1
    assert chain.task(1).last_model == header.model_out
    assert chain.records[1, 1] == record_hash(header_hash(header), header.rewards_root, NOW)
    assert chain.apply(calls.AnchorRound(header), ADMIN, NOW, 6) == []


def test_a_round_is_final_when_its_window_is_over_and_not_a_second_before(chain: Specification) -> None:
    chain.apply(calls.AnchorRound(first()), CLOUD.address, NOW, 5)
    assert not chain.is_final(first(), NOW, NOW + 9)
    assert chain.is_final(first(), NOW, NOW + 10)
    assert not chain.is_final(first(), NOW + 1, NOW + 100)


def test_a_refused_call_changes_nothing(chain: Specification) -> None:
    chain.apply(calls.Mint(CLOUD.address, 5), ADMIN, NOW, 5)
    chain.apply(calls.Approve(ADDRESSES["Registry"], 100), CLOUD.address, NOW, 6)
    with pytest.raises(LedgerRefused) as refused:
        chain.apply(calls.Stake(1, 6), CLOUD.address, NOW, 7)
    assert refused.value.name == "ERC20InsufficientBalance"
    assert chain.node(1).stake == 0
    assert chain.token.balance(CLOUD.address) == 5


def test_a_copy_shares_nothing_that_a_call_changes(chain: Specification) -> None:
    other = chain.copy()
    other.apply(calls.AnchorRound(first()), CLOUD.address, NOW, 5)
    other.apply(calls.Suspend(1), CLOUD.address, NOW, 6)
    other.apply(calls.Mint(ADMIN, 7), ADMIN, NOW, 7)
    other.apply(calls.GrantRole(PUBLISHER, ADMIN), ADMIN, NOW, 8)
    assert (chain.task(1).head, chain.node(1).status, chain.token.supply) == (0, Status.ACTIVE, 0)
    assert (PUBLISHER, ADMIN) not in chain.roles
    assert chain.records == {}


def test_credit_never_exceeds_its_cap() -> None:
    token = Token()
    token.mint(ADMIN, CREDIT_CAP)
    with pytest.raises(LedgerRefused, match="ERC20ExceededCap"):
        token.mint(ADMIN, 1)
    assert token.supply == CREDIT_CAP


def test_the_largest_allowance_is_never_used_up_and_any_other_is() -> None:
    token = Token()
    token.mint(ADMIN, 10)
    token.approve(ADMIN, CLOUD.address, (1 << 256) - 1)
    token.transfer_from(CLOUD.address, ADMIN, CLOUD.address, 4)
    token.approve(ADMIN, ADDRESSES["Rewards"], 4)
    token.transfer_from(ADDRESSES["Rewards"], ADMIN, CLOUD.address, 4)
    assert list(token.allowances.values()) == [(1 << 256) - 1, 0]
    assert token.balances == {ADMIN: 2, CLOUD.address: 8}


def test_a_refused_call_of_the_court_changes_nothing_in_other_contracts(chain: Specification) -> None:
    """Opening a dispute holds the accused, then the task, and only then finds that there is no bond."""
    judges = (ADDRESSES["Arbiter"], ADDRESSES["Court"])
    chain.arbiters = {"Registry": judges, "Ledger": judges}
    chain.terms = CourtTerms(bond=5, answer_seconds=10, commit_seconds=10, reveal_seconds=10, council_seconds=10)
    chain.apply(calls.AnchorRound(first()), CLOUD.address, NOW, 5)
    with pytest.raises(LedgerRefused) as refused:
        chain.apply(calls.Challenge(first(), NOW, 1, GENESIS), ADMIN, NOW, 6)
    assert refused.value.name == "ERC20InsufficientAllowance"
    assert (chain.node(1).holds, chain.task(1).open_disputes, chain.disputes, chain.challenges) == (0, 0, 0, {})


@pytest.mark.parametrize(
    ("policy", "rule", "trim", "width", "size"),
    [
        ({"rule": Rule("mean"), "parameters": 256}, calls.LINEAR, 0, 2, 1),
        ({"rule": Rule("mean"), "arrangement": "two-level", "parameters": 257}, calls.TWO_LEVELS, 0, 2, 2),
        ({"rule": Rule("multi-krum"), "grid": Grid(bits=17)}, calls.LINEAR, 0, 4, 1),
        ({"rule": Rule("median")}, calls.MEDIAN, 0, 2, 1),
        ({"rule": Rule("trimmed-mean", 2)}, calls.TRIMMED_MEAN, 2, 2, 1),
        ({"rule": Rule("trimmed-mean", 256), "min_updates": 513}, calls.REPLAY, 0, 2, 1),
    ],
)
def test_a_task_tells_the_arbiter_what_its_policy_says(
    policy: dict[str, object], rule: int, trim: int, width: int, size: int
) -> None:
    made = Policy(**{"workload": "digits", "model": "mlp:1", "parameters": 10, **policy})  # type: ignore[arg-type]
    task = calls.CreateTask.of(1, 10, GENESIS, made)
    assert (task.rule, task.trim, task.width, task.chunks) == (rule, trim, width, size)
    assert decode_policy(task.policy) == made
