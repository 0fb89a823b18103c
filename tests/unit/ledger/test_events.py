from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import calls, events
from ledger.record import export_record, import_record
from middleware.errors import ConfigurationError, PeerFault
from middleware.ports import Entry, Head, Position
from middleware.types import ZERO32, EdgeLeaf, Header, Leaf, Receipt

HEADER = Header(
    task=1, round=2, prev=b"\x01" * 32, roster=b"\x02" * 32, policy=b"\x03" * 32, model_in=b"\x04" * 32,
    inputs_root=b"\x05" * 32, inputs_count=6, forced=ZERO32, weights_root=b"\x07" * 32, model_out=b"\x08" * 32,
    chunks_root=b"\x09" * 32, scores_root=ZERO32, rewards_root=b"\x0a" * 32, budget=ZERO32, manifest=b"\x0b" * 32,
)  # fmt: skip
LEAF = Leaf(1, 2, 3, 4, 5, 6, b"\7" * 32, b"\x08" * 32, b"\x09" * 32)
EDGE = EdgeLeaf(1, 2, 4, b"\1" * 32, 5, b"\2" * 32, b"\3" * 32, 2**64 - 1)
RECEIPT = Receipt(1, 2, 4, 0, b"\1" * 32)
SIGNATURE, PATH = b"\x0a" * 65, (b"\x0b" * 32, b"\x0c" * 32)
PLACED = calls.Placed(LEAF, 2, PATH)
MEMBER = calls.Member(EDGE, 1, PATH, 2**64 - 1)
CHUNK = calls.Chunk(1, b"\1" * 32, b"\2" * 32, PATH)
WALK = (calls.Step(b"\1" * 32, PATH), calls.Step(b"\2" * 32, ()))
GROUP = calls.Group(1, (b"update", b"other"), PATH, (), CHUNK, WALK)
INNER = calls.Inner(1, 0, (b"", b"child"), CHUNK, WALK)
STRUCTS: dict[object, object] = {Header: HEADER, Leaf: LEAF, EdgeLeaf: EDGE}
HEAD = Head(9, b"\x99" * 32, 1_000)
ABOUT = {"chain_id": "31337", "ledger": "0x" + "aa" * 20}
CALLS: list[calls.AnyCall] = [
    calls.Register(b"\1" * 32, b"\2" * 20, b"\3" * 20, 3, 0, b"\4" * 32, ZERO32, 2**255, b"\5" * 65, b"\6" * 64),
    calls.RotateNetKey(1, b"\1" * 32, 5, b"\2" * 65, b"\3" * 64),
    *(kind(7) for kind in (calls.Admit, calls.Suspend, calls.Reinstate, calls.Revoke, calls.AcceptAccount)),
    *(kind(7) for kind in (calls.Withdraw, calls.CloseTask)),
    *(kind(7, 10**27) for kind in (calls.Stake, calls.Unstake, calls.Fund)),
    *(kind() for kind in (calls.PauseRegistry, calls.UnpauseRegistry, calls.PauseLedger, calls.UnpauseLedger)),
    calls.ProposeAccount(1, b"\1" * 20),
    calls.SetMeta(1, b"\1" * 32),
    calls.RegisterBatch(b"\1" * 32, 5, b"\2" * 32),
    *(kind(7) for kind in (calls.AdmitBatch, calls.SuspendBatch, calls.ReinstateBatch, calls.RevokeBatch)),
    calls.Materialise(
        1, 2, b"\1" * 32, b"\2" * 20, b"\3" * 20, 1, 9, b"\4" * 32, ZERO32, 2**64, b"\5" * 65, b"\6" * 64, PATH
    ),
    calls.Slash(1, 2**90, b"reason".ljust(32)),
    calls.Settle(b"\1" * 20, 2**90, 5),
    calls.Collect(b"omission".ljust(32, b"\0"), 1, 2, 3),
    *(kind(7) for kind in (calls.HoldNode, calls.ReleaseNode, calls.HoldTask, calls.ReleaseTask, calls.ReclaimUnused)),
    *(kind(b"\1" * 20, b"\2" * 20) for kind in (calls.SetRegistryArbiters, calls.SetLedgerArbiters)),
    calls.CreateTask(1, 60, calls.TRIMMED_MEAN, 3, 4, 76, b"\1" * 32, b"{}"),
    calls.AnchorRound(HEADER),
    calls.SubmitDirect(LEAF, SIGNATURE),
    calls.Checkpoint(1, 2, b"\1" * 32, PATH),
    calls.Strike(1, 2),
    calls.Reclaim(HEADER, 5, 2**127, b"\1" * 32),
    calls.Burn(10**27),
    calls.Omission(RECEIPT, SIGNATURE, LEAF, EDGE, SIGNATURE, b"\1" * 32, PATH),
    calls.EdgeOmission(RECEIPT, SIGNATURE, HEADER, 5, b"\1" * 32, PATH),
    calls.ForcedIgnored(3, HEADER, 5),
    calls.ConflictingReceipts(RECEIPT, SIGNATURE, RECEIPT, SIGNATURE),
    calls.ConflictingRoots(EDGE, SIGNATURE, EDGE, SIGNATURE),
    calls.InactiveSender(EDGE, SIGNATURE, PLACED),
    calls.DuplicateSender(EDGE, SIGNATURE, PLACED, PLACED),
    calls.WrongGroup(HEADER, 5, MEMBER, b"\1" * 32, PATH, GROUP),
    calls.WrongEdgeGroup(EDGE, SIGNATURE, GROUP),
    calls.WrongNode(HEADER, 5, 2, INNER),
    calls.WrongInnerNode(HEADER, 5, MEMBER, INNER),
    calls.WrongEdgeNode(EDGE, SIGNATURE, INNER),
    calls.WrongMember(HEADER, 5, MEMBER, b"\1" * 32, WALK),
    calls.WrongWeights(HEADER, 5, MEMBER, b"\1" * 32, PATH),
    calls.WrongCoordinate(HEADER, 5, (calls.Taken(EDGE, (b"update",)),), CHUNK, bytes(2048), 255),
    calls.Demand(HEADER, 5, MEMBER, 2, 3, 4),
    calls.AnswerLeaf(1, EDGE, PLACED),
    calls.AnswerChunk(1, EDGE, PLACED, 4, bytes(528), PATH),
    calls.AnswerRoot(1, EDGE, SIGNATURE),
    *(kind(7) for kind in (calls.Expire, calls.Conclude, calls.Lapse)),
    calls.Challenge(HEADER, 5, 6, b"\1" * 32),
    calls.Commit(1, 2, b"\1" * 32),
    calls.Reveal(1, 2, b"\1" * 32, b"\2" * 32),
    calls.Decide(1, True),
    calls.WithdrawShares(),
    calls.PublishModel(b"\5" * 32, HEADER, 1_700_000_000, b"\6" * 32, 3, 2_500),
    calls.PublishForeign(b"\5" * 32, b"\6" * 32, 3, 0),
    calls.SetPrice(b"\5" * 32, 4),
    calls.GrantLicence(b"\5" * 32, b"\1" * 20, 1_800_000_000, 1_000),
    calls.RevokeLicence(b"\5" * 32, b"\1" * 20),
    calls.OpenChannel(b"\5" * 32, 2, 500),
    calls.FundChannel(1, 5),
    calls.Redeem(1, 10, b"\7" * 32, bytes(65)),
    calls.CloseChannel(1),
    calls.WithdrawChannel(1),
    calls.Claim(1, 2, b"\2" * 32, 5, 1, 2**127, 0, 2, b"\1" * 48),
    calls.Mint(b"\1" * 20, 10**27),
    calls.Approve(b"\1" * 20, 2**256 - 1),
    calls.GrantRole(1, b"\1" * 20),
]


