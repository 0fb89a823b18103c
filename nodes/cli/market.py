"""`drystone model`: publish, license, pay, redeem; what each does is in `nodes.market`."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Optional, TypeVar

import numpy as np

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.keys import AccountKey, KeyFile, parse_address
from middleware.types import ZERO32
from middleware.wire.model import ModelManifest, decode_model_manifest
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table
from nodes.config import Settings
from nodes.market import Market, kept_vouchers, listed

T = TypeVar("T")
FOREVER = (1 << 64) - 1
GAS_WEI = 10**18  # that --mint sends along on a devnet


def publish(
    home: Path, source: str, name: str, price: int, share: int, held: Optional[int], licence: Optional[Path], kind: str,
    scale: str, samples: Optional[Path], segments: int, workload: str, cloud: str, as_json: bool, exits: Sequence[int] = (),
    bottlenecks: Sequence[int] = (), lose: float = 1.0,
) -> None:  # fmt: skip
    from middleware.infer.publish import measured

    place = Home(home)
    model, files, tried = _made(place, source, name, kind, scale, segments, workload)
    if samples is not None:
        tried = _samples(samples)
    if exits or bottlenecks:
        model, files, tried = _extended(model, files, tried, exits, bottlenecks, lose)
    if tried is not None:
        model = measured(model, files, *tried)
    if held is not None:
        import msgspec

        model = msgspec.structs.replace(model, held=held)
    terms = hashlib.sha256(licence.read_bytes()).digest() if licence is not None else ZERO32

    async def act(market: Market) -> bytes:
        root = await market.publish(model, price, share, terms)
        await market.bring(cloud or place.cloud_address(), model, files)
        return root

    root = _acting(place, place.operator(), act)
    whole = next((one.accuracy for one in model.measured if one.way == "raw"), None)
    if as_json:
        print_json({"root": root, "manifest": model})
        return
    print(
        f"model {model.name}: {len(model.segments)} segments, {model.macs / 1e6:.1f} M multiply-accumulates, root {root.hex()}"
    )
    for branch in model.branches:
        print(f"exit behind segment {branch.after}: {branch.rate:.0%} of the samples that reach it leave there")
    for pair in model.coders:
        print(f"bottleneck behind segment {pair.after}: {'x'.join(map(str, pair.given))} numbers cross, {pair.codec}")
    if whole is None:
        print("nobody measured its accuracy: give --samples, or constraints on accuracy refuse every way to run it")
    else:
        print(f"accuracy {whole:.1%} on {model.samples} samples; {len(model.measured)} ways to run it were measured")
    print(f"let somebody run it: drystone model grant {model.name} --node NAME")


def places(words: str) -> tuple[int, ...]:
    """Numbers of segments, from "1,3"."""
    try:
        return tuple(sorted({int(word) for word in words.split(",") if word.strip()}))
    except ValueError as error:
        raise ConfigurationError(f"{words!r}: give numbers of segments with commas, as in 1,3") from error


def _extended(
    model: ModelManifest, files: dict[bytes, bytes], tried: tuple[Any, Any] | None, exits: Sequence[int],
    bottlenecks: Sequence[int], lose: float,
) -> tuple[ModelManifest, dict[bytes, bytes], tuple[Any, Any]]:  # fmt: skip
    """With branches and coders trained on some of the samples; the others are left to measure it on."""
    from middleware.infer.extend import extended

    if tried is None:
        raise ConfigurationError("exits and bottlenecks are trained on samples: give --samples, a .npz with X and y")
    print("training what is added, on three fifths of the samples", file=sys.stderr)
    made = extended(model, files, *tried, exits, bottlenecks, lose / 100)
    return made.model, made.files, (made.samples, made.labels)


def _made(
    place: Home, source: str, name: str, kind: str, scale: str, segments: int, workload: str
) -> tuple[ModelManifest, dict[bytes, bytes], tuple[Any, Any] | None]:
    """(manifest, files, validation samples where the source has some) of an ONNX file, of what `torch.export.save` wrote, or of
    a task's last final round."""
    from middleware.infer.publish import assembled
    from middleware.infer.segments import cut

    numbers = tuple(float(part) for part in scale.split(",")) if scale else ()
    if not source.startswith("task:"):
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"{source}: {error.strerror}; give a .onnx or .pt2 file, or task:NUMBER"
            ) from error
        if source.endswith(".pt2"):
            from middleware.infer.export import export_program

            data = export_program(data)
        model, files = assembled(name or Path(source).stem, cut(data, segments), kind, scale=numbers)
        return model, files, None
    return _of_task(place, source, name, segments, workload)


