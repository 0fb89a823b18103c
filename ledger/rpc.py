"""Ethereum's JSON-RPC over one HTTP connection pool: the dozen methods that a ledger of ours needs, and nothing else.

Requests that do not wait for each other travel as one batch. A node that does not answer is the weather
(`Unavailable`); a node that answers "reverted" speaks for the contracts, and its data is decoded by their ABIs into
`LedgerRefused`. Sources: the execution-apis specification; EIP-1559 (fees) and EIP-155 (transactions where blocks have no
base fee); Solidity ABI, "Error", "Panic" and custom errors.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import aiohttp
import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from ledger.artifacts import NAMES, load
from ledger.calls import abi_type
from ledger.events import plain_value
from middleware.errors import DrystoneError, LedgerRefused, Unavailable
from middleware.ports import Fees, Head, SignedTransaction, Signer, Spent
from middleware.trust.keys import checksum_address

REQUEST_SECONDS: Final = 20.0
RECEIPT_SECONDS: Final = 60.0
BATCH: Final = 100  # calls in one HTTP request; servers commonly refuse more
FULL_BLOCKS: Final = 16  # blocks with all their transactions in one HTTP request
SEARCHED_BLOCKS: Final = 4_096  # looked through for a transaction that used a nonce of ours
FEE_ROOM: Final = 2  # the base fee may double (six full blocks, EIP-1559) before a transaction is priced out
FLAT_FEE_ROOM: Final = (5, 4)  # what is paid of the suggested price where blocks have no base fee: it may have risen
GAS_ROOM: Final = (6, 5)  # the limit is the estimate and a fifth: storage may have changed when the call is mined
_BUILT_IN: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (("Error", ("string",)), ("Panic", ("uint256",)))

# What transaction pools say, in small letters: geth and its kin, anvil, Besu, Nethermind.
_POOL_REFUSALS: Final[tuple[tuple[str, str], ...]] = (
    ("nonce too low", "NonceTooLow"),
    ("nonce is too low", "NonceTooLow"),
    ("nonce is below", "NonceTooLow"),
    ("oldnonce", "NonceTooLow"),
    ("underpriced", "Underpriced"),
    ("gas price too low", "Underpriced"),
    ("gas price below", "Underpriced"),
    ("feetoolow", "Underpriced"),
    ("insufficient funds", "InsufficientFunds"),
    ("upfront cost exceeds", "InsufficientFunds"),
    ("insufficientfunds", "InsufficientFunds"),
)
_POOL_KNOWS: Final = ("already known", "already imported", "known transaction", "alreadyknown")

Query: TypeAlias = tuple[str, list[Any]]  # method and parameters


class Failure(msgspec.Struct, frozen=True):
    """A JSON-RPC error object. `data` is the revert data where there is some."""

    method: str
    code: int
    message: str
    data: bytes = b""


class Rpc:
    """One node of the chain. The connection is made when it is first needed; `close` ends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cpu_seconds = 0.0  # spent on encoding, decoding and signing
        self.waiting_seconds = 0.0  # spent waiting for answers
        self._session: aiohttp.ClientSession | None = None
        self._base_fee = True  # whether the chain's blocks have one, as last seen

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---------------------------------------------------------------------------------------------------------- queries

    async def ask(self, method: str, *parameters: Any) -> Any:
        """One result. Raises Unavailable, or LedgerRefused when the contracts or the node refuse."""
        return (await self.ask_all([(method, list(parameters))]))[0]

    async def ask_all(self, queries: list[Query]) -> list[Any]:
        """The results in the queries' order; the first failure among them is raised as `ask` does."""
        results: list[Any] = []
        for begin in range(0, len(queries), BATCH):
            results += await self._exchange(queries[begin : begin + BATCH])
        for result in results:
            if isinstance(result, Failure):
                raise refusal(result)
        return results

    async def _exchange(self, queries: list[Query]) -> list[Any]:
        began = time.thread_time()
        body = msgspec.json.encode(
            [{"jsonrpc": "2.0", "id": i, "method": q[0], "params": q[1]} for i, q in enumerate(queries)]
        )
        self.cpu_seconds += time.thread_time() - began
        sent = time.monotonic()
        try:
            data = await self._post(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"no chain answers at {self.url}: {what}; start it, or wait") from error
        finally:
            self.waiting_seconds += time.monotonic() - sent
        began = time.thread_time()
        results = self._results(queries, data)
        self.cpu_seconds += time.thread_time() - began
        return results

    async def _post(self, body: bytes) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, headers={"Content-Type": "application/json"})
        async with self._session.post(self.url, data=body) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise Unavailable(f"the chain at {self.url} answers HTTP {answer.status}: {data[:200]!r}")
            return data

    def _results(self, queries: list[Query], data: bytes) -> list[Any]:
        try:
            answers = msgspec.json.decode(data)
            if not isinstance(answers, list):
                raise ValueError(str(answers)[:200])
            by_id = {answer["id"]: answer for answer in answers}
            return [_result(query[0], by_id[i]) for i, query in enumerate(queries)]
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"the chain at {self.url} does not speak JSON-RPC: {error}") from error

    # ------------------------------------------------------------------------------------------------------------ chain

    async def head(self) -> Head:
        return head_of(await self.ask("eth_getBlockByNumber", "latest", False))

    async def nonce(self, address: bytes, block: str = "latest") -> int:
        """How many transactions of an account are in blocks, or ("pending") known to the node."""
        return int(await self.ask("eth_getTransactionCount", hexed(address), block), 16)

    async def call(self, request: dict[str, str], sender: bytes, nonce: int) -> None:
        """As `ports.Ledger.simulate`. Both questions travel in one request, so that one node answers both."""
        count, outcome = await self._exchange(
            [("eth_getTransactionCount", [hexed(sender), "latest"]), ("eth_call", [request, "latest"])]
        )
        if isinstance(count, Failure):
            raise refusal(count)
        if int(count, 16) < nonce:
            raise Unavailable(
                f"the chain at {self.url} does not show transaction {nonce - 1} of the account yet: look again"
            )
        if isinstance(outcome, Failure):
            raise refusal(outcome)

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        """As `ports.Ledger.spent`: from the newest block back, since a nonce of ours was used lately or not at all."""
        head, sender = (await self.head()).number, hexed(address)
        first = max(since, head - SEARCHED_BLOCKS, 0)
        for last in range(head, first - 1, -FULL_BLOCKS):
            numbers = range(last, max(first, last - FULL_BLOCKS + 1) - 1, -1)
            blocks = await self.ask_all([("eth_getBlockByNumber", [hex(number), True]) for number in numbers])
            for block in blocks:
                for transaction in block["transactions"] if block is not None else ():
                    if transaction["from"].lower() == sender and int(transaction["nonce"], 16) == nonce:
                        return Spent(unhexed(transaction["hash"]), int(block["number"], 16))
        return None

    async def fees(self) -> Fees:
        """What gets a transaction into one of the next blocks, in the three ways in which chains say it.

        Blocks with a base fee: twice that and the suggested tip; without a suggestion the tip is what eth_gasPrice asks
        above the base fee, and nothing where even that is unknown. Blocks without one: the price of eth_gasPrice and a
        quarter, as both numbers, and `sign` then signs as before EIP-1559.
        """
        block, tip, price = await self._exchange(
            [("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", []), ("eth_gasPrice", [])]
        )
        if isinstance(block, Failure):
            raise refusal(block)
        self._base_fee = block.get("baseFeePerGas") is not None
        if not self._base_fee:
            if isinstance(price, Failure):
                raise Unavailable(f"the chain at {self.url} has neither a base fee nor a gas price: {price.message}")
            flat = int(price, 16) * FLAT_FEE_ROOM[0] // FLAT_FEE_ROOM[1]
            return Fees(flat, flat)
        base = int(block["baseFeePerGas"], 16)
        if not isinstance(tip, Failure):
            asked = int(tip, 16)
        else:
            asked = 0 if isinstance(price, Failure) else max(0, int(price, 16) - base)
        return Fees(base * FEE_ROOM + asked, asked)

    async def sign(
        self, key: Signer, chain_id: int, to: bytes | None, data: bytes, nonce: int, fees: Fees, value: int = 0
    ) -> SignedTransaction:
        """A signed transaction, EIP-1559 where blocks have a base fee; `to` None creates a contract. Raises LedgerRefused
        if it would revert now."""
        request = {"from": hexed(key.address), "data": hexed(data), "value": hex(value)}
        if to is not None:
            request["to"] = hexed(to)
        estimate = int(await self.ask("eth_estimateGas", request), 16)
        gas = estimate * GAS_ROOM[0] // GAS_ROOM[1] if data else estimate
        fields = {"chainId": chain_id, "nonce": nonce, "to": to or b"", "value": value, "data": data, "gas": gas}
        if self._base_fee:
            fields |= {"type": 2, "maxFeePerGas": fees.most, "maxPriorityFeePerGas": fees.tip}
        else:
            fields |= {"gasPrice": fees.most}
        account = await asyncio.to_thread(_account, key.secret)  # its first import takes long
        began = time.thread_time()
        signed = account.sign_transaction(fields)
        self.cpu_seconds += time.thread_time() - began
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash), nonce, gas)

    async def send_raw(self, raw: bytes) -> None:
        """As `ports.Ledger.send_raw`."""
        result = (await self._exchange([("eth_sendRawTransaction", [hexed(raw)])]))[0]
        if isinstance(result, Failure) and not _is_known(result):
            raise refusal(result)

    async def receipt(self, transaction: bytes) -> dict[str, Any] | None:
        """The node's receipt object; None while the transaction is in no block."""
        found: dict[str, Any] | None = await self.ask("eth_getTransactionReceipt", hexed(transaction))
        return found

    async def wait(self, transaction: bytes, seconds: float = RECEIPT_SECONDS) -> dict[str, Any]:
        """The receipt object, once there is one. Raises Unavailable past `seconds`."""
        deadline, pause = time.monotonic() + seconds, 0.02
        while (found := await self.receipt(transaction)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"transaction {hexed(transaction)} is in no block after {seconds:.0f} s: look later")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return found


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def unhexed(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def head_of(block: dict[str, Any]) -> Head:
    """A block object's number, hash and time."""
    return Head(int(block["number"], 16), unhexed(block["hash"]), int(block["timestamp"], 16))


def refusal(failure: Failure) -> DrystoneError:
    """What a JSON-RPC error means: LedgerRefused where the answer would be the same next time, else Unavailable."""
    message = failure.message.lower()
    if failure.data or failure.code == 3 or "revert" in message:
        return decode_revert(failure.data, failure.message)
    for part, name in _POOL_REFUSALS:
        if part in message:
            return LedgerRefused(name, failure.message)
    return Unavailable(f"the chain refuses {failure.method}: {failure.message} ({failure.code})")


def no_funds(address: bytes, chain_id: int, url: str) -> Unavailable:
    """The one thing to say of an account that cannot pay: which, where, and what helps."""
    account = checksum_address(address)
    return Unavailable(
        f"account {account} cannot pay for gas on chain {chain_id} at {url}: send it some of the chain's currency"
    )


def decode_revert(data: bytes, message: str = "") -> LedgerRefused:
    """The error in revert data, accounts as 20 bytes: "Reverted" if there is none, "UnknownError" if it is not ours."""
    if len(data) < 4:
        return LedgerRefused("Reverted", message)
    known = _selectors().get(data[:4])
    if known is None:
        return LedgerRefused("UnknownError", data)
    name, types = known
    try:
        values = decode(types, data[4:])
    except (DecodingError, OverflowError, ValueError):
        return LedgerRefused("UnknownError", data)
    return LedgerRefused(name, *(plain_value(kind, value) for kind, value in zip(types, values, strict=True)))


@cache
def _selectors() -> dict[bytes, tuple[str, tuple[str, ...]]]:
    """Every error of every contract, and Solidity's own two, by selector."""
    errors = list(_BUILT_IN)
    for contract in NAMES:
        errors += [(e["name"], tuple(map(abi_type, e["inputs"]))) for e in load(contract).abi if e["type"] == "error"]
    return {keccak(f"{name}({','.join(types)})".encode())[:4]: (name, types) for name, types in errors}


def _result(method: str, answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["result"]
    error = answer["error"]
    data = error.get("data")
    if isinstance(data, dict):  # some nodes wrap it once more
        data = data.get("data")
    raw = unhexed(data) if isinstance(data, str) and data.startswith("0x") else b""
    return Failure(method, int(error["code"]), str(error["message"]), raw)


def _is_known(failure: Failure) -> bool:
    """Whether the node says that it has this very transaction already."""
    message = failure.message.lower()
    return any(part in message for part in _POOL_KNOWS)


def _account(secret: bytes) -> Any:
    from eth_account import Account  # 0.6 s, which nodes that only read need not pay

    return Account.from_key(secret)