def position(block: int, log_index: int = 0) -> Position:
    return Position(block, bytes([block]) * 32, 100 + block, bytes([block + 50]) * 32, log_index, 21_000, b"\x0c" * 20)


def record_of(count: int) -> bytes:
    entries = [events.entry_of(position(i), events.Funded(1, b"\2" * 20, i), b"\7" * 20) for i in range(1, count + 1)]
    return export_record(entries, HEAD, ABOUT)


# --------------------------------------------------------------------------------------------------------------- events


def sample(kind: type[events.Event]) -> events.Event:
    """An event with a different value in every field, as wide as its ABI type allows to be told apart."""
    widths = {"account": 20, "owner": 20, "to": 20, "from_": 20, "spender": 20, "publisher": 20, "by": 20, "user": 20}
    widths |= dict.fromkeys(("beneficiary", "challenger"), 20)
    fields: dict[str, object] = {}
    for place, field in enumerate(msgspec.structs.fields(kind), start=1):
        if field.type is int:
            fields[field.name] = place
        elif field.type is bool:
            fields[field.name] = True
        elif field.type in STRUCTS:
            fields[field.name] = STRUCTS[field.type]
        elif kind is events.ArbitersSet:
            fields[field.name] = bytes([place]) * 20
        else:
            fields[field.name] = bytes([place]) * widths.get(field.name, 32)
    return kind(**fields)


@pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_read_from_the_log_that_it_makes(kind: type[events.Event]) -> None:
    event = sample(kind)
    topics, data = events.encode_event(event)
    assert events.decode_event(topics, data) == event
    assert all(len(topic) == 32 for topic in topics)


def test_topics_are_those_that_every_token_emits() -> None:
    topics, data = events.encode_event(events.Transfer(b"\1" * 20, b"\2" * 20, 5))
    assert topics[0].hex() == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"  # ERC-20
    assert topics[1:] == (bytes(12) + b"\1" * 20, bytes(12) + b"\2" * 20)
    assert data == (5).to_bytes(32, "big")


def test_an_event_of_another_signature_is_kept_as_other() -> None:
    entry = events.entry_from_log(position(1), b"\1" * 20, (b"\x77" * 32,), b"data")
    assert (entry.event, entry.topics, entry.data) == (events.Other(), (b"\x77" * 32,), b"data")
    with pytest.raises(ConfigurationError):
        events.encode_event(entry.event)


@given(cut=st.integers(0, 11 * 32 - 1))
def test_a_cut_log_is_malformed(cut: int) -> None:
    topics, data = events.encode_event(
        events.TaskCreated(1, 2, b"\1" * 20, 3, b"\2" * 32, b"\3" * 32, 1, 0, 2, 9, b"p" * 64)
    )
    with pytest.raises(PeerFault, match="malformed"):
        events.decode_event(topics, data[:cut])


def test_a_log_with_a_topic_too_few_is_malformed() -> None:
    topics, data = events.encode_event(events.Funded(1, b"\1" * 20, 5))
    with pytest.raises(PeerFault, match="2 topics"):
        events.decode_event(topics[:2], data)


@pytest.mark.parametrize("called", ["Registry", "Ledger"])
def test_an_event_that_several_contracts_have_is_the_called_ones(called: str) -> None:
    assert events.emitter(events.PauseChanged(True), called) == called
    assert events.emitter(events.ArbitersSet(b"\1" * 20, b"\2" * 20), called) == called


def test_an_event_of_one_contract_is_its_own_whoever_was_called() -> None:
    assert events.emitter(events.Released(1, 0), "Court") == "Registry"
    assert events.emitter(events.Transfer(b"\1" * 20, b"\2" * 20, 5), "Arbiter") == "Credit"
    assert events.emitter(events.RoundStruck(1, 1), "Arbiter") == "Ledger"


def test_a_field_past_its_width_is_our_fault() -> None:
    with pytest.raises(ConfigurationError, match="StatusChanged"):
        events.encode_event(events.StatusChanged(1 << 32, 1))


# --------------------------------------------------------------------------------------------------------------- record


