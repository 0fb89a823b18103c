"""Which requests of a session are computed a second time, and what that catches.

The server commits to a session's receipts by their root; only afterwards is a block mined whose hash says which of them are
looked at. Neither side can choose: the server does not know the block when it answers, the client not which receipts it will
bring. Each receipt is drawn on its own with probability `share`, so a server that answers a share `cheated` of n requests wrongly
is caught with probability

    1 - (1 - share x cheated)**n
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

from middleware.errors import require

DOMAIN: Final = b"drystone spot check 1"
DRAW_BYTES: Final = 8


def sampled(block_hash: bytes, root: bytes, count: int, share: float) -> tuple[int, ...]:
    """Of `count` receipts under `root` (32 bytes) the numbers of those that are drawn, ascending. `block_hash` must be of a block
    behind the one in which the root was committed: the caller has both numbers, this has not."""
    _require_share(share)
    require(len(block_hash) == 32 and len(root) == 32, "a block's hash and a root have 32 bytes each")
    start = hashlib.sha256(DOMAIN + block_hash + root)
    below = math.ceil(share * (1 << 8 * DRAW_BYTES))
    found = []
    for number in range(count):
        draw = start.copy()
        draw.update(number.to_bytes(8, "big"))
        if int.from_bytes(draw.digest()[:DRAW_BYTES], "big") < below:
            found.append(number)
    return tuple(found)


def caught(share: float, cheated: float, count: int) -> float:
    """The probability that at least one of the wrong ones among `count` requests is drawn."""
    _require_share(share)
    _require_share(cheated)
    return -math.expm1(count * math.log1p(-share * cheated)) if share * cheated < 1 else float(count > 0)


def share_needed(wanted: float, cheated: float, count: int) -> float:
    """The least share of requests to look at so that a server that cheats so often is caught with probability `wanted`.

    Raises ConfigurationError where even looking at all of them is not enough.
    """
    _require_share(wanted)
    require(0 < cheated <= 1 and count > 0, "cheating is a share above 0, of at least one request")
    require(
        wanted <= caught(1.0, cheated, count), f"{count} requests are too few to catch it with probability {wanted:g}"
    )
    return min(1.0, -math.expm1(math.log1p(-wanted) / count) / cheated) if wanted < 1 else 1.0


def _require_share(share: float) -> None:
    require(0 <= share <= 1, f"{share} is no share: 0 to 1")
