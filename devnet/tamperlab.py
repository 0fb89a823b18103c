"""The tamper lab: one fault at a time is put into a copy of a finished run, and the audit must call it by its name.

Each fault is what somebody could really do, and consistent in everything but itself: insiders sign anew with their own
keys, later rounds follow from the lie, databases and the ledger's record agree (`devnet.insider`). What the lab shows is
therefore that the one thing which cannot be made to agree is found, and named: by the first finding, and by every other
INVALID one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from devnet.insider import Draft, World
from ledger import codes
from ledger.audit.evidence import read, unreadable
from ledger.audit.report import Finding, Report, summarise
from ledger.events import Checkpointed, KeyRotated, entry_from_log
from middleware.errors import ConfigurationError, PeerFault
from middleware.protocol import memory, peering
from middleware.protocol import settlement as settling
from middleware.protocol.settlement import Opening, Reported, Settlement
from middleware.trust import chunks, eip712, keys, merkle, roots
from middleware.trust.keys import NetworkKey
from middleware.types import Receipt, Seen, Verdict
from middleware.wire import tensors
from middleware.wire.message import EdgeReport, Offer, ReceiptReply, Update, decode_stored
from middleware.wire.state import State, encode_state
from nodes.records import verify_home


class Done(msgspec.Struct, frozen=True):
    """What was done, in words, and what a finding about it must be about."""

    what: str
    place: str  # a part of the finding's place


class Fault(msgspec.Struct, frozen=True):
    """One class. `name` is one of ledger.audit.report.NAMES."""

    name: str
    title: str
    commit: Callable[[World], Done]
    verdict: Verdict = Verdict.INVALID


class Shown(msgspec.Struct, frozen=True):
    """One line of the lab's table. `fault` is "" for the untouched copy."""

    fault: str
    title: str
    done: str
    verdict: Verdict
    check: str
    subject: str
    named: str
    says: str
    caught: bool


# ------------------------------------------------------------------------------------------------------------ the faults


def middle(world: World) -> int:
    """The round that is lied about: with others before and behind it, where there are."""
    return (world.rounds() + 1) // 2


def broad(drafts: Sequence[Draft]) -> Draft:
    """The edge with the most updates."""
    found = max(drafts, key=lambda draft: len(draft.rows))
    if len(found.rows) < 2:
        raise ConfigurationError("the tamper lab needs an edge with two updates in one round: run more devices")
    return found


def update_in(world: World, round: int) -> tuple[Draft, int]:
    """(its edge's part, the node) of some used update of a round."""
    draft = broad(world.drafts(world.manifest(round)))
    return draft, next(row.leaf.node for row in draft.rows if not row.refused)


def flipped_blob(world: World) -> Done:
    round = middle(world)
    draft, node = update_in(world, round)
    digest = next(row.leaf.ciphertext for row in draft.rows if row.leaf.node == node)
    for path in world.files(digest):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x01
        path.write_bytes(bytes(data))
    return Done(f"one bit of the sealed update of {world.name(node)} in round {round}, in every copy", digest.hex())


def withheld_blob(world: World) -> Done:
    round = middle(world)
    draft, node = update_in(world, round)
    digest = next(row.leaf.ciphertext for row in draft.rows if row.leaf.node == node)
    for path in world.files(digest):
        path.unlink()
    return Done(f"nobody serves the sealed update of {world.name(node)} in round {round} any more", digest.hex())


def forged_signature(world: World) -> Done:
    """A stranger signs in a device's name, the edge and the cloud take it."""
    return _signed_by(world, NetworkKey(hashlib.sha256(b"a stranger").digest()), "a stranger's key", own=False)


def early_key(world: World) -> Done:
    """A device uses its next key before the ledger knows it."""
    key = NetworkKey(hashlib.sha256(b"the next key").digest())
    done = _signed_by(world, key, "the key that it rotates to later", own=True)
    node = next(number for number in world.keys if world.name(number) in done.place)
    domain, deadline = world.evidence.registry_domain, world.head.time + 3600
    earlier = sum(isinstance(entry.event, KeyRotated) and entry.event.id == node for entry in world.entries)
    digest = eip712.rotation_digest(domain, node, key.public, earlier, deadline)
    event = KeyRotated(id=node, new_key=key.public, deadline=deadline, net_key_proof=key.sign_digest(digest))
    world.append(event, world.addresses.registry, world.keys[node].account.address)
    return done