def test_a_record_reads_back_what_was_written() -> None:
    entries = [
        events.entry_of(position(1), events.RoundAnchored(1, 2, b"\1" * 32, HEADER), b"\7" * 20),
        Entry(position(2), events.Other(), b"\7" * 20, (b"\x77" * 32,), b"raw"),
    ]
    data = export_record(entries, HEAD, ABOUT)
    record = import_record(data)
    assert (record.batch.entries, record.batch.head, record.about) == (tuple(entries), HEAD, ABOUT)
    assert record.digest.hex() == json.loads(data.splitlines()[-1])["digest"]


def test_each_line_digests_itself_and_the_line_before() -> None:
    digest = ZERO32
    for raw in record_of(3).splitlines():
        line = raw.decode()
        stored = json.loads(line)["digest"]
        digest = hashlib.sha256(digest + line.replace(stored, "").encode()).digest()
        assert digest.hex() == stored


def test_two_records_of_different_entries_have_different_last_digests() -> None:
    assert import_record(record_of(2)).digest != import_record(record_of(3)).digest


@given(data=st.data())
def test_any_altered_byte_is_found_and_its_line_named(data: st.DataObject) -> None:
    record = record_of(4)
    place = data.draw(st.integers(0, len(record) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != record[place]))
    line = record[:place].count(b"\n") + 1
    with pytest.raises(PeerFault) as fault:
        import_record(record[:place] + bytes([other]) + record[place + 1 :])
    assert fault.value.code == "malformed"
    assert fault.value.detail.startswith(f"line {line} of the record")


@given(line=st.integers(0, 5))
def test_a_cut_line_is_found(line: int) -> None:
    lines = record_of(4).splitlines(keepends=True)
    with pytest.raises(PeerFault) as fault:
        import_record(b"".join(lines[:line] + lines[line + 1 :]))
    assert fault.value.detail.startswith(f"line {line + 1} of the record")


@given(cut=st.integers(0, 1_000))
def test_a_record_cut_short_is_found(cut: int) -> None:
    with pytest.raises(PeerFault, match="malformed: line"):
        import_record(record_of(4)[:cut])


def test_two_lines_changed_about_are_found() -> None:
    first, second, third, *rest = record_of(4).splitlines(keepends=True)
    with pytest.raises(PeerFault, match="line 2 of the record"):
        import_record(b"".join([first, third, second, *rest]))


def test_nothing_may_follow_the_last_line() -> None:
    record = record_of(1)
    with pytest.raises(PeerFault, match="line 4 of the record"):
        import_record(record + record.splitlines(keepends=True)[1])


# ---------------------------------------------------------------------------------------------------------------- calls


def test_every_kind_of_call_is_tried_here() -> None:
    assert {type(call) for call in CALLS} == set(calls.AnyCall.__args__)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: type(call).__name__)
def test_a_call_fits_its_abi_and_reads_back(call: calls.AnyCall) -> None:
    assert calls.decode_call(calls.encode_call(call)) == call
    assert len(calls.calldata(call)) % 32 == 4


def test_call_ids_name_the_intent() -> None:
    assert len({calls.call_id(call) for call in CALLS}) == len(CALLS)
    assert calls.call_id(calls.Admit(7)) == calls.call_id(calls.decode_call(calls.encode_call(calls.Admit(7))))


def test_calldata_begins_with_the_selector_that_every_token_knows() -> None:
    data = calls.calldata(calls.Approve(b"\1" * 20, 5))
    assert data.hex() == "095ea7b3" + "00" * 12 + "01" * 20 + f"{5:064x}"


@pytest.mark.parametrize("data", [b"", b"[]", b'["Admit"]', b'["Admit",1,2]', b'["Admit", 1]', b'["Nothing",1]'])
def test_bytes_that_are_no_call_are_malformed(data: bytes) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        calls.decode_call(data)


def test_an_argument_past_its_width_is_our_fault() -> None:
    with pytest.raises(ConfigurationError, match=r"Registry\.admit"):
        calls.calldata(calls.Admit(1 << 32))