def _of_task(
    place: Home, source: str, name: str, segments: int, workload: str
) -> tuple[ModelManifest, dict[bytes, bytes], tuple[Any, Any] | None]:
    from middleware.infer.export import export
    from middleware.infer.publish import assembled
    from middleware.infer.segments import cut
    from middleware.learn.workload import for_serving, workload_id
    from middleware.wire import tensors

    number = source.removeprefix("task:")
    index = place.read_index()
    task = index.tasks.get(int(number)) if number.isdigit() else None
    rounds = index.anchored.get(task.id, []) if task is not None else []
    if task is None or not rounds:
        raise ConfigurationError(f"{source}: the ledger knows no such task with an anchored round")
    chosen = workload or ("digits" if task.policy.workload == "digits" else "")
    if not chosen or workload_id(chosen) != task.policy.workload:
        raise ConfigurationError(
            f"task {task.id} was trained on {task.policy.workload}: name its file with --workload table:FILE"
        )
    blob = place.blob(rounds[-1].header.model_out)
    if blob is None:
        raise ConfigurationError(f"the model of round {rounds[-1].header.round} is on no node below {place.folder}")
    vector = tensors.decode_model(blob, task.policy.parameters)
    module, features, labels = for_serving(chosen, task.policy.model, vector)
    parts = cut(export(module, features.shape[1:]), segments)
    model, files = assembled(name or f"task-{task.id}", parts, "tensor", task=task.id, round=rounds[-1].header.round)
    return model, files, (features, labels)


def _samples(path: Path) -> tuple[Any, Any]:
    try:
        with np.load(path) as data:
            return data["X"], data["y"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{path}: {error}; give a .npz with X, samples, and y, their classes from 0"
        ) from error


def show(home: Path, as_json: bool) -> None:
    place = Home(home)
    index = place.read_index()
    rows = listed(index, _names(place, list(index.licences.models)))
    if as_json:
        print_json({"models": rows, "channels": list(index.licences.channels.values())})
        return
    print_table(
        "published models", ("name", "root", "lineage", "price a unit", "edge's share", "licences", "channels"),
        [
            (one.name or "(manifest not here)", one.root[:16], f"task {one.task}, round {one.round}" if one.task else "foreign",
             one.price, f"{one.share / 100:g} %", one.licences, one.channels)
            for one in rows
        ],
    )  # fmt: skip


def grant(home: Path, model: str, user: str, node: str, days: float, quota: int, taken: bool, as_json: bool) -> None:
    """Grant, or with `taken` revoke, the licence of an account or of a node's account."""
    place = Home(home)
    root = _root(place, model)
    expiry = FOREVER if days == 0 else int(time.time() + days * 86400)

    async def act(market: Market) -> bytes:
        index = await market.refresh()
        account = _account(index, user, node)
        if taken:
            await market.revoke(root, account)
        else:
            await market.grant(root, account, expiry, quota or FOREVER)
        return account

    account = _acting(place, place.operator(), act)
    if as_json:
        print_json({"root": root, "user": account, "revoked": taken})
    else:
        print(f"0x{account.hex()} {'may no longer' if taken else 'may'} run {model}")


