"""What every node has at stake, from the ledger's entries: the fold of four events, in token units."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ledger.events import Slashed, Staked, Unbonding, Withdrawn
from middleware.ports import Entry


class Stake(msgspec.Struct, frozen=True):
    """`bonded` counts for admission; `unbonding` is slashable too, until somebody withdraws it after `until` (seconds)."""

    bonded: int = 0
    unbonding: int = 0
    until: int = 0
    slashed: int = 0


def stakes(entries: Iterable[Entry]) -> dict[int, Stake]:
    """By node; nodes that never staked are left out. A slash takes what is unbonding first, as the Registry does."""
    found: dict[int, Stake] = {}
    for entry in entries:
        match entry.event:
            case Staked(id, amount):
                held = found.get(id, Stake())
                found[id] = msgspec.structs.replace(held, bonded=held.bonded + amount)
            case Unbonding(id, amount, until):
                held = found[id]
                found[id] = msgspec.structs.replace(
                    held, bonded=held.bonded - amount, unbonding=held.unbonding + amount, until=until
                )
            case Withdrawn(id):
                found[id] = msgspec.structs.replace(found[id], unbonding=0)
            case Slashed(id, amount):
                held = found.get(id, Stake())
                leaving = min(amount, held.unbonding)
                found[id] = msgspec.structs.replace(
                    held, bonded=held.bonded - (amount - leaving), unbonding=held.unbonding - leaving,
                    slashed=held.slashed + amount,
                )  # fmt: skip
    return found
