"""`drystone top`: what shared inference does now, from the nodes' /status and from the sessions' own notes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp

from nodes.cli.home import Home
from nodes.cli.output import print_json
from nodes.session import TOLD

LOOK_SECONDS = 2.0  # that a node has to answer
STALE_SECONDS = 10.0  # after which a session that says nothing is over


def watch(home: Path, seconds: float, looks: int, as_json: bool) -> None:
    """One look as JSON, or a page that is drawn again and again."""
    if as_json:
        print_json(look(home))
        return
    from rich.console import Console
    from rich.live import Live

    done = 0
    with Live(page(look(home)), console=Console(), refresh_per_second=4) as live:
        while not looks or (done := done + 1) < looks:
            time.sleep(seconds)
            live.update(page(look(home)))


def look(home: Path) -> dict[str, Any]:
    """{"nodes": what each edge and cloud serves, "sessions": what each device's session has done}."""
    place = Home(home)
    nodes = [one for one in place.nodes() if one.config.tier != "end"]
    served = asyncio.run(_statuses({one.config.name: f"http://{one.config.listen}" for one in nodes}))
    sessions = {}
    for one in place.nodes():
        file = one.path(one.config.state) / TOLD
        if one.config.tier == "end" and file.exists():
            told = json.loads(file.read_text())
            sessions[one.config.name] = {**told, "live": told["open"] and time.time() - told["time"] < STALE_SECONDS}
    return {"nodes": served, "sessions": sessions}


async def _statuses(addresses: dict[str, str]) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=LOOK_SECONDS)

    async def ask(http: aiohttp.ClientSession, address: str) -> dict[str, Any]:
        try:
            async with http.get(address + "/status") as answer:
                found: dict[str, Any] = await answer.json()
        except (TimeoutError, aiohttp.ClientError, OSError):
            return {"state": "does not answer"}
        return {"state": found["state"], "tier": found["tier"], **found.get("inference", {})}

    async with aiohttp.ClientSession(timeout=timeout) as http:
        found = await asyncio.gather(*(ask(http, address) for address in addresses.values()))
    return dict(zip(addresses, found, strict=True))


def page(found: dict[str, Any]) -> Any:
    """Tables for people."""
    from rich.console import Group
    from rich.table import Table

    nodes = Table(
        "node",
        "state",
        "sessions",
        "queue ms",
        "model",
        "requests",
        "refused",
        "ms each",
        "in",
        "out",
        "units",
        "unpaid",
    )
    for name, one in found["nodes"].items():
        models = list(one.get("models", {}).values()) or [None]
        for place, model in enumerate(models):
            head = (
                (name, one["state"], one.get("sessions", 0), f"{one.get('queue_ms', 0.0):.1f}")
                if not place
                else ("",) * 4
            )
            body: tuple[object, ...] = ("",) * 8
            if model is not None:
                each = model["compute_ms"] / max(1, model["requests"])
                body = (
                    model["name"], model["requests"], model["refused"], f"{each:.2f}", _size(model["bytes_in"]),
                    _size(model["bytes_out"]), model["units"], model["unpaid"],
                )  # fmt: skip
            nodes.add_row(*(str(cell) for cell in (*head, *body)))
    sessions = Table(
        "device", "model", "requests", "answered by", "ms by part", "up", "joules", "unpaid", "degraded", "way now"
    )
    for name, one in found["sessions"].items():
        tiers = " ".join(f"{key[5:]}:{count}" for key, count in one["answers"].items() if key.startswith("tier "))
        parts = " ".join(f"{key} {ms:.1f}" for key, ms in one["mean_ms"].items())
        way = one["plans"][-1][1] if one["plans"] else ""
        sessions.add_row(
            name + ("" if one["live"] else " (over)"), one["model"], str(one["requests"]), tiers, parts, _size(one["bytes_up"]),
            f"{one['joules']:.3g} ({one['joules_by']})", str(one["unpaid"]), str(one["degraded"]), way,
        )  # fmt: skip
    return Group(nodes, sessions)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
