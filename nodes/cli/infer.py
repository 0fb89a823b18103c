"""`drystone infer`: samples in, answers out, and with --explain every way that was considered."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any, Optional

import numpy as np

from middleware.errors import ConfigurationError
from middleware.infer.plan import Considered, Constraints
from middleware.wire.model import ModelManifest
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table
from nodes.config import read_config
from nodes.reply import PARTS, Reply
from nodes.session import Session

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def run(
    home: Path, files: list[str], model: str, node: str, privacy: str, accuracy: float, deadline: float, price: Optional[float],
    way: str, explain: bool, keep: bool, as_json: bool,
) -> None:  # fmt: skip
    if not model:
        raise ConfigurationError("say which model: --model NAME; `drystone model list` shows what there is")
    constraints = Constraints(
        privacy=privacy, accuracy=accuracy, deadline_ms=deadline or math.inf, price=math.inf if price is None else price  # type: ignore[arg-type]
    )  # fmt: skip
    asyncio.run(_ask(_device(Home(home), node), files, model, constraints, way, explain, keep, as_json))


async def _ask(
    folder: Path, files: list[str], model: str, constraints: Constraints, way: str, explain: bool, keep: bool, as_json: bool
) -> None:  # fmt: skip
    async with Session(folder, model, constraints=constraints, forced=way, keep=keep) as session:
        manifest = session.running.model
        samples = [(name, one) for name in files for one in read_samples(Path(name), manifest)]
        replies = [(name, await session(one)) for name, one in samples]
        considered = session.explain() if explain else []
        report = session.running.report()
    if as_json:
        answers = [{"file": name, **_told(reply, manifest)} for name, reply in replies]
        ways = [_row(one, manifest) for one in considered]
        print_json({"answers": answers, "considered": ways, "session": report})
        return
    print_table(
        f"{manifest.name}: {len(replies)} answers", ("sample", "answer", "from", "way", "ms", "bytes up"),
        [
            (name, _label(reply, manifest), reply.tier + (" (degraded)" if reply.degraded else ""), reply.way,
             f"{reply.ms:.1f}", f"{reply.bytes_up:,}")
            for name, reply in replies
        ],
    )  # fmt: skip
    for why in sorted({reply.degraded for _, reply in replies if reply.degraded}):
        print(f"degraded: {why}")
    if explain:
        show(considered, manifest)


def audit(home: Path, session: str, node: str, share: float, as_json: bool) -> None:
    """Run drawn answers of a kept session again; the exit code is the verdict."""
    from nodes.cli.audit import show_report
    from nodes.kept import read_session, sessions_below
    from nodes.recheck import recheck

    place = Home(home)
    settings = read_config(_device(place, node) / "node.toml")
    files = [one for one in sessions_below(settings.path(settings.config.state)) if one.name.startswith(session)]
    if not files:
        raise ConfigurationError(
            f"device {settings.config.name} keeps no session {session}: `drystone infer --keep` keeps what it asks"
        )
    show_report(asyncio.run(recheck(settings, read_session(files[-1]), share, place.blob)), as_json)


def show(considered: list[Considered], manifest: ModelManifest) -> None:
    """Every way, the chosen one first, with what it would cost and why it is not allowed."""
    rows = []
    for one in considered:
        told = _row(one, manifest)
        known = "" if told["accuracy"] is None else f"{told['accuracy']:.3f}"
        parts = " ".join(f"{ms:.1f}" for ms in told["parts_ms"].values())
        rows.append(
            (
                told["way"],
                f"{told['ms']:.1f}",
                parts,
                f"{told['bytes']:,.0f}",
                known,
                f"{told['price']:g}",
                told["refused"],
            )
        )
    print_table(
        "ways considered, the chosen one first (predicted; parts: head, encode, transfer, queue, tail, back)",
        ("way", "ms", "parts", "bytes", "accuracy", "price", "not, because"), rows,
    )  # fmt: skip


def _row(one: Considered, manifest: ModelManifest) -> dict[str, Any]:
    from middleware.infer.plan import PARTS as PREDICTED

    predicted = one.predicted
    return {
        "way": one.way.name(len(manifest.segments)), "ms": predicted.ms, "bytes": predicted.bytes,
        "parts_ms": dict(zip(PREDICTED, predicted.parts, strict=True)), "joules": predicted.joules, "price": predicted.price,
        "accuracy": predicted.accuracy, "cost": one.cost, "refused": one.refused,
    }  # fmt: skip


def _told(reply: Reply, manifest: ModelManifest) -> dict[str, Any]:
    return {
        "answer": _label(reply, manifest), "class": reply.label, "tier": reply.tier, "way": reply.way, "ms": reply.ms,
        "parts_ms": dict(zip(PARTS, reply.parts, strict=True)), "bytes_up": reply.bytes_up, "bytes_down": reply.bytes_down,
        "joules": reply.joules, "joules_by": reply.joules_by, "units": reply.units, "degraded": reply.degraded,
    }  # fmt: skip


def _label(reply: Reply, manifest: ModelManifest) -> str:
    return manifest.classes[reply.label] if manifest.classes else str(reply.label)


def _device(home: Home, name: str) -> Path:
    devices = [one for one in home.nodes() if one.config.tier == "end"]
    if name:
        devices = [one for one in devices if one.config.name == name]
    if len(devices) != 1:
        found = ", ".join(one.config.name for one in home.nodes() if one.config.tier == "end") or "none"
        raise ConfigurationError(f"say which device asks, with --node: below {home.folder} there are {found}")
    return devices[0].folder


def read_samples(path: Path, model: ModelManifest) -> list[Any]:
    """The samples in a file, as the model takes them. ConfigurationError names the file and what is wrong with it."""
    try:
        if path.suffix.lower() in PICTURES:
            return [_picture(path, model)]
        loaded = np.load(path)
        data = loaded["X"] if hasattr(loaded, "files") else loaded
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path}: {error}; give a picture, .npy, or .npz with X") from error
    shape = (model.taken[1], model.taken[2], 3) if model.kind == "image" else model.taken
    many = data if data.shape[1:] == shape else data[None]
    if many.shape[1:] != shape:
        raise ConfigurationError(f"{path}: samples of shape {data.shape}; {model.name} takes {shape}")
    return list(many if model.kind == "image" else many.astype(np.float32))


def _picture(path: Path, model: ModelManifest) -> Any:
    """The middle square of a picture, at the model's size."""
    from PIL import Image

    if model.kind != "image":
        raise ConfigurationError(f"{path}: {model.name} takes no pictures but float32 {model.taken}")
    _, height, width = model.taken
    with Image.open(path) as opened:
        whole = opened.convert("RGB")
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return np.asarray(whole.crop((left, top, left + side, top + side)).resize((width, height)))