def _signed_by(world: World, key: NetworkKey, whose: str, own: bool) -> Done:
    told: list[int] = []
    round = middle(world)

    def inputs(drafts: list[Draft]) -> None:
        draft = broad(drafts)
        at = next(at for at, row in enumerate(draft.rows) if not row.refused)
        row = draft.rows[at]
        message = decode_stored(row.frame, Update).message
        frame = keys.sign_message(world.domain.context, key, message).stored()
        draft.rows[at] = msgspec.structs.replace(row, frame=frame)
        keepers = (world.task.cloud, draft.edge, *([row.leaf.node] if own else []))
        world.swap({row.frame: frame}, keepers)
        told.append(row.leaf.node)

    world.retell(round, inputs)
    return Done(
        f"the update of {world.name(told[0])} in round {round} signed with {whose}", f"update of {world.name(told[0])}"
    )


def omitted_update(world: World) -> Done:
    """An edge signs a root without its last update, though it gave the receipt; it and the cloud forget it."""
    told: list[int] = []
    round = middle(world)

    def inputs(drafts: list[Draft]) -> None:
        draft = broad(drafts)
        row = draft.rows.pop()
        for keeper in (world.task.cloud, draft.edge):
            world.forget(keeper, world.task.id, round, row.leaf.node)
        told.extend((row.leaf.node, draft.edge))

    world.retell(round, inputs)
    what = f"{world.name(told[1])} signs round {round} without {world.name(told[0])}, which has its receipt"
    return Done(what, f"{world.name(told[0])}/")


def duplicated_update(world: World) -> Done:
    told: list[int] = []
    round = middle(world)

    def inputs(drafts: list[Draft]) -> None:
        draft = broad(drafts)
        draft.rows.append(draft.rows[0])
        told.extend((draft.rows[0].leaf.node, draft.edge))

    def result(opening: Opening, reports: list[Reported], settled: Settlement) -> Settlement:
        total = sum(row.weight for edge in settled.manifest.edges for row in edge.updates)
        return msgspec.structs.replace(settled, manifest=msgspec.structs.replace(settled.manifest, weight_total=total))

    world.retell(round, inputs, result)
    what = f"{world.name(told[1])} signs the update of {world.name(told[0])} into round {round} twice"
    return Done(what, f"update of {world.name(told[0])}")


def reordered_update(world: World) -> Done:
    told: list[int] = []
    round = middle(world)

    def inputs(drafts: list[Draft]) -> None:
        draft = broad(drafts)
        draft.rows[:2] = draft.rows[1::-1]
        told.extend((draft.edge, *(row.leaf.node for row in draft.rows[:2])))
        with world.database(world.task.cloud) as connection:
            for place, row in enumerate(draft.rows[:2]):
                where = "UPDATE contribution SET place = ? WHERE task = ? AND round = ? AND child = ? AND node = ?"
                connection.execute(where, (place, world.task.id, round, draft.edge, row.leaf.node))

    world.retell(round, inputs)
    what = f"{world.name(told[0])} signs the first two updates of round {round} in the other order than it promised"
    return Done(what, "/")


def wrong_aggregate(world: World) -> Done:
    """The cloud moves one number of the model by one grid unit, and everything follows from that."""
    round, policy = middle(world), world.task.policy

    def result(opening: Opening, reports: list[Reported], honest: Settlement) -> Settlement:
        seed, recalled = honest.header.inputs_root, memory.recall(opening.state)
        _, summed, _ = settling.combine(policy, reports, settling.NONE_FORCED, seed, recalled)
        if summed.vector is None:
            raise ConfigurationError(f"round {opening.round} is void: there is no aggregate to change")
        if honest.applied is None:
            raise ConfigurationError(f"round {opening.round} moves nothing: there is no model to change")
        vector, applied = summed.vector.copy(), honest.applied.copy()
        vector[0] += summed.weight
        applied[0] += 1
        root = chunks.sums_root(vector)
        moved = msgspec.structs.replace(
            summed, vector=vector, root=root, node=roots.sum_node(root, summed.children)
        )  # fmt: skip
        model, _ = memory.move(policy, opening.model, applied, opening.state.vectors)
        blob = tensors.encode_model(model)
        digest = hashlib.sha256(blob).digest()
        return msgspec.structs.replace(
            honest, model=model, model_blob=blob, applied=applied,
            header=msgspec.structs.replace(honest.header, model_out=digest, chunks_root=moved.node),
            manifest=msgspec.structs.replace(honest.manifest, model_out=digest),
        )  # fmt: skip

    world.retell(round, result=result)
    return Done(f"{world.name(world.task.cloud)} adds one grid unit to one number of round {round}", f"round {round}")


