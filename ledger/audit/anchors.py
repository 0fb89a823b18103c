"""A local log held against the checkpoints of it that stand on a chain."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.audit.report import Bench, Finding
from ledger.audit.scene import short
from ledger.index import RecordedLog
from ledger.journal import Block, log_root


def judge_anchors(
    blocks: Sequence[Block], checkpoints: Sequence[RecordedLog], chain_id: int, whole: bool
) -> tuple[Finding, ...]:
    """One finding a checkpoint. `whole`: the blocks are all that the log's operator shows today, not an older copy."""
    bench = Bench()
    if not checkpoints:
        bench.unverifiable("log", "anchor", f"chain {chain_id} holds no checkpoint of the log by that node")
    hashes = [block.hash for block in blocks]
    for item in checkpoints:
        subject = f"checkpoint of {item.size} blocks in block {item.position.block} of chain {chain_id}"
        by = f"the checkpoint's transaction 0x{item.position.transaction.hex()[:16]}"
        if item.size <= len(hashes):
            mine = log_root(hashes, item.size)
            what = (
                f"log forked at size {item.size}: its blocks have the root {short(mine)}, the chain {short(item.root)}"
            )
            bench.holds(mine == item.root, "log", subject, what, by)
        elif whole:
            what = f"log rewound: the chain knows {item.size} blocks of it, it has {len(hashes)}"
            bench.invalid("log", subject, what, by)
        else:
            what = f"the record has {len(hashes)} blocks: export it again; if the log has no more, it was rewound"
            bench.unverifiable("log", subject, what)
    return tuple(bench.findings)
