"""A walk over published models, licences and channels, made to both ledgers; see `conformance`."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from devnet.accusations import altered
from devnet.conformance import (
    KEYS,
    NODES,
    ODD,
    OWN,
    PUB,
    Members,
    Sessions,
    Trials,
    Walk,
    header,
    people,
    rarely,
    seconds,
    seeds,
)  # fmt: skip
from ledger import calls
from middleware.trust.eip712 import Domain, voucher_digest
from middleware.types import ZERO32

ROOTS = [bytes([number]) * 32 for number in (0, 1, 2, 3)]
UINT64_MAX = (1 << 64) - 1

roots = st.sampled_from(ROOTS)
channels = st.integers(0, 4)


class Market(Walk):
    """Who may run which model, and what is paid for it."""

    judges = ("nobody", "both")

    @rule(root=roots, share=st.sampled_from([0, 2_500, 10_000, 10_001]), sender=st.one_of(st.just(PUB), people))
    def publish_foreign(self, root: bytes, share: int, sender: bytes) -> None:
        self.both(calls.PublishForeign(root, ZERO32, 3, share), sender)

    @rule(
        task=st.sampled_from([1, 1, 2]),
        root=roots,
        wait=st.sampled_from([1, 99, 101]),
        honest=st.booleans(),
        flawed=rarely,
        seed=seeds,
    )
    def publish(self, task: int, root: bytes, wait: int, honest: bool, flawed: bool, seed: int) -> None:
        known = self.chain.task(task)
        made = header(task, known.head + 1, known.last_header, known.last_model)
        if self.both(calls.AnchorRound(made), NODES[0].address).error:
            return
        call = calls.PublishModel(root, made, self.evm.now, ZERO32, 5, 1_000)
        self.both(altered(call, Random(seed)) if flawed else call, PUB if honest else ODD, wait)

    @rule(root=roots, price=st.sampled_from([0, 1, 7, (1 << 96) - 1]), sender=st.one_of(st.just(PUB), people))
    def set_price(self, root: bytes, price: int, sender: bytes) -> None:
        self.both(calls.SetPrice(root, price), sender)

    @rule(
        root=roots, user=people, expiry=st.sampled_from([0, 1, UINT64_MAX]), quota=st.sampled_from([0, 5, UINT64_MAX]),
        taken=rarely, honest=st.booleans(),
    )  # fmt: skip
    def licence(self, root: bytes, user: bytes, expiry: int, quota: int, taken: bool, honest: bool) -> None:
        found = self.chain.models.get(root)
        owner = found.owner if honest and found is not None else ODD
        self.both(calls.GrantLicence(root, user, expiry, quota), owner)
        if taken:
            self.both(calls.RevokeLicence(root, user), owner)

    @rule(
        root=roots, edge=st.sampled_from([2, 2, 3, 7, 4, 99]), deposit=st.sampled_from([0, 5, 500, (1 << 128) - 1]),
        user=st.sampled_from([OWN, ODD, NODES[3].address]), approves=st.booleans(),
    )  # fmt: skip
    def open_channel(self, root: bytes, edge: int, deposit: int, user: bytes, approves: bool) -> None:
        if approves:
            self.both(calls.Approve(self.evm.contracts["Models"], (1 << 256) - 1), user)
        self.both(calls.OpenChannel(root, edge, deposit), user)

    @rule(channel=channels, amount=st.sampled_from([0, 3, 10**6, (1 << 128) - 1]), user=people)
    def fund_channel(self, channel: int, amount: int, user: bytes) -> None:
        self.both(calls.FundChannel(channel, amount), user)

    @rule(
        channel=channels,
        units=st.sampled_from([0, 1, 2, 9, 100, UINT64_MAX]),
        signer=st.sampled_from(["user", "user", "odd"]),
        flawed=rarely,
        seed=seeds,
    )
    def redeem(self, channel: int, units: int, signer: str, flawed: bool, seed: int) -> None:
        found = self.chain.channels.get(channel)
        key = KEYS[found.user if found is not None and signer == "user" else ODD]
        digest = voucher_digest(Domain(self.evm.chain_id, self.evm.contracts["Models"]), channel, units, ROOTS[1])
        call = calls.Redeem(channel, units, ROOTS[1], key.sign_digest(digest))
        self.both(altered(call, Random(seed)) if flawed else call, ODD)

    @rule(
        kind=st.sampled_from([calls.CloseChannel, calls.WithdrawChannel]), channel=channels, honest=st.booleans(),
        wait=st.one_of(seconds, st.sampled_from([24 * 3600 - 1, 24 * 3600])),
    )  # fmt: skip
    def leave(self, kind: Any, channel: int, honest: bool, wait: int) -> None:
        found = self.chain.channels.get(channel)
        self.both(kind(channel), found.user if honest and found is not None else ODD, wait)


WALKS: Final[tuple[type[Walk], ...]] = (Members, Trials, Sessions, Market)
