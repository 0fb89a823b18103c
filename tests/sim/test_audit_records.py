"""What nodes keep on disk: a finished run is VALID, and each thing that rots in it is INVALID with its file and row named."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.audit.evidence import read
from ledger.audit.report import Report
from middleware.errors import ConfigurationError
from middleware.types import Verdict
from nodes.records import Copies, altered_blobs, read_memory, verify_exported, verify_home
from tests.sim.history import History
from tests.sim.run_folder import name_of, write_run


@pytest.fixture(scope="module")
def history() -> History:
    return History(rounds=2).run()


@pytest.fixture(scope="module")
def finished(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_run(history, folder)
    return folder


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy that the test may spoil."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "world"


def audited(home: Path) -> Report:
    return verify_home(read((home.parent / "ledger.jsonl").read_bytes()), home)


def database(home: Path, node: int) -> Path:
    return home / "nodes" / name_of(node) / "state" / "node.db"


def change(home: Path, node: int, statement: str, *values: object) -> Report:
    with closing(sqlite3.connect(database(home, node))) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1
    database(home, node).with_name("node.db.sha256").unlink(missing_ok=True)  # here a row is judged, not the file
    return audited(home)


def assert_named(report: Report, subject: str, what: str) -> None:
    assert report.verdict is Verdict.INVALID
    assert [finding.verdict for finding in report.findings] == [Verdict.INVALID] * len(report.findings)
    assert report.first is not None
    assert report.first.subject == subject, report.first.line()
    assert what in report.first.what, report.first.line()


def test_a_finished_run_is_valid_with_all_its_databases(home: Path) -> None:
    report = audited(home)
    assert (report.verdict, report.findings) == (Verdict.VALID, ())
    assert verify_exported(home.parent / "ledger.jsonl", home) == report.counts


@pytest.mark.parametrize(
    ("node", "statement", "subject", "what"),
    [
        (1, "UPDATE settled SET round = 9 WHERE round = 2", "settled round 9", "columns"),
        (1, "UPDATE settled SET manifest = zeroblob(32) WHERE round = 2", "settled round 2", "columns"),
        (1, "UPDATE settled SET summary = x'7b' WHERE round = 2", "settled round 2", "summary"),
        (1, "UPDATE contribution SET task = 2 WHERE round = 2 AND node = 4", "contribution of node 4 to round 2", "columns"),
        (1, "UPDATE contribution SET place = 9 WHERE round = 2 AND node = 4", "contributions to round 2", "places"),
        (1, "UPDATE contribution SET place = 1 WHERE round = 2 AND node = 2", "contribution of node 2 to round 2", "place"),
        (2, "UPDATE contribution SET place = 9 WHERE round = 2 AND node = 4", "contribution of node 4 to round 2", "place"),
        (2, "UPDATE contribution SET body = x'00' WHERE round = 2 AND node = 4", "contribution of node 4 to round 2", "columns"),
        (2, "UPDATE contribution SET refused = 'no' WHERE round = 2 AND node = 4", "contribution of node 4 to round 2", "'no'"),
        (2, "UPDATE contribution SET child = 9 WHERE round = 2 AND node = 4", "contribution of node 4 to round 2", "brought"),
        (2, "UPDATE outgoing SET answer = 'ok' WHERE round = 1", "own message of round 1", "'ok'"),
        (2, "UPDATE outgoing SET reply = NULL WHERE round = 1", "own message of round 1", "no receipt"),
        (4, "UPDATE outgoing SET body = zeroblob(32) WHERE round = 1", "own message of round 1", "columns"),
        (3, "UPDATE offer SET state = 'done' WHERE round = 2", "offer of round 2", "columns"),
        (3, "DELETE FROM contribution WHERE round = 2 AND node = 6", "contribution of node 6 to round 2", "missing"),
        (1, "DELETE FROM contribution WHERE round = 2 AND node = 3", "contribution of node 3 to round 2", "missing"),
        (1, "DELETE FROM settled WHERE round = 1", "settled round 1", "missing"),
    ],
)  # fmt: skip
def test_a_changed_row_is_named(home: Path, node: int, statement: str, subject: str, what: str) -> None:
    assert_named(change(home, node, statement), f"{name_of(node)}/state/node.db: {subject}", what)


@pytest.mark.parametrize(
    ("node", "table", "column", "where", "subject"),
    [
        (1, "contribution", "frame", "round = 1 AND node = 5", "contribution of node 5 to round 1"),
        (2, "contribution", "reply", "round = 1 AND node = 5", "contribution of node 5 to round 1"),
        (2, "outgoing", "reply", "round = 2", "own message of round 2"),
        (2, "outgoing", "frame", "round = 2", "own message of round 2"),
        (1, "offer", "frame", "round = 2", "offer of round 2"),
        (1, "settled", "header", "round = 2", "settled round 2"),
        (7, "outgoing", "reply", "round = 2", "own message of round 2"),
    ],
)
@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.99])
def test_a_flipped_byte_in_a_stored_frame_names_its_row(
    home: Path, node: int, table: str, column: str, where: str, subject: str, at: float
) -> None:
    with closing(sqlite3.connect(database(home, node))) as connection:
        data = bytearray(connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()[0])
    data[int(at * len(data))] ^= 0x04
    report = change(home, node, f"UPDATE {table} SET {column} = ? WHERE {where}", bytes(data))
    assert_named(report, f"{name_of(node)}/state/node.db: {subject}", "")


def test_a_file_that_is_no_database_is_named(home: Path) -> None:
    path = database(home, 2)
    path.with_name("node.db.sha256").unlink(missing_ok=True)
    path.write_bytes(b"\x00" * 4096)
    assert_named(audited(home), "edge-2/state/node.db", "SQLite")


def test_a_database_that_is_not_as_its_node_left_it_is_named(home: Path) -> None:
    path = database(home, 2)
    data = path.read_bytes()
    path.with_name("node.db.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")
    assert audited(home).verdict is Verdict.VALID
    free = data.rindex(b"\x00" * 64)
    path.write_bytes(data[:free] + b"\x01" + data[free + 1 :])
    assert_named(audited(home), "edge-2/state/node.db", "not as its node left it")


def test_no_damage_to_a_database_raises(home: Path) -> None:
    path, drawn = database(home, 2), random.Random(5)
    path.with_name("node.db.sha256").unlink(missing_ok=True)
    honest = path.read_bytes()
    schema = [honest.index(b"CREATE TABLE") + at for at in range(0, 160, 2)]
    for at in [*range(100), *schema, *(drawn.randrange(len(honest)) for _ in range(200))]:
        path.write_bytes(honest[:at] + bytes([honest[at] ^ drawn.randrange(1, 256)]) + honest[at + 1 :])
        read_memory(path, "here", 2)
    path.write_bytes(honest[: len(honest) // 3])
    assert read_memory(path, "here", 2).faults


def test_reading_a_database_leaves_no_file_behind(home: Path) -> None:
    before = sorted(path.name for path in database(home, 2).parent.iterdir())
    read_memory(database(home, 2), "here", 2)
    assert sorted(path.name for path in database(home, 2).parent.iterdir()) == before


def test_a_database_in_use_is_read_through_its_log(home: Path) -> None:
    with closing(sqlite3.connect(database(home, 3), isolation_level=None)) as connection:
        connection.execute("DELETE FROM offer WHERE round = 2")
        assert [row.round for row in read_memory(database(home, 3), "here", 3).offers] == [1]


def test_an_altered_copy_of_a_blob_is_named_though_a_good_copy_is_elsewhere(home: Path, history: History) -> None:
    digest = history.headers[0].model_out
    name = digest.hex()
    copy = home / "nodes" / "end-4" / "state" / "blobs" / name[:2] / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(history.store.blobs[digest][:-1] + b"\x55")
    assert list(altered_blobs(copy.parents[1])) == [(str(copy), digest)]
    assert_named(audited(home), str(copy), "SHA-256")


def test_blobs_come_from_the_first_good_copy(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"good").digest()
    for folder, data in (("one", b"bad"), ("two", b"good")):
        path = tmp_path / folder / digest.hex()[:2] / digest.hex()
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert Copies([tmp_path / "one", tmp_path / "two"]).get(digest) == b"good"
    assert Copies([tmp_path / "one"]).get(digest) == b"bad"
    assert Copies([tmp_path / "two"]).get(b"\x00" * 32) is None


def test_a_blob_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no folder"):
        Copies([tmp_path / "missing"])


def test_a_server_that_does_not_answer_has_no_blob() -> None:
    assert Copies(["http://127.0.0.1:9"]).get(b"\x00" * 32) is None


@pytest.mark.parametrize("at", [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
def test_a_flipped_byte_in_the_exported_record_names_its_line(home: Path, at: float) -> None:
    path = home.parent / "ledger.jsonl"
    data = bytearray(path.read_bytes())
    offset = int(at * len(data))
    line = data[:offset].count(b"\n") + 1
    data[offset] ^= 0x01
    path.write_bytes(bytes(data))
    with pytest.raises(Exception, match=f"line {line} of the record"):
        read(bytes(data))
    assert verify_exported(path, home) == {"valid": 0, "invalid": 1, "unverifiable": 0}