def deposit(home: Path, model: str, node: str, edge: str, amount: int, mint: bool, as_json: bool) -> None:
    from ledger.deploy import transfer
    from nodes.operator import named

    place = Home(home)
    root, settings = _root(place, model), _settings(place, node)
    keys = KeyFile.from_bytes(settings.path(settings.config.keys).read_bytes())
    book = place.address_book()

    async def open_(market: Market) -> Any:
        roster = (await market.refresh()).roster()
        me = roster.by_key(keys.network.public)
        above = named(roster, edge).id if edge else (me.parent if me is not None else 0)
        return await market.open_channel(root, above, amount)

    if mint:
        _acting(place, place.operator(), lambda market: market.mint(keys.account.address, amount))
        if not book.operator:
            asyncio.run(transfer(book.rpc, place.operator(), keys.account.address, GAS_WEI))
    channel = _acting(place, keys.account, open_)
    if as_json:
        print_json(channel)
    else:
        units = channel.deposit // channel.price if channel.price else 0
        print(
            f"channel {channel.id} to edge {channel.edge}: {channel.deposit} token units, enough for {units:,} units of work"
        )


def close(home: Path, channel: int, node: str, as_json: bool) -> None:
    place = Home(home)
    settings = _settings(place, node)
    keys = KeyFile.from_bytes(settings.path(settings.config.keys).read_bytes())
    when = _acting(place, keys.account, lambda market: market.close_channel(channel))
    if as_json:
        print_json({"channel": channel, "closing": when})
    elif when:
        print(f"channel {channel} closes at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(when))}; ask again then")
    else:
        print(f"channel {channel} is closed, the rest was paid back")


def redeem(home: Path, edge: str, as_json: bool) -> None:
    place = Home(home)
    settings = _settings(place, edge)
    vouchers = kept_vouchers(settings.path(settings.config.state) / "node.db")
    paid = _acting(place, place.operator(), lambda market: market.redeem(vouchers))
    if as_json:
        print_json([{"channel": voucher.channel, "units": voucher.units, "paid": amount} for voucher, amount in paid])
    for voucher, amount in [] if as_json else paid:
        print(f"channel {voucher.channel}: {voucher.units:,} units in all, {amount} token units paid")
    if not paid and not as_json:
        print("nothing to redeem: every voucher that this edge keeps was redeemed")


# ------------------------------------------------------------------------------------------------------------- together


def _acting(place: Home, key: AccountKey, act: Callable[[Market], Awaitable[T]]) -> T:
    async def go() -> T:
        async with place.ledger() as ledger:
            return await act(Market(ledger, key))

    return asyncio.run(go())


def _names(place: Home, roots: list[bytes]) -> dict[bytes, str]:
    """The names of those models whose manifest some node below this home has."""
    found = {}
    for root in roots:
        data = place.blob(root)
        if data is not None:
            try:
                found[root] = decode_model_manifest(data).name
            except PeerFault:
                continue  # published by somebody who put something else behind the root
    return found


def _root(place: Home, model: str) -> bytes:
    """The root of a model by name or by the beginning of its hex."""
    roots = list(place.read_index().licences.models)
    names = _names(place, roots)
    found = [root for root in roots if names.get(root) == model or root.hex().startswith(model)]
    if not found:
        known = ", ".join(sorted(names.values())) or "none"
        raise ConfigurationError(f"the ledger knows no model {model!r}; there are: {known}")
    return found[-1]


def _account(index: Any, user: str, node: str) -> bytes:
    from nodes.operator import named

    if bool(user) == bool(node):
        raise ConfigurationError("say who: --user with an account, or --node with a node's name")
    return parse_address(user) if user else named(index.roster(), node).account


def _settings(place: Home, name: str) -> Settings:
    found = next((one for one in place.nodes() if one.config.name == name), None)
    if found is None:
        raise ConfigurationError(f"no node {name} below {place.folder}: its key signs for it, so it must be here")
    return found
