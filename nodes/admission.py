"""What a node that serves models asks of the ledger, and what pays a session: the ports of `nodes.serving`."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from middleware.protocol.session import Ledger
from middleware.types import Node


class Admission(NamedTuple):
    """What the ledger says of a model and a user: token units a unit of work, and how many requests of the whole model may be
    unpaid where that is not 0."""

    price: int
    unpaid: int


class Till(Protocol):
    """Where a session is paid; one a session."""

    def paid(self, voucher: bytes, units: int) -> tuple[int, bytes]:
        """(units of this session that are paid with it, the chain of receipts that it names). PeerFault for one that does not
        hold."""
        ...


class Licences(Protocol):
    """The ledger's view of models, as far as serving needs it."""

    async def admit(self, root: bytes, user: bytes, sender: Node) -> Admission:
        """PeerFault where this user may not run this model now."""
        ...

    def revoked(self, root: bytes, user: bytes, sender: Node) -> str:
        """Why a session that is open must end, or ""."""
        ...

    async def till(self, root: bytes, user: bytes, channel: bytes, sender: Node) -> Till | None:
        """None where nothing is paid. PeerFault for a channel that is not this user's, or not for this node."""
        ...

    def channel_units(self, root: bytes, user: bytes) -> int:
        """Cumulative units that the user's channel has vouched for."""
        ...

    def record(self, root: bytes, user: bytes, session: bytes, ledger: Ledger, paid: int) -> None:
        """Keep what a session came to."""
        ...
