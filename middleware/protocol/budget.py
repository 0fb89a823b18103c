"""A round under differential privacy: what is released of the sum, and what it has cost so far.

    key      SHA-256("drystone noise" | secret | inputs_root | task | round); the secret's SHA-256 is in the policy, so the
             noise was fixed when the inputs were, and whoever has the secret repeats it to the bit
    noise    discrete Gaussian of the policy's variance, drawn from the key's ChaCha20 stream, one integer a coordinate
    release  (sum of the clipped updates + noise) / clients, the policy's number and not the number of those who came
    veil     the header's chunksRoot is SHA-256("drystone sums" | key | node): the bare hash of the exact sums would let
             anyone confirm a guess of them
    budget   header.budget is SHA-256 of the canonical [policy hash, round, spent millionths of epsilon]

What was spent follows from the policy and the round's number alone. Every round counts, void ones too, so a cloud that
starts again has forgotten nothing, and an auditor needs nothing but the header to tell a hidden or skipped budget.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

import msgspec
import numpy as np

from middleware.errors import ConfigurationError
from middleware.maths.aggregate import divide
from middleware.maths.privacy import accountant
from middleware.maths.privacy.noise import discrete_gaussian
from middleware.policy import NOISE_ONE, Policy, Privacy
from middleware.protocol.sums import Summed
from middleware.protocol.update import Integers
from middleware.trust.stream import KeyStream
from middleware.types import ZERO32
from middleware.wire import canonical

SECRET_BYTES = 32


class Budget(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the header's budget is the hash of."""

    policy_hash: bytes
    round: int
    spent: int  # millionths of epsilon, this round included


def spent_by(privacy: Privacy, rounds: int) -> int:
    """The epsilon that this many rounds cost, in millionths, rounded up."""
    return accountant.spent(rounds, Fraction(1), Fraction(privacy.noise, NOISE_ONE), Fraction(privacy.delta))


def affordable(privacy: Privacy, rounds: int) -> int:
    """How many of these rounds the task's epsilon allows."""
    return accountant.affordable(
        privacy.epsilon, Fraction(1), Fraction(privacy.noise, NOISE_ONE), Fraction(privacy.delta), rounds
    )


def last_round(policy: Policy) -> int:
    """The last round that the task may run: the policy's, or the last one that its epsilon allows."""
    return policy.rounds if policy.privacy is None else affordable(policy.privacy, policy.rounds)


def needed_noise(epsilon: int, rounds: int, delta: float) -> int:
    """The least noise, numerator of 256, with which the rounds cost at most `epsilon` millionths."""
    try:
        return int(accountant.needed_noise(epsilon, rounds, Fraction(1), Fraction(delta), NOISE_ONE) * NOISE_ONE)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def committed(policy: Policy, policy_hash: bytes, round_number: int) -> bytes:
    """`header.budget` of a round; zero where the task has no budget. ConfigurationError for a round that would pass it."""
    if policy.privacy is None:
        return ZERO32
    spent = spent_by(policy.privacy, round_number)
    if spent > policy.privacy.epsilon:
        raise ConfigurationError(
            f"round {round_number} would bring the spent epsilon to {spent / 1e6:.6f}, the task allows "
            f"{policy.privacy.epsilon / 1e6:.6f}: the task ends here"
        )
    return hashlib.sha256(canonical.encode(Budget(policy_hash, round_number, spent))).digest()


def commitment(secret: bytes) -> str:
    """What the policy says of the noise's secret."""
    return hashlib.sha256(secret).hexdigest()


def opens(privacy: Privacy, secret: bytes) -> bool:
    """Whether this is the secret that the policy commits."""
    return len(secret) == SECRET_BYTES and commitment(secret) == privacy.commitment


def noise_key(privacy: Privacy, secret: bytes, inputs_root: bytes, task: int, round_number: int) -> bytes:
    """The round's key. ConfigurationError for a secret that the policy does not commit."""
    if not opens(privacy, secret):
        raise ConfigurationError(f"this is not the noise's secret: its SHA-256 has to be {privacy.commitment}")
    place = task.to_bytes(8, "big") + round_number.to_bytes(8, "big")
    return hashlib.sha256(b"drystone noise" + secret + inputs_root + place).digest()


def released(privacy: Privacy, key: bytes, summed: Summed, parameters: int) -> Integers:
    """int64 (d,) on the grid: by how much the model moves. Nobody's updates are a sum of zeros."""
    noisy = discrete_gaussian(privacy.variance, parameters, KeyStream(key).words)
    if summed.vector is not None:
        noisy += summed.vector.astype(np.int64)
    return divide(noisy, privacy.clients)


def veiled(key: bytes, node: bytes) -> bytes:
    """The header's chunksRoot for a sum node that must not be recognised."""
    return hashlib.sha256(b"drystone sums" + key + node).digest()