def wrong_state(world: World) -> Done:
    """The cloud leaves to the next round something else than this one made, and everything follows from that."""
    round, told = middle(world), []

    def result(opening: Opening, reports: list[Reported], honest: Settlement) -> Settlement:
        state, what = _changed(world, honest.state, reports)
        blob = encode_state(state)
        told.append(what)
        manifest = msgspec.structs.replace(honest.manifest, state=hashlib.sha256(blob).digest())
        return msgspec.structs.replace(honest, manifest=manifest, state=state, state_blob=blob)

    world.retell(round, result=result)
    return Done(f"{world.name(world.task.cloud)} {told[0]} behind round {round}", f"round {round}, state")


def _changed(world: World, state: State, reports: Sequence[Reported]) -> tuple[State, str]:
    """(the state with as little changed as there is, what that was)."""
    policy = world.task.policy
    if policy.peers is not None:
        edge = min(state.peers, default=reports[0].leaf.edge)
        peer = state.peers.get(edge, peering.new_peer(policy.parameters))
        value = peer.value.copy()
        value[0] += 1
        rows = {**state.peers, edge: msgspec.structs.replace(peer, value=value)}
        return msgspec.structs.replace(state, peers=rows), f"changes one number of {world.name(edge)}'s model"
    if state.vectors:
        vectors = tuple(vector.copy() for vector in state.vectors)
        vectors[0][0] = np.nextafter(vectors[0][0], np.float32(1))
        return msgspec.structs.replace(state, vectors=vectors), "changes one bit of the server step's vector"
    if state.centre is not None:
        centre = state.centre.copy()
        centre[0] += 1
        return msgspec.structs.replace(state, centre=centre), "moves one number of the rule's centre by a grid unit"
    if state.standing:
        node = min(state.standing)
        good, bad = state.standing[node]
        standing = {**state.standing, node: (good + 1, bad)}
        return msgspec.structs.replace(state, standing=standing), f"thinks better of {world.name(node)}"
    return state, "names a state, which this task has none of,"


