"""The rules of published models, licences and payment channels (contracts/src/Models.sol). IModels.sol states them; this is the
same in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ledger import calls, events
from ledger.credit import ARITHMETIC
from ledger.state import ChannelState, GrantState, Message, ModelState, State, signer_of
from middleware.errors import LedgerRefused
from middleware.ports import Event
from middleware.trust import eip712
from middleware.types import ZERO20, ZERO32, Status, Tier

CLOSING_SECONDS: Final = 24 * 3600  # that an edge has to redeem once a channel is being closed
WHOLE: Final = 10_000  # of a price
UINT64_MAX: Final = (1 << 64) - 1
UINT128_MAX: Final = (1 << 128) - 1


class Models(State):
    """What IModels.sol says, one method a function."""

    # ----------------------------------------------------------------------------------------------------------- models

    def _publish_model(self, call: calls.PublishModel, message: Message) -> list[Event]:
        self._require_new(call.root, call.share)
        header = call.header
        if message.sender != self.task(header.task).publisher:
            raise LedgerRefused("NotOwner", message.sender)
        if not self.is_final(header, call.anchored_at, message.now):
            raise LedgerRefused("NotFinal", header.task, header.round)
        made = ModelState(message.sender, call.price, header.task, header.round, call.share, call.licence)
        return [self._published(call.root, made, header.model_out)]

    def _publish_foreign(self, call: calls.PublishForeign, message: Message) -> list[Event]:
        self._require_new(call.root, call.share)
        made = ModelState(message.sender, call.price, 0, 0, call.share, call.licence)
        return [self._published(call.root, made, ZERO32)]

    def _set_price(self, call: calls.SetPrice, message: Message) -> list[Event]:
        self._owned_model(call.root, message).price = call.price
        return [events.PriceChanged(call.root, call.price)]

    def _grant_licence(self, call: calls.GrantLicence, message: Message) -> list[Event]:
        self._owned_model(call.root, message)
        used = self.grant_of(call.root, call.user).used
        self.grants[call.root, call.user] = GrantState(call.expiry, call.quota, used)
        return [events.LicenceGranted(call.root, call.user, call.expiry, call.quota)]

    def _revoke_licence(self, call: calls.RevokeLicence, message: Message) -> list[Event]:
        self._owned_model(call.root, message)
        self.grants[call.root, call.user] = msgspec.structs.replace(self.grant_of(call.root, call.user), expiry=0)
        return [events.LicenceRevoked(call.root, call.user)]

    # --------------------------------------------------------------------------------------------------------- channels

    def _open_channel(self, call: calls.OpenChannel, message: Message) -> list[Event]:
        model, edge = self._known_model(call.root), self.node(call.edge)
        if edge.account == ZERO20 or edge.tier != Tier.EDGE or edge.status != Status.ACTIVE:
            raise LedgerRefused("BadEdge", call.edge)
        here = self.addresses["Models"]
        paid = self.token.transfer_from(here, message.sender, here, call.deposit)
        self.opened_channels = channel = self.opened_channels + 1
        self.channels[channel] = ChannelState(
            message.sender, model.price, call.root, call.deposit, 0, 0, call.edge, model.share
        )
        opened = events.ChannelOpened(channel, call.root, message.sender, call.edge, model.price, call.deposit)
        return [opened, paid]

    def _fund_channel(self, call: calls.FundChannel, message: Message) -> list[Event]:
        channel = self._channel(call.channel)
        if channel.closing:
            raise LedgerRefused("Closing", call.channel)
        deposit = channel.deposit + call.amount
        if deposit > UINT128_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        here = self.addresses["Models"]
        paid = self.token.transfer_from(here, message.sender, here, call.amount)
        self.channels[call.channel] = msgspec.structs.replace(channel, deposit=deposit)
        return [events.ChannelFunded(call.channel, deposit), paid]

    def _redeem(self, call: calls.Redeem, message: Message) -> list[Event]:
        channel = self._channel(call.channel)
        domain = eip712.Domain(self.domain.chain_id, self.addresses["Models"])
        digest = eip712.voucher_digest(domain, call.channel, call.units, call.chain)
        if signer_of(digest, call.signature) != channel.user:
            raise LedgerRefused("BadVoucher", call.channel)
        if call.units <= channel.redeemed:
            raise LedgerRefused("NothingToRedeem", call.channel, channel.redeemed)
        units = call.units - channel.redeemed
        amount = units * channel.price
        if amount > channel.deposit:
            raise LedgerRefused("DepositExceeded", call.channel, amount, channel.deposit)
        to_edge, here = amount * channel.share // WHOLE, self.addresses["Models"]
        grant, owner = self.grant_of(channel.root, channel.user), self.models[channel.root].owner
        self.channels[call.channel] = msgspec.structs.replace(
            channel, redeemed=call.units, deposit=channel.deposit - amount
        )
        used = min(UINT64_MAX, grant.used + units)
        self.grants[channel.root, channel.user] = msgspec.structs.replace(grant, used=used)
        return [
            events.VoucherRedeemed(call.channel, call.units, call.chain, to_edge, amount - to_edge),
            self.token.transfer(here, self.node(channel.edge).account, to_edge),
            self.token.transfer(here, owner, amount - to_edge),
        ]

    def _close_channel(self, call: calls.CloseChannel, message: Message) -> list[Event]:
        channel = self._own_channel(call.channel, message)
        if channel.closing:
            raise LedgerRefused("Closing", call.channel)
        closing = message.now + CLOSING_SECONDS
        self.channels[call.channel] = msgspec.structs.replace(channel, closing=closing)
        return [events.ChannelClosing(call.channel, closing)]

    def _withdraw_channel(self, call: calls.WithdrawChannel, message: Message) -> list[Event]:
        channel = self._own_channel(call.channel, message)
        if not channel.closing or message.now < channel.closing:
            raise LedgerRefused("NotClosed", call.channel, channel.closing)
        del self.channels[call.channel]
        moved = self.token.transfer(self.addresses["Models"], message.sender, channel.deposit)
        return [events.ChannelClosed(call.channel, channel.deposit), moved]

    # ------------------------------------------------------------------------------------------------------------ views

    def may_infer(self, root: bytes, user: bytes, now: int) -> bool:
        """Whether the user has a licence at `now` (seconds)."""
        grant = self.grant_of(root, user)
        return now < grant.expiry and grant.used < grant.quota

    def grant_of(self, root: bytes, user: bytes) -> GrantState:
        """A user's licence, all zero if he has none."""
        return self.grants.get((root, user), GrantState())

    # ----------------------------------------------------------------------------------------------------------- checks

    def _require_new(self, root: bytes, share: int) -> None:
        if root == ZERO32:
            raise LedgerRefused("BadRoot")
        if root in self.models:
            raise LedgerRefused("RootTaken", root)
        if share > WHOLE:
            raise LedgerRefused("BadShare", share)

    def _published(self, root: bytes, made: ModelState, model: bytes) -> Event:
        self.models[root] = made
        return events.ModelPublished(
            root, made.owner, made.task, made.round, model, made.licence, made.price, made.share
        )

    def _known_model(self, root: bytes) -> ModelState:
        found = self.models.get(root)
        if found is None:
            raise LedgerRefused("UnknownModel", root)
        return found

    def _owned_model(self, root: bytes, message: Message) -> ModelState:
        found = self._known_model(root)
        if message.sender != found.owner:
            raise LedgerRefused("NotOwner", message.sender)
        return found

    def _channel(self, id: int) -> ChannelState:
        found = self.channels.get(id)
        if found is None:
            raise LedgerRefused("UnknownChannel", id)
        return found

    def _own_channel(self, id: int, message: Message) -> ChannelState:
        found = self._channel(id)
        if message.sender != found.user:
            raise LedgerRefused("NotOwner", message.sender)
        return found


RULES: Final[dict[type[calls.AnyCall], Callable[[Any, Any, Message], list[Event]]]] = {
    calls.PublishModel: Models._publish_model,
    calls.PublishForeign: Models._publish_foreign,
    calls.SetPrice: Models._set_price,
    calls.GrantLicence: Models._grant_licence,
    calls.RevokeLicence: Models._revoke_licence,
    calls.OpenChannel: Models._open_channel,
    calls.FundChannel: Models._fund_channel,
    calls.Redeem: Models._redeem,
    calls.CloseChannel: Models._close_channel,
    calls.WithdrawChannel: Models._withdraw_channel,
}
