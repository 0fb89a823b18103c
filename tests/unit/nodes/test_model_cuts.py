"""`drystone model cuts`: what crosses each cut, beside the picture itself (inference 1.3, natural bottleneck rule)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nodes.cli.main import app


def told(*words: str) -> Any:
    done = CliRunner().invoke(app, ["model", "cuts", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_tensors_are_as_large_as_the_anchors_say_and_no_cut_of_resnet_beats_a_photograph_as_jpeg() -> None:
    found = told("resnet-18")
    by_shape = {tuple(row["shape"]): row["int8"] for row in found["cuts"]}
    assert by_shape[64, 56, 56] == 200_704
    assert by_shape[512, 7, 7] == 25_088
    assert found["picture"]["raw"] == found["cuts"][0]["int8"] == 150_528
    assert found["picture"]["jpeg75"] < found["picture"]["jpeg95"] < found["picture"]["png"] < found["picture"]["raw"]
    assert found["natural_bottleneck"]["jpeg95"] == found["natural_bottleneck"]["jpeg75"] == ""


def test_mobilenet_has_a_natural_bottleneck_against_the_raw_picture() -> None:
    found = told("mobilenet-v2")
    assert found["natural_bottleneck"]["raw"]
    rows = {row["after"]: row for row in found["cuts"]}
    place = rows[found["natural_bottleneck"]["raw"]]
    assert place["shape"] == [24, 56, 56]
    assert place["int8"] == 75_264
    assert [row["share_of_macs"] for row in found["cuts"]] == sorted(row["share_of_macs"] for row in found["cuts"])


def test_noise_has_no_short_jpeg_so_even_a_late_block_is_smaller(tmp_path: Path) -> None:
    file = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((224, 336)).save(file)
    found = told("mobilenet-v2", "--image", str(file))
    assert found["natural_bottleneck"]["jpeg95"]


def test_only_cuts_that_carry_less_are_shown_unless_all_are_asked_for() -> None:
    few, everything = (
        CliRunner().invoke(app, ["model", "cuts", "squeezenet", "--size", "64", *more]).stdout
        for more in ([], ["--all"])
    )
    assert "--all shows them" in few
    assert len(everything.splitlines()) > len(few.splitlines())


@pytest.mark.parametrize(
    ("words", "fault"), [(["alexnet"], "choose one of"), (["squeezenet", "--image", "nosuch.png"], "not a picture")]
)
def test_a_network_or_picture_that_is_none_is_one_clear_line(words: list[str], fault: str) -> None:
    done = CliRunner().invoke(app, ["model", "cuts", *words])
    assert done.exit_code == 1
    assert fault in done.stderr
