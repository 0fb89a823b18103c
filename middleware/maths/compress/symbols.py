"""Few levels for each coordinate, packed and entropy coded.

    terngrad  -s, 0 or s, s the largest magnitude, s with probability |q| / s: unbiased (Wen et al. 2017, section 3). s is of a
              bucket of 512, as the paper's is of a layer: one large coordinate does not set the scale of all. The paper also
              cuts at 2.5 deviations; with buckets that gains nothing (it cost 0.25 points on HAPT), and it is a bias
    qsgd      in such buckets: levels -7 to 7 times a step m, m = ceil(norm / 7), rounded up or down at random: unbiased, and
              on the grid because the step is a whole number of its units (Alistarh et al. 2017, section 3.1)
    sign      one bit a coordinate times the mean magnitude (Bernstein et al. 2018; scaled as in Karimireddy et al. 2019)

Three-level symbols go five to a byte (3^5 = 243), qsgd's two to a byte, signs eight. The packed bytes pass through zstd, whose
entropy stage brings rare symbols near their information; where that gains nothing they stay as they are.

    payload of terngrad, qsgd   scales or steps, u32 LE each | stage u8 | bytes
    payload of sign             scale u32 LE | stage u8 | bytes

`decode` is total: what is inflated is bounded by d, and a value off the grid raises ValueError. One exception to "unbiased":
where the level above would leave the grid, qsgd rounds down.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zstandard

from middleware.maths import grid

Integers = npt.NDArray[np.signedinteger[Any]]
Bytes = npt.NDArray[np.uint8]

BUCKET: Final = 512  # coordinates
LEVELS: Final = 7  # on each side of zero
TRITS: Final = 5  # in a byte
POWERS: Final = np.array([81, 27, 9, 3, 1], np.uint8)
RAW, ZSTD = 0, 1
ZSTD_LEVEL: Final = 1
BLOCK: Final = 1 << 16  # coordinates worked on at once; a multiple of BUCKET
_TRITS_OF: Final = (np.arange(243)[:, None] // POWERS % 3).astype(np.int8) - 1


def size(codec: str, length: int) -> int:
    """The most bytes of a payload for `length` coordinates."""
    return 4 * _scale_count(codec, length) + 1 + _packed_bytes(codec, length)


def encode(codec: str, integers: Integers, bits: int, generator: np.random.Generator) -> bytes:
    """The payload of integers (d,) on a grid of `bits` bits."""
    if codec == "sign":
        magnitude = int(np.abs(integers, dtype=np.int64).sum())
        scale = (2 * magnitude + integers.size) // (2 * integers.size) if integers.size else 0
        return _scales([scale]) + _stage(np.packbits(integers >= 0, bitorder="little"))
    rows = _bucketed(integers)
    if codec == "terngrad":
        largest = np.abs(rows).max(axis=1)
        shares = np.repeat(1 / np.maximum(1, largest), BUCKET).astype(np.float32)
        chosen = np.clip(_rounded(rows.reshape(-1), shares, generator), -1, 1)  # 1 + u may round to 2 in float32
        return _scales(largest) + _stage(_pack_trits(chosen[: integers.size]))
    norms = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
    steps = np.clip(np.ceil(norms / LEVELS), 1, grid.limit(bits)).astype(np.int64)  # a longer one reaches no level
    levels = _rounded(rows.reshape(-1), np.repeat(1 / steps, BUCKET).astype(np.float32), generator)
    most = np.minimum(LEVELS, grid.limit(bits) // steps)
    levels = np.clip(levels.reshape(rows.shape), -most[:, None], most[:, None]).astype(np.int8).reshape(-1)
    return _scales(steps) + _stage(pack_nibbles(levels[: integers.size]))


def decode(codec: str, data: memoryview, length: int, bits: int) -> Integers:
    """The integers (length,) in a payload, of the grid's array type; any other bytes raise ValueError."""
    count = _scale_count(codec, length)
    if len(data) < 4 * count + 1:
        raise ValueError("the payload ends in its head")
    scales = np.frombuffer(data[: 4 * count], "<u4").astype(np.int64)
    limit = grid.limit(bits)
    if scales.size and int(scales.max()) > limit:
        raise ValueError(f"a scale of {int(scales.max())} leaves the {bits}-bit grid")
    packed = _unstage(data[4 * count :], _packed_bytes(codec, length))
    if codec == "sign":
        signs = np.unpackbits(packed, bitorder="little")
        require_zero(signs[length:])
        return np.asarray(((2 * signs[:length].astype(np.int8) - 1) * scales[0]).astype(grid.dtype(bits)))
    if codec == "terngrad":
        if packed.size and int(packed.max()) > 242:
            raise ValueError("a byte holds five three-level symbols: 0 to 242")
        trits = _TRITS_OF[packed].reshape(-1)
        require_zero(trits[length:])
        return np.asarray((trits[:length] * np.repeat(scales, BUCKET)[:length]).astype(grid.dtype(bits)))
    levels = unpack_nibbles(packed)
    require_zero(levels[length:])
    values = levels[:length].astype(np.int64) * np.repeat(scales, BUCKET)[:length]
    if values.size and int(np.abs(values).max()) > limit:
        raise ValueError(f"values outside the {bits}-bit grid")
    return values.astype(grid.dtype(bits))


