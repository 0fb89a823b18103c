"""The catalogue names modules and tests that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet import catalogue
from devnet.bench.report import Row, write

ROOT = Path(__file__).resolve().parents[2]
ROWS = catalogue.read(ROOT / catalogue.SOURCE).row
PAGE = (ROOT / catalogue.PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_names_what_exists(row: catalogue.Row) -> None:
    assert row.modules and row.tests
    for module in row.modules:
        assert (ROOT / module).exists(), module
    for test in row.tests:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
    assert f"| {row.name} |" in PAGE, "run python -m devnet.catalogue"


def test_a_figure_is_read_from_the_benchmark(tmp_path: Path) -> None:
    write("compress", [Row("bytes of DGC", 0.5, "MB", ok=False), Row("other", 2.0, "s")], tmp_path)
    measured = (catalogue.Measured("compress", "bytes of"), catalogue.Measured("dp", "accuracy"))
    row = catalogue.Row("DGC", "Codecs", ("a.py",), ("t.py::test_a",), "0.35 MB", measured, "other data")
    text = catalogue.page(catalogue.Catalogue((row,)), tmp_path)
    assert "bytes of DGC: 0.5 MB (bar missed)<br>`make bench Q=dp` was not run<br>other data" in text


def test_a_figure_that_no_benchmark_has_is_an_error(tmp_path: Path) -> None:
    write("compress", [Row("other", 2.0, "s")], tmp_path)
    row = catalogue.Row("DGC", "Codecs", (), (), measured=(catalogue.Measured("compress", "bytes"),))
    with pytest.raises(KeyError, match="no row that begins"):
        catalogue.page(catalogue.Catalogue((row,)), tmp_path)
