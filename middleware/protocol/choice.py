"""Which codec a device uses where the policy leaves that to it (`codec = "auto"`).

The rule: a device takes the codec with the longest expected payload (`maths.compress.expected_size`) whose upload, at the
rate that its link last had, should take at most the policy's `upload_seconds`; where none is that short, the one with the
shortest payload. A device that has measured nothing yet takes the longest: its first upload is the measurement.

The rate is the lower median of those of the last `REMEMBERED` uploads, bytes over seconds from the first byte to the answer.
So one upload that the weather held up, or an edge that was away, changes nothing for long. An upload that a round's end cut off
counts as if its last byte had gone through then, which is the most that can be said for the link. The answer's way back and
the edge's work are part of the seconds: a link is judged too slow rather than too fast, most of all after a short
payload. Choices should therefore lie at most about ten times apart, so that each one's upload says something about the next.

The number of the choice is the first byte of the payload, under the seal and the leaf's hashes like the rest. Whoever opens the
update decodes by it, and refuses a number that the policy does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from middleware.errors import require
from middleware.maths import compress
from middleware.policy import CodecSpec, Policy

REMEMBERED: Final = 3  # uploads


class Transfer(msgspec.Struct, frozen=True):
    """One upload as its sender saw it."""

    bytes: int
    seconds: float

    def __post_init__(self) -> None:
        require(self.bytes > 0 and self.seconds > 0, f"an upload of {self.bytes} bytes in {self.seconds} s: none such")


def rate(uploads: Sequence[Transfer]) -> float | None:
    """Bytes a second of a link, from its uploads, oldest first; None where there are none."""
    last = sorted(upload.bytes / upload.seconds for upload in uploads[-REMEMBERED:])
    return last[(len(last) - 1) // 2] if last else None


def expected_bytes(spec: CodecSpec, policy: Policy) -> int:
    """How long a payload under `spec` should be."""
    return compress.expected_size(spec.name, policy.parameters, policy.grid.bits, spec.density, spec.budget or 0)


def choose(policy: Policy, bytes_per_second: float | None) -> int:
    """The number of the codec, among those that the policy offers, for a link of such a rate; None: not measured yet."""
    offered, seconds = policy.codec.offered, policy.codec.upload_seconds
    sizes = [expected_bytes(spec, policy) for spec in offered]
    if seconds is None or bytes_per_second is None:
        return sizes.index(max(sizes))
    short = [size for size in sizes if size <= seconds * bytes_per_second]
    return sizes.index(max(short, default=min(sizes)))
