"""Attacks on an offline proof: each is refused, by the comparison that it breaks. The bundle is of a real chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from eth_hash.auto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import calls
from ledger.audit.bundle import (
    Bundle,
    OnChain,
    SumStep,
    Trusted,
    assemble,
    check,
    check_file,
    encode_bundle,
    record_slot,
)
from ledger.block import decode_header
from ledger.rpc import Rpc
from ledger.spec import PAUSER
from middleware.trust import keys
from middleware.trust.eip712 import Domain
from middleware.types import Verdict
from middleware.wire.message import EdgeReport, Update, decode_stored
from nodes.cli.bundle import fetch
from tests.contracts.conftest import Evm, anvil_rpc, evm
from tests.contracts.on_chain import ChainHistory, address_book, on_the_contracts

__all__ = ["anvil_rpc", "evm"]

Change = Callable[[Bundle], Bundle]
ROUNDS, ROUND, DEVICE = 3, 2, 6


class World(msgspec.Struct, frozen=True):
    history: ChainHistory
    bundles: dict[int, Bundle]  # by round, of DEVICE; the state is the newest block's, so headers lie between
    trusted: Trusted

    def judge(self, bundle: Bundle) -> tuple[Verdict, str]:
        """The verdict of the file that this bundle makes, and the first comparison that fails."""
        checked = check_file(encode_bundle(bundle), self.trusted)
        failure = checked.first_failure
        return checked.verdict, failure.what if failure is not None else ""


@pytest.fixture(scope="module")
def world(evm: Evm) -> Iterator[World]:
    with on_the_contracts(evm):
        history = ChainHistory(evm, rounds=ROUNDS).run()
        for role in (PAUSER, PAUSER):  # blocks in which nothing of ours happens
            history.call(calls.GrantRole(role, evm.admin), evm.admin)
        bundles = {number: made(history, number) for number in range(1, ROUNDS + 1)}
        last = decode_header(unhex(bundles[ROUND].blocks[-1]))
        yield World(history, bundles, Trusted(last.hash, evm.contracts["Ledger"], evm.chain_id))


def made(history: ChainHistory, number: int) -> Bundle:
    import asyncio

    position = history.record.index.anchored[1][number - 1].position
    book = address_book(history.evm)

    async def ask() -> OnChain:
        async with Rpc(book.rpc) as rpc:
            return await fetch(rpc, book, position, record_slot(1, number), history.evm.block)

    return assemble(history.record, history.store, 1, number, DEVICE, asyncio.run(ask()))


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def flip(text: str, place: int = -1) -> str:
    """Hex with one byte changed."""
    data = bytearray(unhex(text))
    data[place] ^= 1
    return "0x" + data.hex()


def with_(part: str, **changes: Any) -> Change:
    """One part of the bundle, with fields of it changed."""
    return lambda bundle: msgspec.structs.replace(
        bundle, **{part: msgspec.structs.replace(getattr(bundle, part), **changes)}
    )


def changed(part: str, field: str, change: Callable[[Any], Any]) -> Change:
    def apply(bundle: Bundle) -> Bundle:
        return with_(part, **{field: change(getattr(getattr(bundle, part), field))})(bundle)

    return apply


def header(**changes: Callable[[Any], Any]) -> Change:
    def apply(bundle: Bundle) -> Bundle:
        fields = {name: changes.get(name, lambda value: value)(value) for name, value in bundle.header.items()}
        return msgspec.structs.replace(bundle, header=fields)

    return apply


def top(field: str, change: Callable[[Any], Any]) -> Change:
    return lambda bundle: msgspec.structs.replace(bundle, **{field: change(getattr(bundle, field))})


def one(place: int, change: Callable[[Any], Any]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """A tuple with one of its items changed."""

    def apply(items: tuple[Any, ...]) -> tuple[Any, ...]:
        at = place % len(items)
        return (*items[:at], change(items[at]), *items[at + 1 :])

    return apply


def more(value: int) -> int:
    return value + 1


ATTACKS: list[tuple[str, Change, str]] = [
    ("the last block altered", top("blocks", one(-1, flip)), "is the one that you trust"),
    ("a block between altered", top("blocks", one(1, flip)), "is the parent of the next"),
    ("the anchoring block altered", top("blocks", one(0, flip)), "is the parent of the next"),
    ("a block left out", top("blocks", lambda blocks: (blocks[0], *blocks[2:])), "is the parent of the next"),
    ("blocks in another order", top("blocks", lambda blocks: blocks[::-1]), "is the one that you trust"),
    ("the newest blocks cut off", top("blocks", lambda blocks: blocks[:1]), "is the one that you trust"),
    ("another ledger", top("ledger", flip), "the ledger is the one that you trust"),
    ("another chain", top("chain_id", more), "the chain is the one that you trust"),
    ("an account node altered", top("account", one(-1, flip)), "stands under stateRoot"),
    ("an account node left out", top("account", lambda nodes: nodes[:-1]), "stands under stateRoot"),
    ("an account node too many", top("account", lambda nodes: (*nodes, nodes[0])), "stands under stateRoot"),
    ("a storage node altered", top("storage", one(0, flip)), "stands under its storage root"),
    ("a storage node left out", top("storage", lambda nodes: nodes[1:]), "stands under its storage root"),
    ("a storage node too many", top("storage", lambda nodes: (*nodes, "0x01")), "stands under its storage root"),
    ("another time of anchoring", top("anchored_at", more), "its rewards root and the time it was anchored"),
    ("another model in the header", header(model_out=flip), "the record is the hash of the header"),
    ("another reward root in the header", header(rewards_root=flip), "the record is the hash of the header"),
    ("another task in the header", header(task=more), "stands under its storage root"),
    ("another round in the header", header(round=more), "stands under its storage root"),
    ("another receipt", changed("receipt", "index", more), "stands under receiptsRoot"),
    ("another log", changed("receipt", "log", more), "the receipt can be read"),
    ("a receipt node altered", changed("receipt", "proof", one(-1, flip)), "stands under receiptsRoot"),
    ("the update in another place", changed("inclusion", "index", lambda place: place ^ 1), "under the edge's root"),
    ("the update frame altered", changed("inclusion", "update", flip), "the device's network key signed the update"),
    ("the report frame altered", changed("inclusion", "report", flip), "the edge's network key signed its report"),
    ("the update's path altered", changed("inclusion", "path", one(0, flip)), "under the edge's root"),
    ("the edge's path altered", changed("inclusion", "edge_path", one(0, flip)), "under inputsRoot"),
    ("another count of edges", with_("inclusion", edges=1), "the places in the round's trees can be read"),
    ("the edge in another place", changed("inclusion", "edge_index", lambda place: place ^ 1), "under inputsRoot"),
    ("the device's key swapped", changed("device", "net_key", flip), "the device, stands under the header's roster"),
    (
        "the device's account swapped",
        changed("device", "account", flip),
        "the device, stands under the header's roster",
    ),
    ("the device's owner swapped", changed("device", "owner", flip), "the device, stands under the header's roster"),
    ("the device's parent swapped", changed("device", "parent", more), "the device, stands under the header's roster"),
    ("the device suspended", with_("device", status=3), "the device, stands under the header's roster"),
    ("the device on the other side", changed("device", "turns", lambda turns: turns ^ 1), "the device, stands under"),
    ("the device's path altered", changed("device", "path", one(-1, flip)), "the device, stands under"),
    ("the edge's account swapped", changed("edge", "account", flip), "the edge, stands under the header's roster"),
    ("the edge's tier swapped", with_("edge", tier=3), "the edge, stands under the header's roster"),
    ("the edge in the device's place", lambda b: msgspec.structs.replace(b, device=b.edge), "was an active device"),
    ("the device in the edge's place", lambda b: msgspec.structs.replace(b, edge=b.device), "was an active edge"),
    ("a reward padded", with_("reward", cumulative="501"), "is owed 501 of"),
    (
        "another's reward smaller",
        changed("reward", "path", one(0, lambda s: SumStep("0", s.hash))),
        "under rewardsRoot",
    ),
    ("the reward on the other side", changed("reward", "turns", lambda turns: turns ^ 1), "under rewardsRoot"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_a_swapped_field_is_refused_by_the_comparison_that_it_breaks(world: World, change: Change, words: str) -> None:
    assert world.judge(world.bundles[ROUND])[0] is Verdict.VALID
    attacked = change(world.bundles[ROUND])
    assert attacked != world.bundles[ROUND]
    verdict, what = world.judge(attacked)
    assert verdict is Verdict.INVALID
    assert words in what


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), mask=st.integers(1, 255))
def test_no_changed_byte_of_the_file_goes_unnoticed(world: World, place: int, mask: int) -> None:
    data = bytearray(encode_bundle(world.bundles[ROUND]))
    data[place % len(data)] ^= mask
    assert check_file(bytes(data), world.trusted).verdict is Verdict.INVALID


def values(tree: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in the file that is no object and no list, and to every list."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            yield from values(child, (*way, name))
        return
    yield way
    if isinstance(tree, list):
        for number, child in enumerate(tree):
            yield from values(child, (*way, number))


def mutations(value: Any) -> list[Any]:
    """Other values of the same shape, nearest first."""
    if isinstance(value, list):
        return [value[:-1], value[1:], value[::-1], [*value, *value[:1]]]
    if isinstance(value, int):
        return [value + 1, value - 1, value + 256, value ^ (1 << 40), 0, -1, 1 << 62, 1 << 70]
    if not value.startswith("0x"):
        return [value + "0", "1" + value, "0" + value, "-1", ""]
    size = len(value) // 2 - 1
    flips = [flip(value, place) for place in {0, size // 3, size // 2, size - 1} if size]
    return [*flips, value + "00", value[:-2], "0x", value.replace("0x", ""), value.upper()]


def test_every_field_of_the_file_is_under_some_comparison(world: World) -> None:
    whole = json.loads(encode_bundle(world.bundles[ROUND]))
    ways = list(values(whole))
    assert len(ways) > 70
    tried = 0
    for way in ways:
        for other in mutations(_at(whole, way)):
            if other == _at(whole, way):
                continue
            tree = json.loads(json.dumps(whole))
            _at(tree, way[:-1])[way[-1]] = other
            data = msgspec.json.format(json.dumps(tree).encode(), indent=1) + b"\n"
            checked = check_file(data, world.trusted)
            assert checked.verdict is Verdict.INVALID, (way, other)
            tried += 1
    assert tried > 400


def _at(tree: Any, way: tuple[Any, ...]) -> Any:
    for name in way:
        tree = tree[name]
    return tree


def test_the_changed_byte_is_found_behind_the_spelling_too(world: World) -> None:
    """Respelt JSON says the same and is refused all the same: a proof has one form."""
    data = encode_bundle(world.bundles[ROUND])
    tree = json.loads(data)
    respelt = (
        json.dumps(tree).encode(), data.rstrip(b"\n"), data + b"\n", b" " + data, data.replace(b"\n", b"\r\n"),
        data.replace(b'"chain_id": ', b'"chain_id":  '), json.dumps(tree, indent=1, sort_keys=True).encode() + b"\n",
    )  # fmt: skip
    assert check_file(data, world.trusted).verdict is Verdict.VALID
    for other in respelt:
        assert check_file(other, world.trusted).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "value", [b"1" * 5_000, b"1e400", b"[" * 50_000, b'"' + b"\\u0000" * 50_000 + b'"', b"NaN", b"true"]
)
def test_a_value_that_no_parser_likes_is_refused_as_any_other(world: World, value: bytes) -> None:
    data = encode_bundle(world.bundles[ROUND])
    for field in (b'"chain_id": ', b'"ledger": ', b'"index": ', b'"turns": ', b'"task": '):
        begin = data.index(field) + len(field)
        end = min(data.index(mark, begin) for mark in (b",", b"\n"))
        checked = check_file(data[:begin] + value + data[end:], world.trusted)
        assert checked.verdict is Verdict.INVALID


# --------------------------------------------------------------------------------------- forgers who know what they are doing


def test_parts_of_two_true_bundles_do_not_make_one(world: World) -> None:
    mine, other = world.bundles[ROUND], world.bundles[ROUND + 1]
    for part, words in (
        ("header", "stands under its storage root"), ("anchored_at", "the record is the hash"),
        ("blocks", "at the time of block"),
        ("receipt", "stands under receiptsRoot"), ("storage", "stands under its storage root"),
        ("inclusion", "was made for this task and round"), ("reward", "under rewardsRoot"),
    ):  # fmt: skip
        verdict, what = world.judge(msgspec.structs.replace(mine, **{part: getattr(other, part)}))
        assert verdict is Verdict.INVALID
        assert words in what, part


def test_an_update_signed_with_a_key_that_the_roster_does_not_hold(world: World) -> None:
    """The thief puts his own key beside his signature, too: then the roster does not hold it."""
    bundle, history = world.bundles[ROUND], world.history
    context = Domain(history.evm.chain_id, history.evm.contracts["Ledger"]).context
    signed = decode_stored(unhex(bundle.inclusion.update), Update)
    thief = history.network[7]
    frame = "0x" + keys.sign_message(context, thief, signed.message).stored().hex()
    forged = with_("inclusion", update=frame)(bundle)
    assert world.judge(forged) == (Verdict.INVALID, "the device's network key signed the update")
    forged = with_("device", net_key="0x" + thief.public.hex())(forged)
    assert "stands under the header's roster" in world.judge(forged)[1]


def test_a_root_that_the_edges_account_did_not_sign(world: World) -> None:
    """An edge that could deny its root: its network key signs a report with the root signature of another account."""
    bundle, history = world.bundles[ROUND], world.history
    domain = Domain(history.evm.chain_id, history.evm.contracts["Ledger"])
    message = decode_stored(unhex(bundle.inclusion.report), EdgeReport).message
    stranger = keys.sign_edge_root(domain, history.account[7], message.leaf)
    for signature, words in (
        (stranger, "the edge's account signed its root"),
        (bytes(65), "the signatures can be read"),
    ):
        report = msgspec.structs.replace(message, root_signature=signature)
        frame = "0x" + keys.sign_message(domain.context, history.network[message.sender], report).stored().hex()
        assert world.judge(with_("inclusion", report=frame)(bundle)) == (Verdict.INVALID, words)


def test_a_round_that_was_never_anchored(world: World) -> None:
    """A cloud shows a header of its own, whole and consistent below it."""
    forged = header(rewards_root=lambda _: "0x" + "00" * 32)(world.bundles[ROUND])
    failures = {step.what for step in check(forged, world.trusted).steps if not step.holds}
    assert any("RoundAnchored with this header" in what for what in failures)
    assert any("the record is the hash of the header" in what for what in failures)


def test_the_same_round_on_a_ledger_of_the_forgers_own(world: World) -> None:
    """Everything holds in a contract that the forger deployed on the true chain: only the address tells."""
    bundle = world.bundles[ROUND]
    elsewhere = msgspec.structs.replace(world.trusted, ledger=b"\x77" * 20)
    checked = check(bundle, elsewhere)
    assert checked.verdict is Verdict.INVALID
    assert [step.what for step in checked.steps if not step.holds] == ["the ledger is the one that you trust"]


def test_the_same_round_on_a_chain_that_was_taken_back(world: World, evm: Evm) -> None:
    """The bundle of a block that a reorganisation removed holds against its hash, and against no block of the new chain."""
    bundle = world.bundles[ROUND]
    head = decode_header(unhex(bundle.blocks[-1]))
    evm.ask("anvil_rollback", 1)
    evm.ask("evm_setNextBlockTimestamp", head.time + 77)
    evm.ask("evm_mine")
    new = unhex(evm.ask("eth_getBlockByNumber", hex(head.number), False)["hash"])
    assert head.hash == world.trusted.block_hash != new
    assert check(bundle, world.trusted).verdict is Verdict.VALID
    moved = check(bundle, msgspec.structs.replace(world.trusted, block_hash=new))
    assert [step.what for step in moved.steps if not step.holds] == [f"block {head.number} is the one that you trust"]


def test_a_true_log_of_another_contract(world: World, evm: Evm) -> None:
    """A log with the right words from a contract that may not say them: the receipt is true, its address is not."""
    bundle = world.bundles[ROUND]
    forged = top("ledger", lambda _: "0x" + evm.contracts["Registry"].hex())(bundle)
    checked = check(forged, msgspec.structs.replace(world.trusted, ledger=evm.contracts["Registry"]))
    failures = [step.what for step in checked.steps if not step.holds]
    assert any("stands under stateRoot" in what for what in failures)
    assert any("RoundAnchored" in what for what in failures)


def test_a_bundle_without_its_reward_proves_the_update_alone(world: World) -> None:
    """Leaving a part out is no forgery, and what is left says less."""
    bundle = msgspec.structs.replace(world.bundles[ROUND], reward=None)
    checked = check(bundle, world.trusted)
    assert checked.verdict is Verdict.VALID
    assert len(checked.proves) == 1
    assert keccak(unhex(bundle.blocks[-1])) == world.trusted.block_hash
