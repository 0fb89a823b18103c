"""What the audit calls a fault: names of the closed list that the tamper lab does not commit itself, and who is not accused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ledger import codes
from ledger.audit.check import verify
from ledger.audit.evidence import read
from ledger.audit.report import Finding, Report
from middleware.errors import ConfigurationError, PeerFault
from middleware.protocol.settlement import Settlement
from middleware.trust import keys, merkle
from middleware.types import EdgeLeaf, Seen, Verdict
from middleware.wire.manifest import Manifest
from middleware.wire.message import EdgeReport, decode_stored
from nodes.records import verify_home
from tests.sim.history import DOMAIN, History
from tests.sim.judged import LyingCloud, renumbered
from tests.sim.run_folder import name_of, write_run


def audited(history: History) -> Report:
    return verify(history.record, history.store)


def first(history: History) -> Finding:
    report = audited(history)
    assert report.first is not None
    return report.first


def test_a_finding_has_a_name_of_the_list_or_none() -> None:
    assert Finding(Verdict.INVALID, "x", "edge", "bad", "nobody", fault="equivocation").fault == "equivocation"
    with pytest.raises(ConfigurationError, match="names in NAMES"):
        Finding(Verdict.INVALID, "x", "edge", "bad", "nobody", fault="mischief")
    with pytest.raises(ConfigurationError, match="names in NAMES"):
        Finding(Verdict.VALID, "x", "edge", fault="equivocation")


def test_the_key_that_a_node_gave_up_is_named_as_such_and_nobody_is_accused() -> None:
    class Rotates(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                old = self.network[5]
                self.rotate(5, self.network[8])
                self.network[5] = old

    found = first(Rotates().run())
    assert found.fault == "retired-key"
    assert found.proven_by.startswith("nobody")


class Lies(LyingCloud):
    """The cloud's manifest of round 2 lists other updates than its edges signed."""

    omit = add = turn = False

    def lie(self, edges: list) -> list:  # type: ignore[type-arg]
        rows = list(edges[0].updates)
        if self.omit:
            rows = rows[:1]
        if self.turn:
            rows = rows[::-1]
        if self.add:
            rows = [*rows, edges[1].updates[0]]
        edges[0] = msgspec.structs.replace(edges[0], updates=renumbered(rows))
        return edges


@pytest.mark.parametrize(
    ("what", "name"), [("omit", "omitted-update"), ("turn", "reordered-update"), ("add", "added-update")]
)
def test_a_manifest_that_is_not_what_an_edge_signed_is_named_by_the_difference(what: str, name: str) -> None:
    history = type("Lie", (Lies,), {what: True})().run()
    tree = next(f for f in audited(history).findings if f.subject.startswith("tree of"))
    assert tree.fault == name, tree.line()
    assert "the root signature of edge-2" in tree.proven_by


def test_a_reward_that_was_cut_is_no_padded_one() -> None:
    class Cuts(History):
        def settled(self, at: int, settlement: Settlement) -> Settlement:
            if at != 2:
                return settlement
            entries = tuple(sorted({**settlement.rewards, 4: settlement.rewards[4] - 1}.items()))
            return msgspec.structs.replace(
                settlement, rewards=dict(entries),
                header=msgspec.structs.replace(settlement.header, rewards_root=merkle.sum_root(entries)),
                manifest=msgspec.structs.replace(settlement.manifest, rewards=entries),
            )  # fmt: skip

    found = first(Cuts().run())
    assert (found.fault, found.subject) == ("short-reward", "reward of end-4 (node 4)")


def test_a_weight_that_the_rule_did_not_give_is_named() -> None:
    class Weighs(LyingCloud):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            if number != 2:
                return manifest
            edge = manifest.edges[0]
            rows = (msgspec.structs.replace(edge.updates[0], weight=7), *edge.updates[1:])
            return msgspec.structs.replace(
                manifest, edges=(msgspec.structs.replace(edge, updates=rows), *manifest.edges[1:])
            )

    assert "wrong-weight" in {finding.fault for finding in audited(Weighs().run()).findings}


# --------------------------------------------------------------------------------------------------------- equivocation


@pytest.fixture
def run(tmp_path: Path) -> tuple[History, Path]:
    history = History(rounds=2).run()
    write_run(history, tmp_path)
    return history, tmp_path


def whole(run: Path) -> Report:
    return verify_home(read((run / "ledger.jsonl").read_bytes()), run / "world")


