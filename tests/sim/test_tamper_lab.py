"""Every fault of the tamper lab on a finished run: the audit names exactly it, and says nothing of an untouched copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devnet.insider import World
from devnet.tamperlab import FAULTS, Fault, audit, chosen, judge, table, try_fault
from ledger.audit.report import NAMES, Report
from middleware.errors import ConfigurationError
from middleware.policy import Peers, Rule, Server
from middleware.types import Verdict
from nodes.cli.main import app
from tests.sim.history import History, policy_of
from tests.sim.run_folder import write_run

MEAN = Rule("mean", 0)
POLICIES = {
    "multi-krum": policy_of(),
    "median": policy_of(rule=Rule("median", 1)),
    "mean": policy_of(rule=MEAN, min_updates=1),
    "momentum": policy_of(server=Server("momentum")),
    "gossip": policy_of(rule=MEAN, peers=Peers("gossip", links="ring")),
    "hierarchical": policy_of(rule=MEAN, peers=Peers("hierarchical", every=2), arrangement="two-level"),
    "two-level": policy_of(rule=MEAN, arrangement="two-level", min_updates=1),
}
RULES = [name if name == "multi-krum" else pytest.param(name, marks=pytest.mark.slow) for name in POLICIES]
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, policy in POLICIES.items():
        made[name] = tmp_path_factory.mktemp(name)
        write_run(History(policy).run(), made[name])
    return made


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the first that a test may spoil."""
    return copied(runs["multi-krum"], tmp_path)


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "run")
    return folder / "run"


def spoilt(run: Path, name: str) -> Report:
    world = World(run)
    chosen(name)[0].commit(world)
    world.save()
    return audit(run)


@pytest.mark.parametrize("rule", RULES)
def test_an_untouched_copy_is_valid(runs: dict[str, Path], rule: str) -> None:
    report = audit(runs[rule])
    assert (report.verdict, report.findings) == (Verdict.VALID, ())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_caught_by_its_own_name(runs: dict[str, Path], tmp_path: Path, fault: Fault, rule: str) -> None:
    shown = try_fault(copied(runs[rule], tmp_path), fault)
    assert shown.caught, shown
    assert (shown.named, shown.verdict) == (fault.name, fault.verdict)


def test_the_lab_has_every_class_once_and_each_is_a_name_of_a_finding() -> None:
    titles = [fault.title for fault in FAULTS]
    assert titles == [
        "flipped blob byte", "forged signature", "rotated key used early", "omitted update", "duplicated update",
        "reordered update", "wrong aggregate", "wrong state", "wrong edge model", "padded reward", "skipped round",
        "rewound chain", "forked operational log",
        "replaced contract code", "withheld blob", "edge equivocation",
    ]  # fmt: skip
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert set(names) <= set(NAMES)


def test_the_original_stays_as_it_was(runs: dict[str, Path]) -> None:
    before = {path: path.read_bytes() for path in runs["median"].rglob("*") if path.is_file()}
    result = RUNNER.invoke(app, ["audit", "tamper", "padded-reward", "--run", str(runs["median"]), "--json"])
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in runs["median"].rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("rule", ["afa", "centred-clipping"])
def test_what_a_rule_remembers_is_no_safer_to_change_than_a_servers_step(tmp_path: Path, rule: str) -> None:
    write_run(History(policy_of(rule=Rule(rule, 1))).run(), tmp_path)
    shown = try_fault(tmp_path, chosen("wrong-state")[0])
    assert shown.caught, shown
    assert ("thinks better of end-4" if rule == "afa" else "the rule's centre") in shown.done


# ------------------------------------------------------------------------------------------------------- what is said


def test_an_equivocation_comes_with_both_signatures(run: Path) -> None:
    report = spoilt(run, "equivocation")
    assert report.first is not None
    assert len(report.findings) == 1
    assert report.first.check == "promise"
    assert len(report.first.evidence) == 2
    first, second = (line.split("signature ")[1].split()[0] for line in report.first.evidence)
    assert first != second and len(bytes.fromhex(first)) == len(bytes.fromhex(second)) == 65


def test_a_withheld_blob_says_who_should_serve_it(run: Path) -> None:
    report = spoilt(run, "withheld-blob")
    assert (report.verdict, report.invalid) == (Verdict.UNVERIFIABLE, 0)
    assert report.first is not None
    assert "edge-2 (node 2) or cloud (node 1) should serve it" in report.first.what


