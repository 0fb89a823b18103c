"""Secrets of noise on disk: a file a secret, named by the commitment that a policy holds, below a node's folder `privacy`."""

from __future__ import annotations

import os
from pathlib import Path

from middleware.errors import ConfigurationError
from middleware.policy import Policy
from middleware.protocol import budget
from nodes.create import write_secret

FOLDER = "privacy"


def new_secret() -> bytes:
    return os.urandom(budget.SECRET_BYTES)


def keep(folder: Path, secret: bytes) -> Path:
    """Write a secret below a node's folder, readable by its owner only; returns the file."""
    path = folder / FOLDER / budget.commitment(secret)
    write_secret(path, secret)
    return path


def read(path: Path) -> bytes:
    """The secret in a file. ConfigurationError where there is none."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"no file {path}: the task's owner has the noise's secret, copy it there") from error
    if len(secret) != budget.SECRET_BYTES:
        raise ConfigurationError(f"{path} has {len(secret)} bytes: a secret has {budget.SECRET_BYTES}")
    return secret


def secret_of(folder: Path, policy: Policy) -> bytes:
    """The secret that this task's noise needs, from a node's folder; empty for a task without privacy."""
    if policy.privacy is None:
        return b""
    secret = read(folder / FOLDER / policy.privacy.commitment)
    if not budget.opens(policy.privacy, secret):
        raise ConfigurationError(f"the file in {folder / FOLDER} is not the secret that it is named after")
    return secret
