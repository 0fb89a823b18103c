"""A config says what is wrong with it, and comes back as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.errors import ConfigurationError
from nodes.config import NodeConfig, Share, WorkloadSettings, read_config, write_config


def test_a_config_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = NodeConfig(
        name='device "1"', tier="end", parent="http://127.0.0.1:1", attack="negate", ledger_poll_seconds=0.25,
        workloads=[WorkloadSettings("digits", "user", Share(2, 8, "dirichlet:0.5", 7))],
    )  # fmt: skip
    write_config(tmp_path / "node.toml", config)
    assert read_config(tmp_path / "node.toml").config == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('name = "a"\ntier = "sky"', "choose one of end, edge, cloud"),
        ('name = "a"\ntier = "end"', "needs parent"),
        ('name = "a"\ntier = "cloud"', "needs listen"),
        ('name = "a"\ntier = "cloud"\nlisten = ":1"\nparents = "x"', "parents"),
        ('name = "a"\ntier = "end"\nparent = "http://b"\nattack = "lies"', "no attack named 'lies'"),
        (
            'name = "a"\ntier = "edge"\nparent = "http://b"\nlisten = ":1"\nattack = "negate"',
            "edges can tell omit, silent",
        ),
        ('name = ""\ntier = "cloud"\nlisten = ":1"', "1 to 32 bytes"),
        ("name = ", "node.toml"),
        ('name = "a"\ntier = "cloud"\nlisten = ":1"\nthreads = "two"', "threads"),
    ],
)
def test_a_wrong_config_is_one_clear_error(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        read_config(path)


def test_a_missing_config_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="drystone node init"):
        read_config(tmp_path / "none.toml")


def test_paths_start_from_the_files_own_folder(tmp_path: Path) -> None:
    write_config(tmp_path / "node.toml", NodeConfig(name="a", tier="cloud", listen="127.0.0.1:0"))
    assert read_config(tmp_path / "node.toml").path("state") == (tmp_path / "state").resolve()


def test_a_share_outside_its_deal_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="from 0 to 7"):
        Share(8, 8)
