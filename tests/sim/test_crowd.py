"""A crowd in one process learns what its devices learn, whatever of the round is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from devnet.crowd import DRAWN, Crowd, Round, Shape, deal, simulate, table_of
from devnet.demo import Progress, run_demo
from devnet.fleet import Shape as Fleet
from middleware.errors import ConfigurationError
from middleware.learn.train import train
from middleware.learn.workload import Classification, Samples, genesis
from nodes.cli.main import app
from nodes.operator import Choices, policy_of

SHAPE = Shape(devices=30, edges=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def crowd(shape: Shape = SHAPE, **choices: Any) -> Crowd:
    asked = Choices(**{"model": "mlp:64-16-10", "rounds": 2, "tolerate": shape.liars, "aggregator": "mean", **choices})
    return Crowd("digits", policy_of(asked), shape)


async def run(shape: Shape = SHAPE, **choices: Any) -> dict[str, Any]:
    return await simulate(crowd(shape, **choices))


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed-mean", "multi-krum"])
@pytest.mark.parametrize("codec", ["none", "topk+int8"])
async def test_with_and_without_the_wire_a_crowd_learns_the_same_to_the_bit(rule: str, codec: str) -> None:
    liars = msgspec.structs.replace(SHAPE, liars=3, attack="negate")
    bare = msgspec.structs.replace(liars, wire=False, ledger=False)
    wired, plain = [await run(shape, aggregator=rule, codec=codec, density=0.3) for shape in (liars, bare)]
    assert wired["model"] == plain["model"]
    for what in ("accuracy", "loss", "training_loss", "refused", "liars_used", "void"):
        assert [row[what] for row in wired["rounds"]] == [row[what] for row in plain["rounds"]]
    assert len(wired["rounds"]) == 2


@pytest.mark.parametrize("server", ["momentum", "adam:0.1"])
async def test_with_and_without_the_wire_the_servers_step_is_the_same_to_the_bit(server: str) -> None:
    bare = msgspec.structs.replace(SHAPE, wire=False, ledger=False)
    wired, plain = [await run(shape, server=server) for shape in (SHAPE, bare)]
    assert wired["model"] == plain["model"]


async def test_under_auto_slow_links_send_less_and_the_wire_changes_nothing() -> None:
    slow = msgspec.structs.replace(SHAPE, slow_links=10, link_bytes=500.0)
    bare = msgspec.structs.replace(slow, wire=False, ledger=False)
    wired, plain = [await run(shape, codec="auto:none,int8,sign", upload_seconds=1.0) for shape in (slow, bare)]
    assert wired["model"] == plain["model"]
    dense = 64 * 16 + 16 + 16 * 10 + 10
    assert [row["bytes_up"] for row in plain["rounds"]] == [
        30 * (1 + 2 * dense),
        20 * (1 + 2 * dense) + 10 * (1 + 4 + 1 + -(-dense // 8)),
    ]


def test_a_device_of_the_crowd_learns_what_a_device_alone_learns() -> None:
    found = crowd()
    model, data = genesis(found.policy), found.workload.data()
    for device in range(SHAPE.devices):
        update = found.learned(device, 1, model)
        if device in (0, 17, 29):
            share = found.shares[device]
            held = Samples(data.features[share], data.labels[share])
            alone = train(Classification(found.policy.model, held, held), found.policy, model, 1, found.node(device))
            assert np.allclose(update, alone.update, atol=2e-6)
            assert np.abs(update).max() > 0.001


async def test_a_crowd_keeps_its_head_where_the_mean_loses_it() -> None:
    lies = msgspec.structs.replace(SHAPE, liars=6, attack="negate", wire=False, ledger=False)
    robust = await run(lies, aggregator="trimmed-mean", rounds=6)
    swayed = await run(lies, aggregator="mean", rounds=6)
    assert robust["accuracy"][-1] > 0.6 > swayed["accuracy"][-1]


async def test_multi_krum_gives_no_liar_a_weight_and_the_report_says_so() -> None:
    report = await run(msgspec.structs.replace(SHAPE, liars=4, attack="negate"), aggregator="multi-krum")
    assert [row["liars_used"] for row in report["rounds"]] == [0, 0]


async def test_each_round_is_told_as_it_ends_and_each_update_as_it_comes() -> None:
    told: list[Round] = []
    came: list[tuple[int, int]] = []
    found = crowd()
    found.arrive = lambda round, device: came.append((round, device))
    await simulate(found, told.append)
    assert [round.round for round in told] == [1, 2]
    assert came == [(round, device) for round in (1, 2) for device in range(30)]


def test_a_data_set_that_is_large_enough_is_dealt_and_a_small_one_is_shared() -> None:
    labels = np.arange(960) % 10
    dealt = deal(labels, None, Shape(devices=60, edges=1))
    assert not dealt.shared
    assert np.array_equal(np.sort(np.concatenate(dealt.shares)), np.arange(960))
    drawn = deal(labels, None, Shape(devices=61, edges=1))
    assert drawn.shared and len(drawn.shares) == 61
    assert {len(share) for share in drawn.shares} == {DRAWN}
    asked = deal(labels, None, Shape(devices=5, edges=1, samples=7))
    assert asked.shared and {len(share) for share in asked.shares} == {7}


def test_drawn_shares_follow_the_split() -> None:
    labels, clients = np.arange(1000) % 10, np.arange(1000) // 250
    skewed = deal(labels, None, Shape(devices=200, edges=1, split="dirichlet:0.05", samples=40))
    even = deal(labels, None, Shape(devices=200, edges=1, samples=40))
    seen = [np.mean([len(np.unique(labels[share])) for share in dealt.shares]) for dealt in (skewed, even)]
    assert seen[0] < 3 and seen[1] > 9
    owned = deal(labels, clients, Shape(devices=8, edges=1, split="client", samples=40))
    assert [set(clients[share]) for share in owned.shares] == [{device % 4} for device in range(8)]


@pytest.mark.parametrize("split", ["dirichlet:0", "dirichlet:x", "even", "client"])
def test_an_unknown_split_is_refused(split: str) -> None:
    with pytest.raises(ConfigurationError, match="split"):
        deal(np.arange(100) % 10, None, Shape(devices=50, edges=1, split=split))


@pytest.mark.parametrize("wrong", [{"edges": 0}, {"edges": 31}, {"liars": 31}, {"samples": -1}, {"wire": False}])
def test_a_crowd_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"edge|ledger"):
        Shape(**{"devices": 30, "edges": 3, **wrong})


async def test_scores_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="pays participation"):
        await run(pay="scores")


@pytest.mark.parametrize("name", ["mnist", "hapt"])
def test_real_data_becomes_a_table_in_the_runs_folder(name: str, tmp_path: Path) -> None:
    source = table_of(name, tmp_path)
    assert source == f"table:{tmp_path / name}.npz" and (tmp_path / f"{name}.npz").exists()
    assert table_of("digits", tmp_path) == "digits"


@pytest.mark.parametrize("real", [["--no-wire"], ["--no-ledger"], []])
def test_the_verb_prints_json_and_leaves_a_report_and_a_picture(real: list[str], tmp_path: Path) -> None:
    asked = [
        "sim",
        "--devices",
        "12",
        "--edges",
        "2",
        "--rounds",
        "1",
        "--byzantine",
        "2:sign-flip",
        "--model",
        "mlp:64-8-10",
    ]
    done = CliRunner().invoke(app, [*asked, *real, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    printed = msgspec.json.decode(done.stdout)
    assert printed == msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert printed["devices"] == 12 and printed["shape"]["liars"] == 2 and len(printed["accuracy"]) == 1
    assert (tmp_path / "simulation.png").stat().st_size > 1000


async def test_a_crowd_with_slow_devices_waits_for_them_or_closes_by_arrivals_on_its_own_clock() -> None:
    shape = msgspec.structs.replace(SHAPE, slow=3)
    waiting = await run(shape)
    buffered = await run(shape, arrivals=10, staleness="inverse", rounds=6)
    assert [row["updates"] for row in waiting["rounds"]] == [30, 30] and waiting["rounds"][-1]["clock"] > 16
    assert [row["updates"] for row in buffered["rounds"]] == [10] * 6 and buffered["rounds"][-1]["clock"] < 4
    assert buffered["rounds"][-1]["staleness"] > 0 == waiting["rounds"][-1]["staleness"]
    assert buffered["bytes_up_dense"] == 60 * 4 * 1210
    assert buffered["rounds"][-1]["accuracy"] > 0.5


@pytest.mark.parametrize("slow", [0, 1])
async def test_a_crowd_without_the_wire_plays_no_schedule(slow: int) -> None:
    bare = msgspec.structs.replace(SHAPE, wire=False, ledger=False, slow=slow)
    with pytest.raises(ConfigurationError, match="leave --no-wire out"):
        await run(bare, **({} if slow else {"backup_devices": 1}))


@pytest.mark.parametrize("peers", ["hierarchical", "gosgd"])
async def test_edges_with_models_of_their_own_train_from_them_in_a_crowd(peers: str) -> None:
    """Their devices start from other models than the average, so what they learn in the second round differs."""
    asked = {"peers": peers, "rounds": 3} | ({"global_every": 3} if peers == "hierarchical" else {})
    own, together = await run(**asked), await run(rounds=3)
    assert own["rounds"][0]["training_loss"] == together["rounds"][0]["training_loss"]
    assert own["rounds"][1]["training_loss"] != together["rounds"][1]["training_loss"]
    assert own["accuracy"][-1] > 0.6


@pytest.mark.parametrize(
    ("shape", "choices"),
    [
        (msgspec.structs.replace(SHAPE, wire=False, ledger=False), {"peers": "gosgd"}),
        (msgspec.structs.replace(SHAPE, slow=1), {"peers": "gosgd"}),
        (SHAPE, {"dp": 8.0, "dp_clients": 30, "dp_commitment": "0" * 64, "auditors": ("0" * 64,)}),
        (SHAPE, {"dp": 8.0, "dp_mode": "records"}),
    ],
)
async def test_what_a_crowd_cannot_play_is_refused(shape: Shape, choices: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="demo|wire"):
        await run(shape, **choices)


async def test_a_fleet_too_small_for_its_rule_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"30 devices: a round of krum \(f=14\) takes 31 updates"):
        await run(aggregator="krum", tolerate=14)
    with pytest.raises(ConfigurationError, match=r"4 devices: a round of multi-krum \(f=1\) takes 5 updates"):
        await run_demo(Fleet(devices=4), Choices(rounds=1), tmp_path, Progress())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slow", [-1, 9])
def test_more_slow_devices_than_there_are_is_refused(slow: int) -> None:
    for shape in (Shape, Fleet):
        with pytest.raises(ConfigurationError, match="slow devices among 8"):
            shape(devices=8, edges=2, slow=slow)