def second_report(history: History, signer: int) -> bytes:
    """Another report of edge 2 on round 1, its root signed with the account of `signer`."""
    signed = decode_stored(history.manifests[0].edges[0].report, EdgeReport).message
    leaf: EdgeLeaf = msgspec.structs.replace(signed.leaf, root=b"\x0a" * 32)
    signature = keys.sign_edge_root(DOMAIN, history.account[signer], leaf)
    other = msgspec.structs.replace(signed, leaf=leaf, root_signature=signature)
    return keys.sign_message(DOMAIN.context, history.network[2], other).stored()


def keep(run: Path, node: int, frame: bytes) -> None:
    """A node keeps that report beside the others, as one that somebody showed it."""
    with closing(sqlite3.connect(run / "world" / "nodes" / name_of(node) / "state" / "node.db")) as database, database:
        database.execute("UPDATE outgoing SET frame = ?, reply = NULL, answer = '' WHERE round = 1", (frame,))


def test_two_signed_roots_of_one_edge_for_one_round_are_named_with_both_signatures(run: tuple[History, Path]) -> None:
    history, folder = run
    keep(folder, 2, second_report(history, 2))
    found = [finding for finding in whole(folder).findings if finding.fault == "equivocation"]
    assert [(finding.subject, finding.round) for finding in found] == [("roots of edge-2 (node 2)", 1)]
    assert "two roots for one round" in found[0].what
    assert len(found[0].evidence) == 2


def test_nobody_equivocates_by_a_root_that_somebody_else_signed(run: tuple[History, Path]) -> None:
    history, folder = run
    keep(folder, 2, second_report(history, 3))
    report = whole(folder)
    assert report.verdict is Verdict.INVALID
    assert "equivocation" not in {finding.fault for finding in report.findings}


# ------------------------------------------------------------------------------------------------------ countersigned past


def test_an_update_that_vouches_for_a_block_which_the_record_lacks_names_the_rewind() -> None:
    history = History().run()
    seen = Seen(3, b"\x03" * 32)
    assert not history.record.index.holds(seen)
    signed = decode_stored(history.manifests[1].edges[0].report, EdgeReport).message
    frame = keys.sign_message(DOMAIN.context, history.network[2], msgspec.structs.replace(signed, seen=seen)).stored()

    class Again(LyingCloud):
        def lie(self, edges: list) -> list:  # type: ignore[type-arg]
            edges[0] = msgspec.structs.replace(edges[0], report=frame)
            return edges

    found = [finding for finding in audited(Again().run()).findings if finding.check == "past"]
    assert [finding.fault for finding in found] == ["rewound-chain"]
    assert "the ledger was rewound or forked" in found[0].what
    assert "the root signature of edge-2" in found[0].proven_by


# ---------------------------------------------------------------------------------------------------------------- codes


def test_a_description_of_code_survives_its_words() -> None:
    code = codes.Code(b"\x01" * 32, (b"\x02" * 32,))
    assert codes.Code.parse(code.described()) == code
    for text in ("", "zz", "01" * 31, "01" * 32 + "  "):
        with pytest.raises(PeerFault, match="malformed"):
            codes.Code.parse(text)


def test_code_that_is_only_the_tail_of_the_right_one_is_wrong() -> None:
    tail = codes.template("Ledger")[-100:]
    text = codes.code_of("Ledger", tail).described()
    assert "shape" in codes.wrong_code("Ledger", text, 1, {"Ledger": b"\x01" * 20})


def test_a_word_that_nobody_explains_is_wrong_and_a_number_is_not() -> None:
    shape = codes.code_of("Registry", codes.template("Registry")).shape
    book = {"Registry": b"\x01" * 20, "Credit": b"\x02" * 20}

    def judged(word: bytes) -> str:
        return codes.wrong_code("Registry", codes.Code(shape, (word.rjust(32, b"\0"),)).described(), 1, book)

    assert judged(b"\x02" * 20) == judged((600).to_bytes(6, "big")) == ""
    assert "is bound to" in judged(b"\x03" * 20)
    assert codes.wrong_code("Bank", "", 1, book) == "no artifact is called Bank"


def test_a_record_that_does_not_tell_the_code_says_that_it_was_not_checked() -> None:
    report = audited(History().run())
    assert report.verdict is Verdict.VALID
    assert "the code of the contracts: the record does not tell it" in report.not_checked
