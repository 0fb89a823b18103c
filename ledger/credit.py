"""Credit as the specification keeps it: OpenZeppelin's ERC-20 (5.7, token/ERC20), capped, refusing in its order."""

from __future__ import annotations

from typing import Final

from ledger.events import Approval, Transfer
from middleware.errors import LedgerRefused
from middleware.types import ZERO20

CREDIT_CAP: Final = 10**27  # token units
UINT256_MAX: Final = (1 << 256) - 1
ARITHMETIC: Final = 0x11  # the code of Solidity's Panic for an overflow


class Token:
    """Balances and allowances by account in token units. A change returns its event or raises LedgerRefused."""

    def __init__(self) -> None:
        self.supply = 0
        self.balances: dict[bytes, int] = {}
        self.allowances: dict[tuple[bytes, bytes], int] = {}

    def copy(self) -> Token:
        """The same state, sharing nothing."""
        other = Token()
        other.supply, other.balances, other.allowances = self.supply, self.balances.copy(), self.allowances.copy()
        return other

    def balance(self, account: bytes) -> int:
        return self.balances.get(account, 0)

    def mint(self, to: bytes, amount: int) -> Transfer:
        if to == ZERO20:
            raise LedgerRefused("ERC20InvalidReceiver", to)
        if self.supply + amount > UINT256_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        if self.supply + amount > CREDIT_CAP:
            raise LedgerRefused("ERC20ExceededCap", self.supply + amount, CREDIT_CAP)
        self.supply += amount
        self.balances[to] = self.balance(to) + amount
        return Transfer(ZERO20, to, amount)

    def burn(self, holder: bytes, amount: int) -> Transfer:
        held = self.balance(holder)
        if held < amount:
            raise LedgerRefused("ERC20InsufficientBalance", holder, held, amount)
        self.balances[holder] = held - amount
        self.supply -= amount
        return Transfer(holder, ZERO20, amount)

    def approve(self, owner: bytes, spender: bytes, amount: int) -> Approval:
        if spender == ZERO20:
            raise LedgerRefused("ERC20InvalidSpender", spender)
        self.allowances[owner, spender] = amount
        return Approval(owner, spender, amount)

    def transfer(self, source: bytes, to: bytes, amount: int) -> Transfer:
        if to == ZERO20:
            raise LedgerRefused("ERC20InvalidReceiver", to)
        held = self.balance(source)
        if held < amount:
            raise LedgerRefused("ERC20InsufficientBalance", source, held, amount)
        self.balances[source] = held - amount
        self.balances[to] = self.balance(to) + amount
        return Transfer(source, to, amount)

    def transfer_from(self, spender: bytes, source: bytes, to: bytes, amount: int) -> Transfer:
        allowance = self.allowances.get((source, spender), 0)
        if allowance < amount:
            raise LedgerRefused("ERC20InsufficientAllowance", spender, allowance, amount)
        moved = self.transfer(source, to, amount)
        if allowance < UINT256_MAX:  # the largest allowance is never used up
            self.allowances[source, spender] = allowance - amount
        return moved
