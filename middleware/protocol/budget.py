"""A round under differential privacy: what is released of the sum, and what it has cost so far.

Where the cloud adds the noise (`Privacy`):

    key      SHA-256("drystone noise" | secret | inputs_root | task | round); the secret's SHA-256 is in the policy, so the
             noise was fixed when the inputs were, and whoever has the secret repeats it to the bit
    noise    discrete Gaussian of the policy's variance, drawn from the key's ChaCha20 stream, one integer a coordinate
    release  (sum of the clipped updates + noise) / clients, the policy's number and not the number of those who came
    veil     the header's chunksRoot is SHA-256("drystone sums" | key | node): the bare hash of the exact sums would let
             anyone confirm a guess of them
Where devices add it, to their update (`LocalPrivacy`, see `protocol.update`) or in training (`RecordPrivacy`, see
`learn.private`), the sum is released as it is, and a device does not train for a round that its policy cannot pay.

    budget   header.budget is SHA-256 of the canonical [policy hash, round, spent millionths of epsilon], wherever the noise
             comes from: what it costs whoever is in every round

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
from middleware.policy import NOISE_ONE, Policy, Privacy, Promise
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


def spent_by(promise: Promise, rounds: int) -> int:
    """The epsilon that this many rounds cost whoever is in all of them, in millionths, rounded up."""
    rate, releases = promise.mechanism
    return accountant.spent(rounds * releases, rate, Fraction(promise.noise, NOISE_ONE), Fraction(promise.delta))


def affordable(promise: Promise, rounds: int) -> int:
    """How many of these rounds the task's epsilon allows."""
    rate, releases = promise.mechanism
    noise, delta = Fraction(promise.noise, NOISE_ONE), Fraction(promise.delta)
    return accountant.affordable(promise.epsilon, rate, noise, delta, rounds * releases) // releases


def last_round(policy: Policy) -> int:
    """The last round that the task may run: the policy's, or the last one that its epsilon allows."""
    return policy.rounds if policy.promise is None else affordable(policy.promise, policy.rounds)


def needed_noise(epsilon: int, releases: int, delta: float, rate: Fraction = Fraction(1)) -> int:
    """The least noise, numerator of 256, with which so many releases, in each of which a protected one is drawn with
    probability `rate`, cost at most `epsilon` millionths."""
    try:
        return int(accountant.needed_noise(epsilon, releases, rate, Fraction(delta), NOISE_ONE) * NOISE_ONE)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def committed(policy: Policy, policy_hash: bytes, round_number: int) -> bytes:
    """`header.budget` of a round; zero where the task has no budget. ConfigurationError for a round that would pass it."""
    if policy.promise is None:
        return ZERO32
    spent = require_affordable(policy.promise, round_number)
    return hashlib.sha256(canonical.encode(Budget(policy_hash, round_number, spent))).digest()


def require_affordable(promise: Promise, round_number: int) -> int:
    """What is spent after this round, in millionths. ConfigurationError for a round that would pass the task's epsilon."""
    spent = spent_by(promise, round_number)
    if spent > promise.epsilon:
        raise ConfigurationError(
            f"round {round_number} would bring the spent epsilon to {spent / 1e6:.6f}, the task allows "
            f"{promise.epsilon / 1e6:.6f}: the task ends here"
        )
    return spent


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
