"""What single questions to the record need: a task, a round's header, its manifest, and a comparison that can be shown."""

from __future__ import annotations

import hashlib

from ledger.audit.evidence import Evidence
from ledger.audit.scene import Blobs
from ledger.index import Anchored
from middleware.errors import ConfigurationError, Unavailable
from middleware.policy import Task
from middleware.protocol.inclusion import Step
from middleware.wire.manifest import Manifest, decode_manifest


def task_of(evidence: Evidence, number: int) -> Task:
    """A task with a policy that holds. Raises ConfigurationError."""
    task = evidence.index.tasks.get(number)
    if task is None:
        known = ", ".join(map(str, sorted(evidence.index.tasks))) or "none"
        raise ConfigurationError(f"the record holds no task {number}; it holds: {known}")
    return task


def anchored(evidence: Evidence, task: int, round: int) -> Anchored:
    """A round's header on the ledger. Raises ConfigurationError."""
    task_of(evidence, task)
    rounds = evidence.index.anchored.get(task, [])
    found = next((item for item in rounds if item.header.round == round), None)
    if found is None:
        raise ConfigurationError(f"task {task} has no anchored round {round}; the last is {len(rounds)}")
    return found


def manifest_of(blobs: Blobs, item: Anchored) -> Manifest:
    """The manifest that a header names. Raises Unavailable when it is missing or altered, PeerFault when malformed."""
    digest = item.header.manifest
    data = blobs.get(digest)
    if data is None:
        raise Unavailable(
            f"the manifest of round {item.header.round} is missing: give --blobs with blob {digest.hex()}"
        )
    if hashlib.sha256(data).digest() != digest:
        raise Unavailable(f"blob {digest.hex()[:16]} was altered: no copy has the SHA-256 that is its name")
    return decode_manifest(data)


def step(what: str, computed: object, expected: object) -> Step:
    """Two values that must be equal, as a person reads them."""
    return Step(what, _shown(computed), _shown(expected), computed == expected)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
