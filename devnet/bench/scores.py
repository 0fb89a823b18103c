"""What do scores pay those who do not work? Twenty rounds on the digits: real training, real settlement, no sockets.

make bench Q=scores

Eight honest devices train. Beside them stand a device that copies the first one's update in every round, and a free rider that
never trains and sends back what it can see: the last move of the model, or something made of earlier moves. Each kind
of free rider has a world of its own. A ratio is its pay over that of the median honest device; its baseline is what raw
scores, without the rule about known moves and echoes, would have paid it in the same rounds.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from devnet.bench.report import Row, write
from devnet.simulation import Simulation, in_memory
from middleware.learn.train import train
from middleware.learn.workload import Workload, genesis, load_workload, resolve_model
from middleware.maths import contribution, grid, reward
from middleware.policy import Policy, Rule, Training
from middleware.protocol import scoring
from middleware.protocol.settlement import Settlement
from middleware.trust.keys import AccountKey
from nodes.evaluation import evaluation_root, measure

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ride = Callable[[Sequence[Floats], np.random.Generator], Floats]  # (moves so far, newest first) -> what it sends

ROUNDS, EPOCH, SLICES, HONEST, SAMPLES = 20, 5, 4, 8, 100
SEEDS = range(3)
BAR = 0.05  # of the median honest device


def noisy(share: float) -> Ride:
    """The last move with noise of `share` times its length."""

    def ride(moves: Sequence[Floats], generator: np.random.Generator) -> Floats:
        noise = generator.standard_normal(len(moves[0])).astype(np.float32)
        return moves[0] + np.float32(share * np.linalg.norm(moves[0]) / np.linalg.norm(noise)) * noise

    return ride


def fading(moves: Sequence[Floats], generator: np.random.Generator) -> Floats:
    """All earlier moves, each worth 0.7 of the one after it: what momentum would do next."""
    return np.asarray(sum(np.float32(0.7**age) * move for age, move in enumerate(moves)), np.float32)


RIDES: dict[str, Ride] = {
    "the last delta": lambda moves, generator: moves[0],
    "the last delta and 10 % noise": noisy(0.1),
    "the last delta and 30 % noise": noisy(0.3),
    "the last delta and as much noise": noisy(1.0),
    "the mean of the last three": lambda moves, generator: np.mean(moves[:3], axis=0, dtype=np.float32),
    "all deltas, fading": fading,
}
ASKED = 3  # the first so many have a bar


class Behaviour:
    """What the devices of one world send: HONEST that train, then whatever `others` make of it."""

    def __init__(self, policy: Policy, shares: Sequence[Workload], ride: Ride | None, seed: int) -> None:
        self.policy, self.shares, self.ride = policy, shares, ride
        self.generator = np.random.default_rng(seed)
        self.models: list[Floats] = []
        self.sent: list[Floats] = []

    def __call__(self, device: int, round: int, model: Floats) -> Floats:
        if device == 0:
            self.models.append(model)
            self.sent = [train(share, self.policy, model, round, n).update for n, share in enumerate(self.shares)]
        if device < HONEST:
            return self.sent[device]
        if device == HONEST or self.ride is None:
            return self.sent[0]
        moves = [after - before for before, after in zip(self.models[:-1], self.models[1:], strict=True)][::-1]
        return self.ride(moves, self.generator) if moves else np.zeros_like(model)


class Split:
    """One honest device as two: its update plus and minus a vector on the grid, with half its weight each."""

    def __init__(self, whole: Behaviour) -> None:
        self.whole = whole

    def __call__(self, device: int, round: int, model: Floats) -> Floats:
        if device not in (0, HONEST):
            return self.whole(device, round, model)
        bits, exponent = self.whole.policy.grid.bits, self.whole.policy.grid.exponent
        update = self.whole(0, round, model) if device == 0 else self.whole.sent[0]
        integers = grid.from_grid(grid.to_grid(update, bits, exponent)[0], exponent)
        apart = np.random.default_rng(round).integers(-50, 51, len(model)) * self.whole.policy.grid.step
        return integers + np.float32(1 if device == 0 else -1) * apart.astype(np.float32)


def policy_of(seed: int, slices: int = SLICES) -> Policy:
    model, parameters = resolve_model("digits")
    root = evaluation_root(load_workload("digits", model), slices).hex()
    return Policy(
        workload="digits", model=model, parameters=parameters, rounds=ROUNDS, rule=Rule("mean", 0), min_updates=1,
        reward_per_round=1_000_000, seed=seed, pay="scores", epoch_rounds=EPOCH, evaluation=root, evaluation_slices=slices,
    )  # fmt: skip


def shares_of(policy: Policy, split: str = "iid") -> list[Workload]:
    return [
        load_workload(policy.workload, policy.model, index=index, of=HONEST, split=split, seed=policy.seed)
        for index in range(HONEST)
    ]


def simulation_of(
    policy: Policy, learned: Callable[[int, int, Floats], Floats], devices: int, samples: Callable[[int], int]
) -> Simulation:
    """A world whose cloud measures on the digits; its devices' node ids start at FIRST."""
    operator = AccountKey.generate(np.random.default_rng(policy.seed).bytes)
    ledger, context, registry = in_memory(operator)
    whole = load_workload(policy.workload, policy.model)

    def measured(policy: Policy, model: Floats, move: Doubles, slice: int) -> Doubles | None:
        return measure(whole, policy, model, move, slice)

    simulation = Simulation(
        ledger,
        context,
        registry,
        operator,
        policy,
        learned,
        devices,
        seed=policy.seed,
        measure=measured,
        samples=samples,
    )
    simulation.model = genesis(policy)
    return simulation