def _scale_count(codec: str, length: int) -> int:
    return 1 if codec == "sign" else -(-length // BUCKET)


def _bucketed(integers: Integers) -> npt.NDArray[np.float32]:
    """The integers (d,) as rows of `BUCKET`, exact at up to 24 bits, filled up with zeros."""
    rows = np.zeros((-(-integers.size // BUCKET), BUCKET), np.float32)
    rows.reshape(-1)[: integers.size] = integers
    return rows


def _rounded(values: npt.NDArray[Any], scale: npt.NDArray[np.float32], generator: np.random.Generator) -> Integers:
    """values * scale, rounded up or down at random so that the mean is exact: floor(x + u), u uniform in [0, 1)."""
    out = np.empty(values.size, np.int8)
    for start in range(0, values.size, BLOCK):
        part = slice(start, start + BLOCK)
        scaled = values[part] * scale[part]
        scaled += generator.random(scaled.size, np.float32)
        out[part] = np.floor(scaled, out=scaled)
    return out


def _scales(values: npt.ArrayLike) -> bytes:
    return np.asarray(values).astype("<u4").tobytes()


def _packed_bytes(codec: str, length: int) -> int:
    return -(-length // {"sign": 8, "terngrad": TRITS, "qsgd": 2}[codec])


def _stage(packed: Bytes) -> bytes:
    raw = packed.tobytes()
    small = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw)
    return bytes([ZSTD]) + small if len(small) < len(raw) else bytes([RAW]) + raw


def _unstage(data: memoryview, length: int) -> Bytes:
    if data[0] == ZSTD:
        try:
            raw = (
                zstandard.ZstdDecompressor().decompress(bytes(data[1:]), allow_extra_data=False)
                if _fits(data, length)
                else b""
            )
        except zstandard.ZstdError as error:
            raise ValueError(f"the symbols do not inflate: {error}") from error
    elif data[0] == RAW:
        raw = bytes(data[1:])
    else:
        raise ValueError(f"stage {data[0]}: there are 0 and 1")
    if len(raw) != length:
        raise ValueError(f"{len(raw)} bytes of symbols, not {length}")
    return np.frombuffer(raw, np.uint8)


def _fits(data: memoryview, length: int) -> bool:
    """Whether the frame says that it inflates to exactly `length` bytes: nothing is inflated before that is known."""
    try:
        return bool(zstandard.get_frame_parameters(bytes(data[1:19])).content_size == length)
    except zstandard.ZstdError as error:
        raise ValueError(f"the symbols do not inflate: {error}") from error


def require_zero(rest: npt.NDArray[Any]) -> None:
    """ValueError unless all of what follows the last coordinate is zero."""
    if rest.any():
        raise ValueError("symbols past the last coordinate")


def _pack_trits(trits: Integers) -> Bytes:
    padded = np.ones(-(-trits.size // TRITS) * TRITS, np.uint8)  # symbol 0 is 1
    padded[: trits.size] = trits + 1
    columns = padded.reshape(-1, TRITS)
    packed = columns[:, 0] * POWERS[0]
    for place in range(1, TRITS):
        packed += columns[:, place] * POWERS[place]
    return np.asarray(packed, np.uint8)


def pack_nibbles(levels: Integers) -> Bytes:
    """Levels (d,) from -7 to 7, two to a byte, the first one high."""
    padded = np.zeros(-(-levels.size // 2) * 2, np.int8)
    padded[: levels.size] = levels
    pairs = (padded + 8).astype(np.uint8)
    return np.asarray(pairs[::2] << 4 | pairs[1::2])


def unpack_nibbles(packed: Bytes) -> npt.NDArray[np.int8]:
    """The levels in such bytes, an even number of them. ValueError for -8."""
    levels = np.empty(2 * packed.size, np.int8)
    levels[::2], levels[1::2] = packed >> 4, packed & 15
    levels -= 8
    if levels.size and int(levels.min()) < -LEVELS:
        raise ValueError(f"levels go from -{LEVELS} to {LEVELS}")
    return levels