def wrong_edge_model(world: World) -> Done:
    """The cloud shows the devices below one edge an older model than is theirs."""
    older = world.header(1).model_in
    offers = [(frame, offer) for frame, offer in world.offers() if 1 < offer.round <= world.rounds()]
    if not offers:
        raise ConfigurationError("the tamper lab needs a run of at least two rounds to show an edge an older model")
    frame, offer = next((one for one in offers if one[1].models), offers[len(offers) // 2 - 1])
    reports = [decode_stored(edge.report, EdgeReport).message for edge in world.manifest(offer.round).edges]
    edge = offer.models[0][0] if offer.models else reports[0].sender
    models = {**dict(offer.models), edge: older}
    world.show(frame, msgspec.structs.replace(offer, models=tuple(sorted(models.items()))))
    what = f"{world.name(world.task.cloud)} shows the devices below {world.name(edge)} the first model in round {offer.round}"
    return Done(what, f"offer of round {offer.round}")


def padded_reward(world: World) -> Done:
    told: list[int] = []
    round = middle(world)

    def result(opening: Opening, reports: list[Reported], honest: Settlement) -> Settlement:
        rewards = dict(honest.rewards)
        node = max(rewards, key=lambda number: (rewards[number], -number), default=0)
        if not node:
            raise ConfigurationError("nobody earned anything in this run: there is no reward to pad")
        rewards[node] += 1 + world.task.policy.reward_per_round // 10
        entries = tuple(sorted(rewards.items()))
        told.append(node)
        return msgspec.structs.replace(
            honest, rewards=rewards,
            header=msgspec.structs.replace(honest.header, rewards_root=merkle.sum_root(entries)),
            manifest=msgspec.structs.replace(honest.manifest, rewards=entries),
        )  # fmt: skip

    world.retell(round, result=result)
    name = world.name(told[0])
    return Done(
        f"{world.name(world.task.cloud)} gives {name} a tenth of round {round} on top, and pays it", f"reward of {name}"
    )


def skipped_round(world: World) -> Done:
    if world.rounds() < 2:
        raise ConfigurationError("the tamper lab needs a run of at least two rounds to skip one")
    round = middle(world)
    at = world.place_of(round)
    entry = world.entries[at]
    topics = (hashlib.sha256(b"something else").digest(),)
    world.entries[at] = entry_from_log(entry.position, entry.address, topics, b"")
    return Done(f"the record goes from round {round - 1} to round {round + 1}", f"round {round + 1}, header")


def rewound_chain(world: World) -> Done:
    """The chain from a block that was countersigned is mined again: the same events, in other blocks."""
    seen = newest_seen(world)
    if seen == Seen():
        raise ConfigurationError("nobody noted a block of this run's past yet: run it longer")
    again = {entry.position.block_hash for entry in world.entries if entry.position.block >= seen.block}
    for at, entry in enumerate(world.entries):
        if entry.position.block_hash in again:
            position = msgspec.structs.replace(entry.position, block_hash=_again(entry.position.block_hash))
            world.entries[at] = msgspec.structs.replace(entry, position=position)
    world.head = msgspec.structs.replace(world.head, hash=_again(world.head.hash))
    return Done(f"the chain from block {seen.block} on is mined again with the same events", "")


def newest_seen(world: World) -> Seen:
    """The newest block that a frame of the last round, or a node's own note, vouches for."""
    found = [decode_stored(edge.report, EdgeReport).message.seen for edge in world.manifest(world.rounds()).edges]
    found += [memory for node in world.settings if (memory := world.witness(node)) != Seen()]
    return max(found, key=lambda seen: seen.block, default=Seen())


def _again(block_hash: bytes) -> bytes:
    return hashlib.sha256(b"mined again" + block_hash).digest()


def equivocation(world: World) -> Done:
    """An edge signs a second receipt for a place that it has given away."""
    round = middle(world)
    draft = broad(world.drafts(world.manifest(round)))
    (first, second), edge = (row.leaf.node for row in draft.rows[:2]), draft.edge
    with world.database(second) as connection:
        where = "SELECT reply FROM outgoing WHERE task = ? AND round = ?"
        (reply,) = connection.execute(where, (world.task.id, round)).fetchone()
    message = decode_stored(reply, ReceiptReply).message
    receipt: Receipt = msgspec.structs.replace(message.receipt, index=0)
    world.swap({reply: world.receipt(edge, message, receipt)}, (second,))
    what = f"{world.name(edge)} promises place 0 of round {round} to {world.name(first)} and to {world.name(second)}"
    return Done(what, f"receipts of {world.name(edge)}")


def forked_log(world: World) -> Done:
    """The cloud signs another offer for a round that is over, and rewrites its log, though its checkpoint is on the ledger.
    A run that is too short for a checkpoint gets one first."""
    cloud = world.task.cloud
    if not world.evidence.index.checkpoints.get(cloud):
        log = world.log(cloud)
        point = Checkpointed(cloud, len(log), merkle.root_over(log))
        world.append(point, world.addresses.ledger, world.keys[cloud].account.address)
    with world.database(cloud) as connection:
        query = "SELECT round, frame FROM offer WHERE task = ? AND state = 'open' ORDER BY round"
        round, frame = connection.execute(query, (world.task.id,)).fetchone()
    offer = decode_stored(frame, Offer).message
    other = msgspec.structs.replace(offer, sequence=offer.sequence + 1)
    world.swap({frame: keys.sign_message(world.domain.context, world.keys[cloud].network, other).stored()})
    return Done(f"{world.name(cloud)} puts another offer of round {round} into its log", f"{world.name(cloud)}/")


def replaced_code(world: World) -> Done:
    """Somebody put other code at the Ledger's address; the record tells the code that it found there."""
    field = codes.PREFIX + "Ledger"
    if field not in world.about:
        raise ConfigurationError("this run's record does not tell the code of its contracts: make a new run")
    honest = codes.Code.parse(world.about[field])
    code = bytearray(codes.template("Ledger"))
    code[len(code) // 2] ^= 0x01
    world.about[field] = codes.Code(codes.code_of("Ledger", bytes(code)).shape, honest.words).described()
    return Done("one byte of the Ledger contract's code is another", "code of contract Ledger")


FAULTS: Final = tuple(
    Fault(name, title, commit, verdict)
    for name, title, commit, verdict in (
        ("altered-blob", "flipped blob byte", flipped_blob, Verdict.INVALID),
        ("forged-signature", "forged signature", forged_signature, Verdict.INVALID),
        ("early-key", "rotated key used early", early_key, Verdict.INVALID),
        ("omitted-update", "omitted update", omitted_update, Verdict.INVALID),
        ("duplicated-update", "duplicated update", duplicated_update, Verdict.INVALID),
        ("reordered-update", "reordered update", reordered_update, Verdict.INVALID),
        ("wrong-aggregate", "wrong aggregate", wrong_aggregate, Verdict.INVALID),
        ("wrong-state", "wrong state", wrong_state, Verdict.INVALID),
        ("wrong-edge-model", "wrong edge model", wrong_edge_model, Verdict.INVALID),
        ("padded-reward", "padded reward", padded_reward, Verdict.INVALID),
        ("skipped-round", "skipped round", skipped_round, Verdict.INVALID),
        ("rewound-chain", "rewound chain", rewound_chain, Verdict.INVALID),
        ("forked-log", "forked operational log", forked_log, Verdict.INVALID),
        ("replaced-code", "replaced contract code", replaced_code, Verdict.INVALID),
        ("withheld-blob", "withheld blob", withheld_blob, Verdict.UNVERIFIABLE),
        ("equivocation", "edge equivocation", equivocation, Verdict.INVALID),
    )
)


# --------------------------------------------------------------------------------------------------------------- the lab

Progress = Callable[[int, int, str], None]  # (experiments done, in all, the next one's name)


def audit(run: Path) -> Report:
    """`drystone audit verify --log RUN/ledger.jsonl --home RUN/world`, in this process."""
    try:
        evidence = read((run / "ledger.jsonl").read_bytes())
    except PeerFault as fault:
        return summarise([unreadable(fault)], "public")
    return verify_home(evidence, run / "world")


def chosen(name: str) -> tuple[Fault, ...]:
    """The faults of that name or title; all of them for ""."""
    found = tuple(fault for fault in FAULTS if name in ("", fault.name, fault.title))
    if not found:
        raise ConfigurationError(
            f"no fault is called {name!r}: choose one of {', '.join(fault.name for fault in FAULTS)}"
        )
    return found


def run_lab(run: Path, faults: Sequence[Fault] = FAULTS, progress: Progress | None = None) -> list[Shown]:
    """The untouched copy first, then each fault on a fresh copy of `run`. Nothing in `run` is changed."""
    shown: list[Shown] = []
    for done, fault in enumerate((None, *faults)):
        if progress is not None:
            progress(done, len(faults) + 1, fault.title if fault else "nothing")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "run"
            shutil.copytree(run, copy, ignore=shutil.ignore_patterns("chain", "logs"))
            shown.append(_untouched(audit(copy)) if fault is None else try_fault(copy, fault))
    return shown


def try_fault(run: Path, fault: Fault) -> Shown:
    """Commit one fault in `run`, which is spoilt by it, and audit."""
    world = World(run)
    done = fault.commit(world)
    world.save()
    return judge(fault, done, audit(run))


def judge(fault: Fault, done: Done, report: Report) -> Shown:
    """Caught: the verdict is right, the first finding has the fault's name and place, and no INVALID one has another."""
    first = report.first
    if first is None:
        return Shown(fault.name, fault.title, done.what, report.verdict, "", "", "", "nothing", False)
    others = [f for f in report.findings if f.verdict is Verdict.INVALID and f.fault != fault.name]
    caught = report.verdict is fault.verdict and first.fault == fault.name and _about(first, done) and not others
    return Shown(
        fault.name, fault.title, done.what, report.verdict, first.check, first.place, first.fault, first.line(), caught
    )


def table(shown: Sequence[Shown]) -> str:
    """The lab's table in Markdown."""
    lines = ["| fault | what was done | verdict | named | where | caught |", "| --- | --- | --- | --- | --- | --- |"]
    for one in shown:
        named = f"`{one.named}`" if one.named else ""
        cells = (one.title, one.done, one.verdict.value, named, one.subject, "yes" if one.caught else "**no**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _about(finding: Finding, done: Done) -> bool:
    return done.place in (finding.place if done.place != finding.blob else finding.blob)


def _untouched(report: Report) -> Shown:
    first = report.first
    where = (first.check, first.place, first.fault, first.line()) if first else ("", "", "", "nothing")
    return Shown("", "nothing", "an untouched copy", report.verdict, *where, report.verdict is Verdict.VALID)