async def world(simulation: Simulation, rounds: int) -> list[Settlement]:
    """The settlements of a world's rounds."""
    await simulation.join()
    return [(await simulation.play())[0] for _ in range(rounds)]


FIRST = 4  # node id of device 0: the cloud and two edges come before


def pay_at(policy: Policy, rounds: Sequence[Settlement], epoch: int, raw: bool = False) -> dict[int, int]:
    """What the same rounds would have paid with epochs of another length, or (`raw`) by raw scores and nothing else."""
    other = msgspec.structs.replace(policy, epoch_rounds=epoch)
    paid: dict[int, int] = {}
    points: dict[int, int] = {}
    pool = 0
    for number, settlement in enumerate(rounds, start=1):
        made = settlement.manifest.scoring
        if made is None:
            raise AssertionError("a round without scores")
        pool += policy.reward_per_round
        for one in made.scores:
            value = one.raw << contribution.NOVEL_BITS if raw else one.counted
            gained = contribution.points(value, settlement.manifest.weight_total, made.exponent + policy.grid.exponent)
            points[one.node] = points.get(one.node, 0) + gained
        if scoring.settles(other, number):
            standings = {
                one.node: (points[one.node], reward.REPUTATION_FIRST if raw else one.reputation) for one in made.scores
            }
            paid, points = reward.accumulate(paid, reward.settle_epoch(pool, standings)), {}
            pool = 0
    return paid


def over_median(paid: dict[int, int], node: int) -> float:
    """A node's pay over that of the median honest device."""
    return paid.get(node, 0) / statistics.median(paid.get(FIRST + device, 0) for device in range(HONEST))


def split_differences(seed: int, rounds: int = ROUNDS) -> tuple[int, int]:
    """(the largest difference, over all rounds, between a device's raw score and the sum of its halves'; rounds).

    Both worlds are measured on the whole evaluation set: the slice of a round follows from its inputs, and those differ.
    """
    policy = policy_of(seed, slices=1)
    learned = Behaviour(policy, shares_of(policy), None, seed)
    whole = asyncio.run(world(simulation_of(policy, learned, HONEST, lambda device: SAMPLES), rounds))
    split = Split(Behaviour(policy, shares_of(policy), None, seed))
    divided = simulation_of(
        policy, split, HONEST + 1, lambda device: SAMPLES // 2 if device in (0, HONEST) else SAMPLES
    )
    halves = asyncio.run(world(divided, rounds))
    worst = 0
    for one, two in zip(whole, halves, strict=True):
        if one.header.model_out != two.header.model_out or not one.manifest.scoring or not two.manifest.scoring:
            raise AssertionError("the two worlds are not the same")
        alone = {score.node: score for score in one.manifest.scoring.scores}[FIRST]
        parts = {score.node: score for score in two.manifest.scoring.scores}
        worst = max(worst, abs(alone.raw - parts[FIRST].raw - parts[FIRST + HONEST].raw))
        worst = max(worst, abs(alone.counted - parts[FIRST].counted - parts[FIRST + HONEST].counted))
    return worst, len(whole)


