"""What `drystone infer` and `drystone top` read and show."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from middleware.errors import ConfigurationError
from nodes.cli import infer, top
from nodes.session import TOLD, ChannelWallet
from tests.unit.infer.test_plan import model


def plain() -> object:
    return msgspec.structs.replace(model(), kind="tensor", scale=())


def test_pictures_are_cut_to_the_models_square(tmp_path: Path) -> None:
    Image.new("RGB", (100, 60), (255, 0, 0)).save(tmp_path / "red.png")
    (sample,) = infer.read_samples(tmp_path / "red.png", model())
    assert sample.shape == (32, 32, 3) and sample.dtype == np.uint8 and (sample[..., 0] == 255).all()
    with pytest.raises(ConfigurationError, match="takes no pictures"):
        infer.read_samples(tmp_path / "red.png", plain())  # type: ignore[arg-type]


def test_arrays_hold_one_sample_or_many(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 32, 32)))
    np.savez(tmp_path / "many.npz", X=np.zeros((4, 3, 32, 32)))
    assert len(infer.read_samples(tmp_path / "one.npy", plain())) == 1  # type: ignore[arg-type]
    assert len(infer.read_samples(tmp_path / "many.npz", plain())) == 4  # type: ignore[arg-type]
    np.save(tmp_path / "wrong.npy", np.zeros((5, 5)))
    with pytest.raises(ConfigurationError, match="samples of shape"):
        infer.read_samples(tmp_path / "wrong.npy", plain())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="give a picture"):
        infer.read_samples(tmp_path / "nowhere.npy", plain())  # type: ignore[arg-type]


def test_top_shows_nodes_that_serve_and_sessions_that_asked() -> None:
    found = {
        "nodes": {
            "edge-1": {"state": "active", "sessions": 1, "queue_ms": 2.0, "models": {"ab": {
                "name": "digits", "requests": 20, "refused": 1, "units": 40, "unpaid": 4, "compute_ms": 30.0, "bytes_in": 5000,
                "bytes_out": 4000,
            }}},
            "cloud": {"state": "does not answer"},
        },
        "sessions": {"phone": {
            "model": "digits", "requests": 20, "answers": {"tier edge": 18, "tier device": 2, "way raw": 20}, "live": True,
            "mean_ms": {"head": 1.0, "tail": 2.0}, "bytes_up": 12345, "joules": 0.5, "joules_by": "model", "unpaid": 4,
            "degraded": 2, "plans": [[0, "raw", "start"]],
        }},
    }  # fmt: skip
    console = Console(record=True, width=250)
    console.print(top.page(found))
    text = console.export_text()
    for word in ("edge-1", "digits", "does not answer", "phone", "edge:18", "12 kB", "0.5 (model)", "raw"):
        assert word in text


def test_top_reads_what_a_session_left_even_where_nobody_answers(tmp_path: Path) -> None:
    from nodes.config import NodeConfig
    from nodes.create import create_node

    folder = tmp_path / "nodes" / "phone"
    create_node(folder, NodeConfig("phone", "end", parent="http://127.0.0.1:1"))
    (folder / "state").mkdir()
    (folder / "state" / TOLD).write_text(json.dumps({"requests": 3, "open": False, "time": 0.0}))
    assert top.look(tmp_path) == {
        "nodes": {},
        "sessions": {"phone": {"requests": 3, "open": False, "time": 0.0, "live": False}},
    }


def test_a_wallet_goes_on_from_what_its_channel_vouched_for(tmp_path: Path) -> None:
    from ledger.licences import PaymentChannel
    from middleware.trust.eip712 import Domain
    from middleware.trust.keys import KeyFile
    from middleware.trust.voucher import Voucher
    from middleware.wire import canonical

    keys = KeyFile.generate(lambda count: b"k" * count)
    channel = PaymentChannel(3, bytes(32), keys.account.address, 2, 1, 1000, redeemed=10)
    first = ChannelWallet(Domain(1, bytes(20)), keys, channel, tmp_path)
    first.begin()
    assert canonical.decode(first.voucher(5, bytes(32)), Voucher).units == 15
    assert canonical.decode(first.voucher(9, bytes(32)), Voucher).units == 19
    first.begin()
    assert canonical.decode(first.voucher(2, bytes(32)), Voucher).units == 21
    second = ChannelWallet(Domain(1, bytes(20)), keys, channel, tmp_path)
    second.begin()
    assert canonical.decode(second.voucher(1, bytes(32)), Voucher).units == 22
    (tmp_path / "vouchers.json").write_text("nonsense")
    with pytest.raises(ConfigurationError, match="is not what sessions write"):
        second.begin()


def test_a_file_is_published_with_exits_and_bottlenecks_trained_on_the_samples(tmp_path: Path) -> None:
    from nodes.cli import market
    from nodes.cli.home import Home

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 3))
    program = torch.export.export(net.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "net.pt2")
    generator = np.random.default_rng(0)
    samples, labels = generator.normal(size=(60, 1, 8, 8)).astype(np.float32), generator.integers(0, 3, 60)
    model, files, none = market._made(Home(tmp_path), str(tmp_path / "net.pt2"), "", "tensor", "", 12, "")
    place = next(at for at in range(1, len(model.segments)) if len(model.crossing(at)) == 3)
    with pytest.raises(ConfigurationError, match="give --samples"):
        market._extended(model, files, none, (place,), (), 1.0)
    grown, more, rest = market._extended(model, files, (samples, labels), (place,), (place,), 1.0)
    assert grown.name == "net" and grown.branches[0].after == grown.coders[0].after == place
    assert len(rest[0]) == 12 and {file.digest for file in grown.files()} == more.keys()
    with pytest.raises(ConfigurationError, match="torch.export.save"):
        (tmp_path / "bad.pt2").write_bytes(b"bad")
        market._made(Home(tmp_path), str(tmp_path / "bad.pt2"), "", "tensor", "", 12, "")
    assert market.places("3,1, 1") == (1, 3) and market.places("") == ()
    with pytest.raises(ConfigurationError, match="with commas"):
        market.places("one")
