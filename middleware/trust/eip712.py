"""Digests that the EVM can check: EIP-712 typed data and the header's hash, as keccak over 32-byte words.

Every field of our types is a static word, so a struct hash is keccak(type hash | words) and needs no general encoder;
the tests hold each digest against eth_account's. Integers outside their type's width are refused, not wrapped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from eth_hash.auto import keccak

from middleware.errors import ConfigurationError
from middleware.types import EdgeLeaf, Header, Receipt
from middleware.wire.commitment import Context, require_bytes, require_unsigned

NAME: Final = "Drystone"
VERSION: Final = "1"

_DOMAIN_TYPE: Final = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_REGISTRATION_TYPE: Final = keccak(
    b"Registration(bytes32 netKey,address account,address owner,uint8 tier,uint32 parent,bytes32 name,"
    b"bytes32 metaHash,uint256 deadline)"
)
_ROTATION_TYPE: Final = keccak(b"KeyRotation(uint32 id,bytes32 newKey,uint32 nonce,uint256 deadline)")
_DIRECT_TYPE: Final = keccak(b"Direct(uint64 task,uint64 round,uint32 node,bytes32 leaf)")
_RECEIPT_TYPE: Final = keccak(b"Receipt(uint64 task,uint64 round,uint32 edge,uint64 index,bytes32 leaf)")
_EDGE_ROOT_TYPE: Final = keccak(
    b"EdgeRoot(uint64 task,uint64 round,uint32 edge,bytes32 root,uint64 count,bytes32 aggregate,bytes32 weights,"
    b"uint64 rosterBlock)"
)

_VOUCHER_TYPE: Final = keccak(b"Voucher(uint64 channel,uint64 units,bytes32 chain)")


class Domain(msgspec.Struct, frozen=True):
    """Which contract on which chain a signature is for. Registrations name the Registry, all else the Ledger."""

    chain_id: int
    contract: bytes  # 20
    name: str = NAME
    version: str = VERSION

    def __post_init__(self) -> None:
        require_unsigned("chain id", self.chain_id, 256)
        require_bytes("contract address", self.contract, 20)

    @property
    def separator(self) -> bytes:
        return _separator(self)

    @property
    def context(self) -> Context:
        """The same place as network keys sign it and leaves carry it."""
        return Context(self.chain_id, self.contract)


@lru_cache(maxsize=256)
def _separator(domain: Domain) -> bytes:
    return keccak(
        _DOMAIN_TYPE
        + keccak(domain.name.encode())
        + keccak(domain.version.encode())
        + _uint(domain.chain_id, 256)
        + _address(domain.contract)
    )


def registration_digest(
    domain: Domain,
    net_key: bytes,
    account: bytes,
    owner: bytes,
    tier: int,
    parent: int,
    name: bytes,
    meta_hash: bytes,
    deadline: int,
) -> bytes:
    """What both keys of a new node sign; `domain` is the Registry's."""
    return _digest(
        domain, _REGISTRATION_TYPE, _word(net_key), _address(account), _address(owner), _uint(tier, 8),
        _uint(parent, 32), _word(name), _word(meta_hash), _uint(deadline, 256),
    )  # fmt: skip


def rotation_digest(domain: Domain, node: int, new_key: bytes, nonce: int, deadline: int) -> bytes:
    """What the account and the new network key sign; `domain` is the Registry's."""
    return _digest(domain, _ROTATION_TYPE, _uint(node, 32), _word(new_key), _uint(nonce, 32), _uint(deadline, 256))


def direct_digest(domain: Domain, task: int, round: int, node: int, leaf_hash: bytes) -> bytes:
    """What a device's account signs to force its update past a silent edge; `domain` is the Ledger's."""
    return _digest(domain, _DIRECT_TYPE, _uint(task, 64), _uint(round, 64), _uint(node, 32), _word(leaf_hash))


def receipt_digest(domain: Domain, receipt: Receipt) -> bytes:
    """What the promising node's account signs; `domain` is the Ledger's."""
    return _digest(
        domain, _RECEIPT_TYPE, _uint(receipt.task, 64), _uint(receipt.round, 64), _uint(receipt.edge, 32),
        _uint(receipt.index, 64), _word(receipt.leaf),
    )  # fmt: skip


def edge_root_digest(domain: Domain, leaf: EdgeLeaf) -> bytes:
    """What the edge's account signs over the root of its round; `domain` is the Ledger's."""
    return _digest(
        domain, _EDGE_ROOT_TYPE, _uint(leaf.task, 64), _uint(leaf.round, 64), _uint(leaf.edge, 32), _word(leaf.root),
        _uint(leaf.count, 64), _word(leaf.aggregate), _word(leaf.weights), _uint(leaf.roster_block, 64),
    )  # fmt: skip


def voucher_digest(domain: Domain, channel: int, units: int, chain: bytes) -> bytes:
    """What a user's account signs to pay for `units` of work in all, over a chain of receipts; `domain` is the Models'."""
    return _digest(domain, _VOUCHER_TYPE, _uint(channel, 64), _uint(units, 64), _word(chain))


def header_words(header: Header) -> bytes:
    """abi.encode(Header): sixteen words, 512 bytes."""
    return b"".join(
        (
            _uint(header.task, 64), _uint(header.round, 64), _word(header.prev), _word(header.roster),
            _word(header.policy), _word(header.model_in), _word(header.inputs_root), _uint(header.inputs_count, 64),
            _word(header.forced), _word(header.weights_root), _word(header.model_out), _word(header.chunks_root),
            _word(header.scores_root), _word(header.rewards_root), _word(header.budget), _word(header.manifest),
        )
    )  # fmt: skip


def header_hash(header: Header) -> bytes:
    """keccak256(abi.encode(Header)), as the Ledger contract computes it."""
    return keccak(header_words(header))


def _digest(domain: Domain, type_hash: bytes, *words: bytes) -> bytes:
    return keccak(b"\x19\x01" + domain.separator + keccak(type_hash + b"".join(words)))


def _uint(value: int, bits: int) -> bytes:
    if not 0 <= value < 1 << bits:
        raise ConfigurationError(f"{value} is not a uint{bits}")
    return value.to_bytes(32, "big")


def _word(value: bytes) -> bytes:
    require_bytes("bytes32", value, 32)
    return value


def _address(value: bytes) -> bytes:
    require_bytes("address", value, 20)
    return bytes(12) + value
