"""How a history is judged, and the liars that the audit's tests and the attacks share."""

from __future__ import annotations

import msgspec

from ledger import events
from ledger.audit.check import verify
from ledger.audit.report import Finding, Report
from middleware.policy import Rule
from middleware.protocol.settlement import Received
from middleware.trust import keys
from middleware.types import Header, Leaf, Verdict
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestUpdate
from middleware.wire.message import EdgeReport, Update, decode_stored
from tests.sim.history import DOMAIN, History, Sent, policy_of

TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)


def audited(history: History, **options: object) -> Report:
    return verify(history.record, history.store, **options)  # type: ignore[arg-type]


def first_invalid(history: History) -> Finding:
    report = audited(history)
    assert report.verdict is Verdict.INVALID
    assert report.exit_code == 3
    assert report.first is not None
    return report.first


def named(finding: Finding, subject: str, round: int, by: str) -> None:
    assert (finding.subject, finding.round) == (subject, round), finding.line()
    assert by in finding.proven_by, finding.line()


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def leaf(history: History, number: int, node: int) -> Leaf:
    return update_of(history, number, node).leaf


def update_of(history: History, number: int, node: int) -> Update:
    frames = [row.frame for edge in history.manifests[number - 1].edges for row in edge.updates]
    return next(m for m in (decode_stored(frame, Update).message for frame in frames) if m.sender == node)


def report_of(history: History, number: int, edge: int) -> EdgeReport:
    reports = [decode_stored(e.report, EdgeReport).message for e in history.manifests[number - 1].edges]
    return next(report for report in reports if report.sender == edge)


class LyingCloud(History):
    """Changes round 2's manifest after the settlement; `lie` gets and returns the list of edges."""

    def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
        return edges

    def manifest(self, number: int, manifest: Manifest) -> Manifest:
        if number != 2:
            return manifest
        return msgspec.structs.replace(manifest, edges=tuple(self.lie(list(manifest.edges))))


def renumbered(updates: list[ManifestUpdate]) -> tuple[ManifestUpdate, ...]:
    return tuple(msgspec.structs.replace(update, index=index) for index, update in enumerate(updates))


class Garbage(History):
    """Device 4 commits to numbers that are not in its body, in round 2."""

    marks = ""

    def send(self, node: int, number: int) -> Sent:
        sent = super().send(node, number)
        if (node, number) != (4, 2):
            return sent
        message = decode_stored(sent.received.frame, Update).message
        wrong = msgspec.structs.replace(message.leaf, update_root=b"\x07" * 32)
        signed = keys.sign_message(DOMAIN.context, self.network[4], msgspec.structs.replace(message, leaf=wrong))
        integers = None if self.marks else sent.received.integers
        row = Received(signed.stored(), wrong, sent.received.content_key, self.marks, integers)
        return msgspec.structs.replace(sent, received=row)


def header_lie(**changes: object) -> type[History]:
    class Lies(History):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, **changes) if number == 2 else header

    return Lies


def changed(history: History, kind: type[events.Event], number: int = 0, **changes: object) -> History:
    """The record with one event rewritten, log and all, as an RPC server that lies would."""
    at = [i for i, entry in enumerate(history.entries) if isinstance(entry.event, kind)][number]
    event = msgspec.structs.replace(history.entries[at].event, **changes)
    entry = history.entries[at]
    history.entries[at] = events.entry_of(entry.position, event, entry.address)
    return history


def for_auditors() -> History:
    return History(policy_of(readers="auditors", auditors=(History().auditor.public.hex(),))).run()
