"""What do edges with models of their own need to learn? Rounds and bytes to 90 % on the digits, for each schedule.

Sixteen devices below four edges, Dirichlet 0.5 over all devices, one local epoch a round, simulated with everything on the
wire. The anchored model, which is the average, is looked at after each round. Bytes are of the edges' exchange if they sent
straight to each other: models of 4 bytes a number along the links, for Choco 8 bytes a coordinate that is sent, for a global
average a model up and one down for each edge. Devices' updates are the same for all and left out. The edges of one model
together (FedAvg) have a global average in every round.

    make bench Q=peers
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from devnet.bench.report import FOLDER, Row, write
from devnet.crowd import Crowd, Shape, simulate
from devnet.picture import draw_curves
from middleware.learn.fleet import use_threads
from middleware.policy import Policy
from middleware.protocol import peering
from nodes.operator import Choices, policy_of

DEVICES, EDGES, ROUNDS = 16, 4, 60
SEEDS: Final = (0, 1, 2)
TARGET = 0.90
EVERY = 8  # rounds from one global average to the next, where there are any
PERIODIC: Final = {"global_every": EVERY}
ASKED: Final[dict[str, dict[str, Any]]] = {
    "one model (FedAvg)": {},
    "hierarchical": {"peers": "hierarchical", **PERIODIC},
    "gossip, global average each 8": {"peers": "gossip", **PERIODIC},
    "gossip alone": {"peers": "gossip"},
    "choco, a tenth": {"peers": "choco"},
    "push-sum": {"peers": "push-sum"},
    "gosgd": {"peers": "gosgd"},
}


def policy_for(name: str, seed: int) -> Policy:
    return policy_of(
        Choices(
            aggregator="mean", tolerate=0, rounds=ROUNDS, epochs=1, batch=16, seed=seed, min_updates=4, **ASKED[name]
        )
    )


def curve(name: str, seed: int) -> list[float]:
    """Accuracy of the anchored model after each round."""
    policy = policy_for(name, seed)
    shape = Shape(devices=DEVICES, edges=EDGES, split="dirichlet:0.5", seed=seed)
    found = asyncio.run(simulate(Crowd("digits", policy, shape)))
    return list(found["accuracy"])


def exchanged(policy: Policy, round: int) -> int:
    """Bytes that the edges' exchange of this round moves, sent straight to each other."""
    model, peers = 4 * policy.parameters, policy.peers
    if peers is None or peering.is_global(policy, round):
        return 2 * EDGES * model
    if peers.kind == "hierarchical":
        return 0
    if peers.kind == "gosgd":
        return EDGES * model
    links = peering.LINKS[peers.links or "ring"](EDGES)
    sends = sum(map(len, links.values()))
    return sends * (8 * peering.sent_by(policy.parameters, peers) if peers.kind == "choco" else model)


def main() -> None:
    use_threads(1)
    rows, curves = [], {}
    base_rounds = base_bytes = 0.0
    for name in ASKED:
        told = [curve(name, seed) for seed in SEEDS]
        curves[name] = told[0]
        policy = policy_for(name, 0)
        reached = [next((at for at, value in enumerate(one, 1) if value >= TARGET), ROUNDS + 1) for one in told]
        rounds = statistics.median(reached)
        moved = statistics.median(
            sum(exchanged(policy, at) for at in range(1, min(one, ROUNDS) + 1)) for one in reached
        )
        base_rounds, base_bytes = base_rounds or rounds, base_bytes or moved
        last = statistics.median(one[-1] for one in told)
        rows.append(Row(f"{name}: rounds to 90 %", rounds, "rounds", base_rounds, rounds / base_rounds))
        rows.append(
            Row(f"{name}: bytes between edges to there", moved / 1e6, "MB", base_bytes / 1e6, moved / base_bytes)
        )
        rows.append(Row(f"{name}: accuracy after {ROUNDS} rounds", last, ""))
        print(f"{name}: {rounds:.0f} rounds, {moved / 1e6:.1f} MB, {last:.3f} at the end", file=sys.stderr, flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw_curves(
        Path(FOLDER / "peers.png"), curves, "digits, 16 devices below 4 edges: accuracy of the average by round"
    )
    write("peers", rows)


if __name__ == "__main__":
    main()
