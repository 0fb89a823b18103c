"""A history as a finished run leaves it on disk: the exported record, and a folder with a database and blobs for each node."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ledger import codes
from ledger.artifacts import NAMES
from ledger.record import export_record
from middleware.protocol import memory, peering
from middleware.trust import eip712, keys, roots
from middleware.trust.keys import KeyFile
from middleware.types import ZERO32, Receipt
from middleware.wire import canonical, tensors
from middleware.wire.message import EdgeReport, Offer, ReceiptReply, Update, decode_metrics, decode_stored
from nodes.config import NodeConfig, write_config
from nodes.store import Contribution, Store
from tests.sim.history import ADDRESSES, CLOUD, DEVICES, DOMAIN, EDGES, PARENT, TASK, History


def write_run(history: History, folder: Path) -> Path:
    """Write it all; returns the home of the nodes."""
    record = history.record
    (folder / "ledger.jsonl").write_bytes(export_record(record.entries, record.head, about()))
    home = folder / "world"
    stores = {node: _store(home, node) for node in (CLOUD, *EDGES, *DEVICES)}
    for node in stores:
        keys = KeyFile(history.network[node], history.account[node])
        (home / "nodes" / name_of(node) / "keys.json").write_bytes(keys.to_bytes())
    for number in range(1, len(history.headers) + 1):
        _round(history, stores, number)
    for data in history.store.blobs.values():
        stores[CLOUD].blobs.put(data)
    last = record.index.witness(record.head.number - 1)
    for store in stores.values():
        store.set_witness(last)
        store.close()
    return home


def about() -> dict[str, str]:
    """The record's opening, with the code that a chain would show: the artifacts' own, bound to nothing."""
    shown = {codes.PREFIX + name: codes.code_of(name, codes.template(name)).described() for name in NAMES}
    return ADDRESSES.about() | shown


def name_of(node: int) -> str:
    return "cloud" if node == CLOUD else f"edge-{node}" if node in EDGES else f"end-{node}"


def _store(home: Path, node: int) -> Store:
    tier = name_of(node).split("-")[0]
    listen = "" if tier == "end" else "127.0.0.1:9000"
    parent = "" if tier == "cloud" else "http://127.0.0.1:9000"
    write_config(
        home / "nodes" / name_of(node) / "node.toml", NodeConfig(name_of(node), tier, listen=listen, parent=parent)
    )
    return Store(home / "nodes" / name_of(node) / "state")


def _round(history: History, stores: dict[int, Store], number: int) -> None:
    header, manifest = history.headers[number - 1], history.manifests[number - 1]
    before = history.manifests[number - 2].state if number > 1 else ZERO32
    state = memory.EMPTY if before == ZERO32 else memory.read(history.policy, history.store.blobs[before])
    model = tensors.decode_model(history.store.blobs[header.model_in], history.policy.parameters)
    offer = Offer(
        CLOUD, number, TASK, number, header.policy, header.model_in, 1, -13, 30.0, header.prev, "open", manifest.roster_block,
        models=peering.models_below(history.policy, model, state.peers),
    )  # fmt: skip
    signed = keys.sign_message(DOMAIN.context, history.network[CLOUD], offer).stored()
    for place, edge in enumerate(manifest.edges):
        report = decode_stored(edge.report, EdgeReport).message
        reply = receipt(history, CLOUD, number, place, roots.edge_leaf_hash(DOMAIN.context, report.leaf))
        for row in edge.updates:
            update = decode_stored(row.frame, Update).message
            promise = receipt(history, report.sender, number, row.index, roots.leaf_hash(DOMAIN.context, update.leaf))
            stores[report.sender].add_contribution(
                Contribution(
                    TASK, number, update.sender, update.sender, row.index, row.frame, update.body_digest, promise
                )
            )
            stores[CLOUD].add_contribution(
                Contribution(TASK, number, report.sender, update.sender, row.index, row.frame, update.body_digest, b"")
            )
            stores[update.sender].put_outgoing(TASK, number, row.frame, update.body_digest)
            stores[update.sender].answer_outgoing(TASK, number, promise, "receipt")
        stores[CLOUD].add_contribution(
            Contribution(TASK, number, report.sender, report.sender, place, edge.report, report.body_digest, reply)
        )
        stores[report.sender].put_outgoing(TASK, number, edge.report, report.body_digest)
        stores[report.sender].answer_outgoing(TASK, number, reply, "receipt")
    for node in (CLOUD, *EDGES):
        stores[node].put_offer(TASK, number, "open", signed, 1.0)
    stores[CLOUD].append_log(signed)
    stores[CLOUD].put_settled(TASK, number, canonical.encode(header), header.manifest, summary(history, number))


def receipt(history: History, parent: int, number: int, index: int, leaf: bytes) -> bytes:
    promise = Receipt(TASK, number, parent, index, leaf)
    signature = keys.sign_receipt(eip712.Domain(DOMAIN.chain_id, DOMAIN.contract), history.account[parent], promise)
    return keys.sign_message(
        DOMAIN.context, history.network[parent], ReceiptReply(parent, 1, promise, signature)
    ).stored()


def summary(history: History, number: int) -> bytes:
    manifest = history.manifests[number - 1]
    rows = [row for edge in manifest.edges for row in edge.updates]
    messages = [decode_stored(row.frame, Update).message for row in rows]
    metrics = decode_metrics(manifest.metrics)
    return msgspec.json.encode(
        {
            "round": number, "accuracy": metrics["accuracy"], "loss": metrics["loss"], "void": manifest.void,
            "updates": len(rows), "weights": {m.sender: r.weight for m, r in zip(messages, rows, strict=True)},
            "bytes_sent": sum(len(r.frame) for r in rows) + sum(m.body_bytes for m in messages), "settled": 12.5,
        }
    )  # fmt: skip


__all__ = ["PARENT", "name_of", "receipt", "write_run"]
