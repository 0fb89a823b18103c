"""Samples on their way up: what loses nothing loses nothing, and no bytes do harm."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.infer import inputs
from middleware.wire.model import UPLOADS
from tests.unit.infer.test_plan import model

FIXED = settings(derandomize=True, deadline=None, max_examples=150, database=None)


def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:32, 0:32]
    return np.stack([rows * 8, columns * 8, rows * columns // 4], 2).astype(np.uint8)


def test_raw_and_png_lose_nothing_and_jpeg_little() -> None:
    whole = inputs.prepared(model(), picture())
    assert whole.shape == (1, 3, 32, 32) and whole.dtype == np.float32
    for form in UPLOADS:
        found = inputs.received(model(), inputs.uploaded(model(), picture(), form), form)
        loss = np.abs(found - whole).max()
        assert loss == 0 if form in ("raw", "png") else 0 < loss < 2.0
    sizes = [len(inputs.uploaded(model(), picture(), form)) for form in ("raw", "jpeg95", "jpeg75")]
    assert sizes == sorted(sizes, reverse=True)


def test_a_tensor_is_sent_as_it_is() -> None:
    plain = msgspec.structs.replace(model(), kind="tensor", scale=())
    sample = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    assert np.array_equal(inputs.received(plain, inputs.uploaded(plain, sample, "raw"), "raw"), sample[None])
    with pytest.raises(ConfigurationError, match="not sent as 'png'"):
        inputs.uploaded(plain, sample, "png")
    with pytest.raises(PeerFault, match="not sent as 'png'"):
        inputs.received(plain, b"", "png")


@FIXED
@given(st.sampled_from(UPLOADS), st.data())
def test_a_mutated_upload_is_a_picture_of_the_right_size_or_refused(form: str, data: st.DataObject) -> None:
    bytes_ = bytearray(inputs.uploaded(model(), picture(), form))
    for _ in range(data.draw(st.integers(1, 6))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = inputs.received(model(), bytes(bytes_), form)
    except PeerFault as fault:
        assert fault.code == "malformed"
    else:
        assert found.shape == (1, 3, 32, 32) and np.isfinite(found).all()


def test_pictures_of_another_size_are_refused_before_they_are_decoded() -> None:
    large = np.zeros((1000, 900, 3), np.uint8)
    sent = inputs.uploaded(
        msgspec.structs.replace(
            model(), segments=(msgspec.structs.replace(model().segments[0], taken=(3, 1000, 900)), *model().segments[1:])
        ),
        large, "png",
    )  # fmt: skip
    with pytest.raises(PeerFault, match="32 x 32"):
        inputs.received(model(), sent, "png")
    with pytest.raises(ConfigurationError, match="takes uint8"):
        inputs.prepared(model(), large)
