"""docs/catalogue.md: which technique of the literature is where, which test proves it, what its paper says, what we measured.

    python -m devnet.catalogue

The rows stand in docs/catalogue.toml. A measured figure is not written there: it names a row of a benchmark, and its value
is read from what that benchmark measured last (runs/bench). A row without one rests on its tests, and says so.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from devnet.bench.report import FOLDER, Bench, number

SOURCE, PAGE = Path("docs/catalogue.toml"), Path("docs/catalogue.md")


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a benchmark: `bench` is its name, `what` how the row's text begins."""

    bench: str
    what: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One technique. `modules` and `tests` are paths in the repository, a test's with `::name`; `paper` is the published
    figure as the paper, or who cites it, has it; `note` says what was not reproduced, and why."""

    name: str
    section: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    paper: str = ""
    measured: tuple[Measured, ...] = ()
    note: str = ""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    row: tuple[Row, ...]


def read(path: Path = SOURCE) -> Catalogue:
    """The table; msgspec's error names what is wrong in it."""
    return msgspec.toml.decode(path.read_bytes(), type=Catalogue)


def page(catalogue: Catalogue, benches: Path = FOLDER) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Catalogue",
        "",
        "Written by `python -m devnet.catalogue` from docs/catalogue.toml and from what `make bench Q=NAME` measured last.",
        "A paper's figure is the paper's, on its data and machines; ours is from a run that anyone can repeat.",
        "",
    ]
    for section in dict.fromkeys(row.section for row in catalogue.row):
        parts += [f"## {section}", "", "| technique | module | test | paper | measured here |", "|---|---|---|---|---|"]
        for row in catalogue.row:
            if row.section == section:
                cells = (row.name, _code(row.modules), _code(row.tests), row.paper or "-", _measured(row, benches))
                parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _code(paths: tuple[str, ...]) -> str:
    return "<br>".join(f"`{path}`" for path in paths)


def _measured(row: Row, benches: Path) -> str:
    found = [text for one in row.measured for text in _figures(one, benches)]
    if row.note:
        found.append(row.note)
    return "<br>".join(found) or "its tests"


def _figures(measured: Measured, benches: Path) -> list[str]:
    path = benches / f"{measured.bench}.json"
    if not path.exists():
        return [f"`make bench Q={measured.bench}` was not run"]
    bench = msgspec.json.decode(path.read_bytes(), type=Bench)
    rows = [row for row in bench.rows if row.what.startswith(measured.what)]
    if not rows:
        raise KeyError(f"{path} has no row that begins with {measured.what!r}")
    return [
        f"{row.what}: {number(row.value)} {row.unit}".rstrip() + ("" if row.ok is not False else " (bar missed)")
        for row in rows
    ]


if __name__ == "__main__":
    PAGE.write_text(page(read()))