def test_an_early_key_says_from_which_block_it_is_the_nodes(run: Path) -> None:
    report = spoilt(run, "early-key")
    assert report.first is not None
    assert "its own only from block" in report.first.what
    assert "update signature of end-4" in report.first.proven_by


def test_an_omission_is_proven_by_the_receipt_and_the_root(run: Path) -> None:
    report = spoilt(run, "omitted-update")
    assert report.first is not None
    assert report.first.proven_by == "the receipt and the root of node 2"
    assert {finding.fault for finding in report.findings} == {"omitted-update"}


@pytest.mark.parametrize("rule", ["multi-krum", pytest.param("gossip", marks=pytest.mark.slow)])
def test_a_wrong_edge_model_is_named_in_the_database_of_everybody_who_was_shown_it(
    runs: dict[str, Path], tmp_path: Path, rule: str
) -> None:
    report = spoilt(copied(runs[rule], tmp_path), "wrong-edge-model")
    assert {finding.fault for finding in report.findings} == {"wrong-edge-model"}
    places = {finding.subject.split("/")[0] for finding in report.findings}
    assert places == {"cloud", "edge-2", "edge-3"}
    assert all(finding.proven_by == "the offer signature of node 1" for finding in report.findings)
    assert all("for edge 2 " in finding.what for finding in report.findings)


def test_a_forked_log_names_the_checkpoint(run: Path) -> None:
    report = spoilt(run, "forked-log")
    assert report.first is not None
    assert "that this node put on the ledger in block" in report.first.what
    assert "the checkpoint transaction" in report.first.proven_by


def test_a_log_that_was_cut_behind_its_checkpoint_is_a_fork_too(run: Path) -> None:
    world = World(run)
    chosen("forked-log")[0].commit(world)  # puts the checkpoint on the ledger
    world.save()
    with world.database(world.task.cloud) as connection:
        connection.execute("DELETE FROM log WHERE number > 0")
    report = audit(run)
    assert {"forked-log", "unlogged-promise"} <= {finding.fault for finding in report.findings}


def test_a_promise_that_is_not_in_the_log_is_named(run: Path) -> None:
    world = World(run)
    with world.database(2) as connection:
        connection.execute("UPDATE log SET leaf = zeroblob(32) WHERE number = 0")
    report = audit(run)
    assert report.first is not None
    assert (report.first.fault, report.first.subject) == ("unlogged-promise", "edge-2/state/node.db: log")


def test_a_lie_that_nobody_named_is_not_counted_as_caught(run: Path) -> None:
    world = World(run)
    done = chosen("padded-reward")[0].commit(world)
    world.save()
    report = audit(run)
    assert judge(chosen("padded-reward")[0], done, report).caught
    assert not judge(chosen("wrong-aggregate")[0], done, report).caught
    elsewhere = type(done)(done.what, "reward of nobody")
    assert not judge(chosen("padded-reward")[0], elsewhere, report).caught


# --------------------------------------------------------------------------------------------------------------- the verb


def test_the_verb_tries_one_fault_and_exits_0(runs: dict[str, Path]) -> None:
    result = RUNNER.invoke(app, ["audit", "tamper", "skipped-round", "--run", str(runs["mean"]), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert [row["fault"] for row in told] == ["", "skipped-round"]
    assert all(row["caught"] for row in told)


def test_the_verb_exits_3_when_the_run_is_not_valid_to_begin_with(run: Path) -> None:
    spoilt(run, "flipped blob byte")
    result = RUNNER.invoke(app, ["audit", "tamper", "skipped-round", "--run", str(run)])
    assert result.exit_code == 3
    assert "not: nothing" in result.stdout


def test_a_fault_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigurationError, match="padded-reward"):
        chosen("bad-weather")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["audit", "tamper", "--run", str(tmp_path)])
    assert result.exit_code == 1


def test_the_table_has_a_line_for_each(runs: dict[str, Path], tmp_path: Path) -> None:
    fault = chosen("withheld-blob")[0]
    shown = try_fault(copied(runs["median"], tmp_path), fault)
    assert table([shown]).splitlines()[2].startswith("| withheld blob | nobody serves")
