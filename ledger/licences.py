"""What the entries say of published models: who may run which, and what channels hold. A part of `ledger.index`."""

from __future__ import annotations

import msgspec

from ledger.events import (
    ChannelClosed,
    ChannelClosing,
    ChannelFunded,
    ChannelOpened,
    LicenceGranted,
    LicenceRevoked,
    ModelPublished,
    PriceChanged,
    VoucherRedeemed,
)  # fmt: skip
from ledger.models import UINT64_MAX
from middleware.errors import PeerFault
from middleware.ports import Event, Position


class PublishedModel(msgspec.Struct, frozen=True):
    """A model on the ledger. `model` is the SHA-256 of the round's model blob, zeros for one from elsewhere; `price` in token
    units a unit of work, of which `share` ten-thousandths go to the edge."""

    root: bytes
    owner: bytes
    task: int
    round: int
    model: bytes
    licence: bytes
    price: int
    share: int
    position: Position


class Licence(msgspec.Struct, frozen=True):
    """`expiry` in seconds since 1970, the others in units of work."""

    expiry: int = 0
    quota: int = 0
    used: int = 0


class PaymentChannel(msgspec.Struct, frozen=True):
    """`deposit` in token units, without what was redeemed; `redeemed` in units of work; `closing` in seconds, 0 while open."""

    id: int
    root: bytes
    user: bytes
    edge: int
    price: int
    deposit: int
    redeemed: int = 0
    closing: int = 0


class Licences:
    """The fold. `models` are by root, `granted` by (root, user), `channels` by number: those that were not closed."""

    def __init__(self) -> None:
        self.models: dict[bytes, PublishedModel] = {}
        self.granted: dict[tuple[bytes, bytes], Licence] = {}
        self.channels: dict[int, PaymentChannel] = {}

    def may_infer(self, root: bytes, user: bytes, now: float) -> bool:
        """As the contract answers it at `now` (seconds)."""
        licence = self.granted.get((root, user), Licence())
        return now < licence.expiry and licence.used < licence.quota

    def channels_of(self, root: bytes, user: bytes, edge: int) -> list[PaymentChannel]:
        """Open channels that a user pays an edge by for a model, the newest first."""
        found = [one for one in self.channels.values() if (one.root, one.user, one.edge) == (root, user, edge)]
        return sorted((one for one in found if not one.closing), key=lambda one: -one.id)

    def take(self, event: Event, at: Position) -> None:
        """Fold one event; those of other contracts change nothing."""
        match event:
            case ModelPublished():
                self.models[event.root] = PublishedModel(
                    event.root,
                    event.owner,
                    event.task,
                    event.round,
                    event.model,
                    event.licence,
                    event.price,
                    event.share,
                    at,
                )
            case PriceChanged():
                self.models[event.root] = msgspec.structs.replace(self._model(event.root), price=event.price)
            case LicenceGranted():
                self._licence(event.root, event.user, expiry=event.expiry, quota=event.quota)
            case LicenceRevoked():
                self._licence(event.root, event.user, expiry=0)
            case ChannelOpened():
                self.channels[event.channel] = PaymentChannel(
                    event.channel, event.root, event.user, event.edge, event.price, event.deposit
                )
            case ChannelFunded():
                self._channel(event.channel, deposit=event.deposit)
            case VoucherRedeemed():
                found = self._known(event.channel)
                used = self.granted.get((found.root, found.user), Licence()).used + event.units - found.redeemed
                self._licence(found.root, found.user, used=min(UINT64_MAX, used))
                left = found.deposit - event.to_edge - event.to_owner
                self._channel(event.channel, redeemed=event.units, deposit=left)
            case ChannelClosing():
                self._channel(event.channel, closing=event.closing)
            case ChannelClosed():
                del self.channels[self._known(event.channel).id]

    def _licence(self, root: bytes, user: bytes, **changes: int) -> None:
        known = self.granted.get((root, user), Licence())
        self.granted[root, user] = msgspec.structs.replace(known, **changes)

    def _channel(self, id: int, **changes: int) -> None:
        self.channels[id] = msgspec.structs.replace(self._known(id), **changes)

    def _known(self, id: int) -> PaymentChannel:
        found = self.channels.get(id)
        if found is None:
            raise PeerFault("malformed", f"the record changes channel {id}, which nobody opened")
        return found

    def _model(self, root: bytes) -> PublishedModel:
        found = self.models.get(root)
        if found is None:
            raise PeerFault("malformed", f"the record changes model {root.hex()[:16]}, which nobody published")
        return found
