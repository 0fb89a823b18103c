"""What does a round cost on the chain, and does it depend on the number of devices? Simulated fleets on a real EVM.

make bench Q=gas
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path

import numpy as np

from devnet.bench.report import Row, write
from devnet.chain import Chain, operator_key
from devnet.processes import Processes
from devnet.simulation import Simulation
from ledger.client import EvmLedger
from ledger.deploy import deploy, transfer
from middleware.policy import Policy
from middleware.protocol.update import Floats
from middleware.wire.commitment import Context

ROUNDS = 5
FLEETS = (8, 200)
BAR_GAS = 100_000


def learned(device: int, round: int, model: Floats) -> Floats:
    return np.random.default_rng([device, round]).standard_normal(len(model), dtype=np.float32) * np.float32(0.02)


async def gas_of(devices: int, rpc: str) -> list[int]:
    """Gas of each round's anchor transaction, whole."""
    operator = operator_key().account
    book = await deploy(rpc, operator)
    policy = Policy(workload="digits", model="mlp:64-256-10", parameters=19_210, rounds=ROUNDS)
    async with EvmLedger(book) as ledger:
        world = Simulation(
            ledger, Context(book.chain_id, book.ledger), book.registry, operator, policy, learned, devices
        )
        await world.join()
        await transfer(rpc, operator, world.cloud.address, 10**18)
        return [(await world.play())[1].gas_used for _ in range(ROUNDS)]


def main() -> None:
    steady: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        chain = Chain(Path(folder) / "chain")
        chain.start(processes)
        for devices in FLEETS:
            gas = asyncio.run(gas_of(devices, chain.rpc))
            steady[devices] = statistics.median(gas[1:])
            print(f"{devices} devices: {gas}", flush=True)
    few, many = (steady[devices] for devices in FLEETS)
    ratio = many / few
    write(
        "gas",
        [
            Row(
                f"anchor transaction, {FLEETS[0]} devices, steady",
                few,
                "gas",
                BAR_GAS,
                few / BAR_GAS,
                f"<= {BAR_GAS:,}",
                few <= BAR_GAS,
            ),
            Row(
                f"anchor transaction, {FLEETS[1]} devices, steady",
                many,
                "gas",
                few,
                ratio,
                "within 1 %",
                abs(ratio - 1) <= 0.01,
            ),
        ],
    )


if __name__ == "__main__":
    main()