def ridden(
    name: str, seed: int, rounds: int = ROUNDS, split: str = "iid", learning_rate: float = Training().learning_rate
) -> dict[str, float]:
    """One world with a copier and a free rider: their pay and the honest devices', over the honest median."""
    training = Training(learning_rate=learning_rate)
    policy = msgspec.structs.replace(policy_of(seed), rounds=rounds, training=training)
    learned = Behaviour(policy, shares_of(policy, split), RIDES[name], seed)
    played = asyncio.run(world(simulation_of(policy, learned, HONEST + 2, lambda device: SAMPLES), rounds))
    paid, whole = played[-1].rewards, pay_at(policy, played, rounds)
    honest = [over_median(paid, FIRST + device) for device in range(HONEST)]
    at_once = [over_median(whole, FIRST + device) for device in range(HONEST)]
    found = {
        "copier": over_median(paid, FIRST + HONEST),
        "rider": over_median(paid, FIRST + HONEST + 1),
        "raw rider": over_median(pay_at(policy, played, EPOCH, raw=True), FIRST + HONEST + 1),
        "least honest": min(honest),
        "most honest": max(honest),
        "least honest, one epoch": min(at_once),
        "most honest, one epoch": max(at_once),
        "paid of pool": sum(paid.values()) / (policy.reward_per_round * rounds),
    }
    print(
        f"seed {seed}, {split}, {name}: " + ", ".join(f"{what} {value:.4f}" for what, value in found.items()),
        flush=True,
    )
    return found


def _ridden(what: str, found: Sequence[dict[str, float]], bar: float | None) -> Row:
    """The worst seed, beside what raw scores would have paid at worst."""
    most, raw = max(one["rider"] for one in found), max(one["raw rider"] for one in found)
    words, met = (f"<= {bar}", most <= bar) if bar is not None else (None, None)
    return Row(what, most, "of the honest median", raw, most / raw if raw else None, words, met)


def main() -> None:
    differences = [split_differences(seed) for seed in SEEDS]
    worst = max(difference for difference, _ in differences)
    rounds = sum(count for _, count in differences)
    rows = [
        Row(f"split device, largest difference of scores in {rounds} rounds", worst, "units", bar="0", ok=worst == 0)
    ]
    everything = []
    for place, name in enumerate(RIDES):
        found = [ridden(name, seed) for seed in SEEDS]
        everything += found
        bar = BAR if place < ASKED else None
        rows.append(_ridden(f"free rider: {name}", found, bar))
    skewed = [ridden("the last delta", seed, split="dirichlet:0.5") for seed in SEEDS]
    rows.append(_ridden("free rider: the last delta, skewed data", skewed, BAR))
    slow = [ridden("the last delta and as much noise", seed, learning_rate=0.01) for seed in SEEDS]
    rows.append(_ridden("free rider: the last delta and as much noise, learning rate 0.01", slow, None))
    copied = max(one["copier"] for one in everything + skewed + slow)
    rows.append(Row("exact copy", copied, "of the honest median", bar="0", ok=copied == 0))
    rows.append(
        Row("part of the pool that was paid, least", min(one["paid of pool"] for one in everything), "of the pool")
    )
    for which, what in (("", f"epochs of {EPOCH}"), (", one epoch", f"one epoch of {ROUNDS}")):
        least = min(one[f"least honest{which}"] for one in everything)
        most = max(one[f"most honest{which}"] for one in everything)
        rows.append(Row(f"honest device paid least, {what}", least, "of the honest median"))
        rows.append(Row(f"honest device paid most, {what}", most, "of the honest median"))
    write("scores", rows)


if __name__ == "__main__":
    main()
