"""What a device remembers of its uploads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from middleware.errors import PeerFault, Unavailable
from middleware.policy import CodecSpec
from middleware.protocol.choice import Transfer
from nodes import device
from nodes.store import Store

AUTO = CodecSpec("auto", choices=(CodecSpec("none"), CodecSpec("int8")), upload_seconds=2.0)
FRAME, BODY = bytes(10), bytes(90)


class Parent:
    """An edge that answers after so many seconds of a clock that nobody waits for."""

    def __init__(self) -> None:
        self.now, self.seconds, self.fault = 100.0, 0.0, None

    async def post(self, frame: bytes, body: bytes, tried: bytes) -> bytes:
        self.now += self.seconds
        if self.fault is not None:
            raise self.fault
        return b"receipt"


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Parent:
    made = Parent()
    monkeypatch.setattr(device, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


def member(parent: Parent, store: Store, codec: CodecSpec) -> device.Device:
    task = SimpleNamespace(policy=SimpleNamespace(codec=codec))
    agent: Any = SimpleNamespace(parent=parent, store=store, task=lambda number: task)
    return device.Device(agent, SimpleNamespace())  # type: ignore[arg-type]


async def upload(made: device.Device, parent: Parent, seconds: float, fault: Any = None, tried: bytes = b"") -> None:
    parent.seconds, parent.fault = seconds, fault
    if fault is None:
        assert await made._timed(1, FRAME, BODY, tried) == b"receipt"
        return
    with pytest.raises(type(fault)):
        await made._timed(1, FRAME, BODY, tried)


async def test_an_upload_with_a_receipt_is_remembered(parent: Parent, store: Store) -> None:
    await upload(member(parent, store, AUTO), parent, 0.5)
    assert store.uploads() == [Transfer(100, 0.5)]


async def test_a_failed_try_counts_only_where_it_took_longer_than_an_upload_should(
    parent: Parent, store: Store
) -> None:
    made = member(parent, store, AUTO)
    await upload(made, parent, 0.1, Unavailable("nobody answers"))
    await upload(made, parent, 0.1, PeerFault("wrong-round", "too late"))
    assert store.uploads() == []
    await upload(made, parent, 30.0, PeerFault("wrong-round", "too late"))
    assert store.uploads() == [Transfer(100, 30.0)]


async def test_a_try_that_went_on_where_another_broke_off_counts_only_where_it_was_slow(
    parent: Parent, store: Store
) -> None:
    made = member(parent, store, AUTO)
    await upload(made, parent, 0.1, tried=b"digest")
    assert store.uploads() == []
    await upload(made, parent, 4.0, tried=b"digest")
    assert store.uploads() == [Transfer(100, 4.0)]


async def test_a_task_with_a_codec_of_its_own_measures_nothing(parent: Parent, store: Store) -> None:
    await upload(member(parent, store, CodecSpec("topk")), parent, 0.5)
    assert store.uploads() == []
