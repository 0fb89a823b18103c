"""Whatever bytes the audit is given, it answers with findings: nothing raises, and nothing wrong is VALID."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from ledger.audit.check import verify
from ledger.audit.evidence import of_entries, read
from ledger.audit.report import Report
from ledger.events import RoundAnchored, entry_of
from ledger.record import export_record
from middleware.errors import ConfigurationError, PeerFault
from middleware.policy import Rule
from middleware.trust import eip712
from middleware.types import Header, Verdict
from middleware.wire.manifest import Manifest, decode_manifest, encode_manifest
from middleware.wire.policy import encode_policy, policy_hash
from tests.sim.history import ADDRESSES, History, Store, policy_of

FLAT = History(rounds=2).run()
TWO_LEVEL = History(policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1), rounds=2).run()


def flipped(data: bytes, drawn: random.Random) -> bytes:
    at = drawn.randrange(len(data))
    return data[:at] + bytes([data[at] ^ drawn.randrange(1, 256)]) + data[at + 1 :]


def damaged(data: bytes, drawn: random.Random) -> bytes:
    """One of: a flip, a cut, a repetition, noise."""
    at = drawn.randrange(len(data))
    match drawn.randrange(4):
        case 0:
            return flipped(data, drawn)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[max(0, at - drawn.randrange(1, 40)) :]
    return data[:at] + drawn.randbytes(drawn.randrange(1, 20)) + data[at:]


def with_blob(history: History, digest: bytes, data: bytes) -> Store:
    store = Store()
    store.blobs = {**history.store.blobs, digest: data}
    return store


@pytest.mark.parametrize("history", [FLAT, TWO_LEVEL], ids=["flat", "two-level"])
def test_every_flipped_blob_is_named(history: History) -> None:
    drawn, record = random.Random(1), history.record
    for digest in sorted(history.store.blobs) * 2:
        report = verify(record, with_blob(history, digest, flipped(history.store.blobs[digest], drawn)))
        assert report.verdict is Verdict.INVALID
        assert any(found.blob == digest.hex() for found in report.findings if found.verdict is Verdict.INVALID)


@pytest.mark.parametrize("history", [FLAT, TWO_LEVEL], ids=["flat", "two-level"])
def test_no_missing_blob_is_called_invalid(history: History) -> None:
    """UNVERIFIABLE, or VALID where the rest of the record gives the same bytes: a missing blob proves nothing."""
    record, rebuilt = history.record, 0
    for digest in sorted(history.store.blobs):
        store = Store()
        store.blobs = {name: data for name, data in history.store.blobs.items() if name != digest}
        report = verify(record, store)
        assert report.invalid == 0
        rebuilt += report.verdict is Verdict.VALID
    reports = 0 if history is TWO_LEVEL else 4  # the edges' report bodies, which the manifest repeats
    assert rebuilt == 2 + reports  # and the two models that replay gives


def anchored_again(history: History, change: Callable[[Header], Header], manifest: bytes) -> tuple[History, Store]:
    """The last round anchored anew by a cloud that lies: its header names the manifest given."""
    header = change(msgspec.structs.replace(history.headers[-1], manifest=hashlib.sha256(manifest).digest()))
    last = history.entries[-1]
    event = RoundAnchored(header.task, header.round, eip712.header_hash(header), header)
    lying = History.__new__(History)
    lying.entries = [*history.entries[:-1], entry_of(last.position, event, last.address)]
    return lying, with_blob(history, header.manifest, manifest)


def audit_of(lying: History, store: Store) -> Report:
    return verify(of_entries(lying.entries, ADDRESSES), store)


@pytest.mark.parametrize("history", [FLAT, TWO_LEVEL], ids=["flat", "two-level"])
def test_a_damaged_manifest_that_was_anchored_all_the_same_never_raises_and_never_passes(history: History) -> None:
    drawn, honest = random.Random(2), encode_manifest(history.manifests[-1])
    for _ in range(400):
        data = damaged(honest, drawn)
        report = audit_of(*anchored_again(history, lambda header: header, data))
        if _says_the_same(data, history.manifests[-1]):
            continue  # only the metrics differ: the cloud's own claim
        assert report.verdict is not Verdict.VALID


def _says_the_same(data: bytes, honest: Manifest) -> bool:
    try:
        return msgspec.structs.replace(decode_manifest(data), metrics=honest.metrics) == honest
    except PeerFault:
        return False


@pytest.mark.parametrize("field", [name for name in Header.__struct_fields__ if name not in ("task", "round")])
def test_a_false_header_field_never_raises_and_never_passes(field: str) -> None:
    manifest = encode_manifest(FLAT.manifests[-1])
    for value in (
        (b"\x00" * 32, b"\xff" * 32, FLAT.headers[0].model_out) if field != "inputs_count" else (0, 1, 2**64 - 1)
    ):
        if getattr(FLAT.headers[-1], field) == value:
            continue
        lie = partial(msgspec.structs.replace, **{field: value})
        lying, store = anchored_again(FLAT, lie, manifest)
        assert audit_of(lying, store).verdict is not Verdict.VALID


def test_an_absurd_policy_does_not_raise() -> None:
    """A policy whose numbers fit no update: every round is INVALID, and the audit ends."""
    for changes in ({"parameters": 601}, {"parameters": 1 << 20}, {"min_updates": 999}, {"samples_cap": 1}):
        history = History(rounds=1).run()
        lying = policy_of(**changes)
        data = encode_policy(lying)
        at = next(i for i, entry in enumerate(history.entries) if type(entry.event).__name__ == "TaskCreated")
        event = msgspec.structs.replace(history.entries[at].event, policy=data, policy_hash=policy_hash(data))
        history.entries[at] = entry_of(history.entries[at].position, event, history.entries[at].address)
        assert verify(history.record, history.store).verdict is Verdict.INVALID


EXPORTED = export_record(FLAT.record.entries, FLAT.record.head, ADDRESSES.about())


def test_a_damaged_record_is_refused_with_the_line_named() -> None:
    drawn = random.Random(3)
    for _ in range(300):
        data = damaged(EXPORTED, drawn)
        if data == EXPORTED:
            continue
        with pytest.raises(PeerFault, match=r"line \d+ of the record|which ledger it is of"):
            read(data)


def test_an_exported_record_is_the_evidence_again() -> None:
    evidence = read(EXPORTED)
    assert evidence.entries == FLAT.record.entries
    assert evidence.addresses == ADDRESSES
    assert verify(evidence, FLAT.store).verdict is Verdict.VALID


def test_an_empty_record_is_not_valid() -> None:
    evidence = read(export_record((), FLAT.record.head, ADDRESSES.about()))
    assert verify(evidence, FLAT.store).verdict is Verdict.UNVERIFIABLE


@pytest.mark.parametrize("about", [{}, {"chain_id": "x"}, {**ADDRESSES.about(), "ledger": "0x00"}])
def test_a_record_that_does_not_say_whose_it_is_is_refused(about: dict[str, str]) -> None:
    with pytest.raises(PeerFault, match="which ledger it is of"):
        read(export_record((), FLAT.record.head, about))


def test_a_record_of_another_ledger_holds_no_signature() -> None:
    other = msgspec.structs.replace(ADDRESSES, chain_id=1)
    report = verify(of_entries(FLAT.entries, other), FLAT.store)
    assert report.first is not None
    assert report.first.subject == "registration of node 1"


def test_an_unknown_scope_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="choose one of public, auditor"):
        verify(FLAT.record, FLAT.store, scope="secret")


def test_progress_is_told_round_by_round() -> None:
    told: list[tuple[int, int]] = []
    verify(FLAT.record, FLAT.store, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
