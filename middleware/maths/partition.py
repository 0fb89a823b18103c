"""Who holds which samples when one data set is dealt to several devices.

    iid            a random deal into parts of equal size
    dirichlet:A    each class is cut by proportions drawn from Dirichlet(A, ..., A): the smaller A, the fewer classes a
                   device sees (Hsu, Qi and Brown 2019; drawn for each class as in Li, Diao, Chen and He 2022)
    client         the natural split: samples of one client stay together; whole clients are dealt, largest first, each
                   to the part that holds least so far

Every part ends with at least `minimum` samples: what it lacks is moved, drawn at random, from the largest part, so that
no device is left with nothing to learn from. (Not for `client`: a client is never divided.)
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.integer[Any]]

MINIMUM: Final = 16  # samples


def iid(count: int, parts: int, generator: np.random.Generator) -> list[Indices]:
    """A random deal of samples 0 to count - 1 into `parts` parts whose sizes differ by at most 1."""
    return [np.sort(part).astype(np.int64) for part in np.array_split(generator.permutation(count), parts)]


def dirichlet(
    labels: Labels, parts: int, alpha: float, generator: np.random.Generator, minimum: int = MINIMUM
) -> list[Indices]:
    """A split by label skew of `labels` (n,) into `parts` parts of at least `minimum` samples each."""
    if not 0 < alpha < float("inf"):
        raise ValueError(f"dirichlet:{alpha}: the concentration must be above 0")
    dealt: list[list[Indices]] = [[] for _ in range(parts)]
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(parts, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(dealt, np.split(members, cuts), strict=True):
            part.append(piece)
    return _level([np.concatenate(part) for part in dealt], minimum, generator)


def _level(parts: list[Indices], minimum: int, generator: np.random.Generator) -> list[Indices]:
    """Move single samples from the largest part to those below the minimum."""
    if sum(len(part) for part in parts) < minimum * len(parts):
        raise ValueError(f"{sum(map(len, parts))} samples do not give {len(parts)} devices {minimum} each")
    for index in range(len(parts)):
        while len(parts[index]) < minimum:
            donor = max(range(len(parts)), key=lambda other: len(parts[other]))
            at = int(generator.integers(len(parts[donor])))
            parts[index] = np.append(parts[index], parts[donor][at])
            parts[donor] = np.delete(parts[donor], at)
    return [np.sort(part).astype(np.int64) for part in parts]


def by_client(clients: npt.NDArray[Any], parts: int) -> list[Indices]:
    """A split of `clients` (n,), the owner of each sample, that keeps every owner whole."""
    owners, owner_of, sizes = np.unique(clients, return_inverse=True, return_counts=True)
    if len(owners) < parts:
        raise ValueError(f"{len(owners)} clients cannot be dealt to {parts} devices")
    part_of = np.zeros(len(owners), np.int64)
    held = np.zeros(parts, np.int64)
    for owner in np.argsort(-sizes, kind="stable"):
        part_of[owner] = np.argmin(held)
        held[part_of[owner]] += sizes[owner]
    return [np.flatnonzero(part_of[owner_of] == part) for part in range(parts)]


def deal(
    split: str, labels: Labels, clients: npt.NDArray[Any] | None, parts: int, generator: np.random.Generator,
    minimum: int = MINIMUM,
) -> list[Indices]:  # fmt: skip
    """The split of that name as ascending indices into `labels` (n,). ValueError says what is wrong."""
    kind, _, parameter = split.partition(":")
    if len(labels) < minimum * parts:
        raise ValueError(f"{len(labels)} samples do not give {parts} devices {minimum} each")
    if split == "iid":
        return iid(len(labels), parts, generator)
    if kind == "dirichlet":
        try:
            alpha = float(parameter)
        except ValueError:
            raise ValueError(f"split {split!r}: write dirichlet:A with a number A, such as dirichlet:0.5") from None
        return dirichlet(labels, parts, alpha, generator, minimum)
    if split == "client":
        if clients is None:
            raise ValueError("split client: the data has no client column (name it with --client-key)")
        return by_client(clients, parts)
    raise ValueError(f"split {split!r}: choose iid, dirichlet:A or client")
