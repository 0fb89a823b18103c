"""What the ledger says of models, as a node that serves them asks it (`nodes.admission.Licences`), and what sessions leave.

A device needs a licence of its own, or of the account that it names and holds the key of; an edge asks its cloud for those whose
licence it has checked itself. Where a model has a price, a session names a channel to this edge; its vouchers are kept, the last
one a channel, before the work that it pays for is counted as paid.
"""

from __future__ import annotations

import time
from typing import Final

from ledger.licences import Licences as Fold
from ledger.licences import PaymentChannel
from ledger.models import UINT64_MAX
from middleware.errors import PeerFault
from middleware.protocol.session import Ledger
from middleware.trust.eip712 import Domain
from middleware.trust.voucher import Voucher, encode_voucher, judge_voucher
from middleware.types import Node, Tier
from middleware.wire import canonical
from middleware.wire.session import SessionRecord
from nodes.admission import Admission, Till
from nodes.agent import Agent

REQUESTS_UNPAID: Final = 32  # of the whole model, that a user with a channel may owe


class LedgerLicences:
    """The index of the agent's own view."""

    def __init__(self, agent: Agent, models: bytes) -> None:
        self.agent, self.domain = agent, Domain(agent.context.chain_id, models)

    @property
    def fold(self) -> Fold:
        return self.agent.index.licences

    async def admit(self, root: bytes, user: bytes, sender: Node) -> Admission:
        if root not in self.fold.models:
            await self.agent.view.refresh()
        model = self.fold.models.get(root)
        if model is None:
            raise PeerFault("unlicensed", f"the ledger knows no model {root.hex()[:16]}")
        if sender.tier is not Tier.END:
            return Admission(0, 0)
        if user != sender.account and user != sender.owner:
            raise PeerFault("unlicensed", f"node {sender.id} does not belong to 0x{user.hex()}")
        if not self.fold.may_infer(root, user, time.time()):
            await self.agent.view.refresh()
        if not self.fold.may_infer(root, user, time.time()):
            raise PeerFault("unlicensed", f"0x{user.hex()} holds no licence of model {root.hex()[:16]}")
        return Admission(model.price, REQUESTS_UNPAID)

    def revoked(self, root: bytes, user: bytes, sender: Node) -> str:
        if sender.tier is not Tier.END or self.fold.may_infer(root, user, time.time()):
            return ""
        return "the licence was revoked, has expired or is used up"

    async def till(self, root: bytes, user: bytes, channel: bytes, sender: Node) -> Till | None:
        model = self.fold.models[root]
        number = int.from_bytes(channel, "big")
        if sender.tier is not Tier.END or (model.price == 0 and number == 0):
            return None
        if number not in self.fold.channels:  # it may have been opened a moment ago
            await self.agent.view.refresh()
        found = self.fold.channels.get(number)
        if found is None or (found.root, found.user, found.edge) != (root, user, self.agent.id):
            raise PeerFault("unpaid", f"channel {number} does not pay this edge for this model: open one")
        if found.closing:
            raise PeerFault("unpaid", f"channel {number} is being closed: open another")
        return ChannelTill(self, found.id)

    def channel_units(self, root: bytes, user: bytes) -> int:
        found = self.fold.channels_of(root, user, self.agent.id)
        return self.vouched(found[0]) if found else 0

    def vouched(self, channel: PaymentChannel) -> int:
        """Cumulative units: what was redeemed, or the last voucher that was kept."""
        kept = self.agent.store.voucher(channel.id)
        return max(channel.redeemed, canonical.decode(kept, Voucher).units if kept is not None else 0)

    def record(self, root: bytes, user: bytes, session: bytes, ledger: Ledger, paid: int) -> None:
        if not ledger.count:
            return
        row = canonical.encode(SessionRecord(session, root, user, ledger.count, ledger.units, ledger.root, paid))
        with self.agent.store.transaction():
            self.agent.store.put_session(session, row)
            self.agent.store.append_log(row)


class ChannelTill:
    """One session's channel."""

    def __init__(self, licences: LedgerLicences, channel: int) -> None:
        self.licences, self.number = licences, channel
        self.before = licences.vouched(self.channel)

    @property
    def channel(self) -> PaymentChannel:
        found = self.licences.fold.channels.get(self.number)
        if found is None:
            raise PeerFault("unpaid", f"channel {self.number} was closed")
        return found

    def paid(self, voucher: bytes, units: int) -> tuple[int, bytes]:
        channel, licences = self.channel, self.licences
        covered = channel.redeemed + (channel.deposit // channel.price if channel.price else UINT64_MAX >> 1)
        found = judge_voucher(licences.domain, channel.user, channel.id, licences.vouched(channel), covered, voucher)
        licences.agent.store.put_voucher(channel.id, encode_voucher(found))
        return min(units, found.units - self.before), found.chain  # what was vouched for before counts no more
