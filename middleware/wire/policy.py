"""A policy's one spelling: canonical JSON, keys sorted, no spaces, every field written but those of a feature that is not used:
of scores where they are not paid, and any that is null.

JSON and not msgpack, because the bytes stand in the ledger's event for people to read; canonical, because their SHA-256
is in every header. The nouns' own checks run on decoding, so a policy that decodes is a policy that can hold.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from middleware.errors import ConfigurationError, PeerFault
from middleware.policy import Policy
from middleware.types import LIMITS, Limits
from middleware.wire.canonical import encode, refuse_malformed

_decoder = msgspec.json.Decoder(Policy)
_SCORES = ("pay", "epoch_rounds")  # written only under pay = scores
_SLICES = ("evaluation", "evaluation_slices")  # as those, and where the rule measures


def encode_policy(policy: Policy, limits: Limits = LIMITS) -> bytes:
    """The bytes that `createTask` takes. Raises ConfigurationError past `limits.policy_bytes`."""
    data = _spell(policy)
    if len(data) > limits.policy_bytes:
        raise ConfigurationError(f"the policy has {len(data)} bytes, at most {limits.policy_bytes}")
    return data


def decode_policy(data: bytes, limits: Limits = LIMITS) -> Policy:
    """The policy in `data`. PeerFault: "too-large", or "malformed" for anything but `encode_policy`'s bytes."""
    if len(data) > limits.policy_bytes:
        raise PeerFault("too-large", f"policy of {len(data)} bytes, at most {limits.policy_bytes}")
    policy = refuse_malformed(lambda: _parse(data), "policy")
    if _spell(policy) != data:
        raise PeerFault("malformed", "the policy is not in its one canonical form")
    return policy


def policy_hash(data: bytes) -> bytes:
    """SHA-256 of a policy's bytes, as the contract computes it."""
    return hashlib.sha256(data).digest()


def _spell(policy: Policy) -> bytes:
    fields: dict[str, Any] = _without_null(msgspec.to_builtins(policy))
    if policy.pay == "participation":
        unused = _SCORES if policy.rule.measures else _SCORES + _SLICES
        fields = {name: value for name, value in fields.items() if name not in unused}
    return msgspec.json.encode(fields, order="sorted")


def _without_null(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_null(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_null(inner) for name, inner in value.items() if inner is not None}


def _parse(data: bytes) -> Policy:
    policy = _decoder.decode(data)
    encode(
        msgspec.to_builtins(policy)
    )  # JSON's integers have no end; ours stop at 64 bits, and this is where one past that is refused
    return policy
