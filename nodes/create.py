"""Making a node's folder: its keys, its settings, an empty memory."""

from __future__ import annotations

import os
from pathlib import Path

from middleware.errors import ConfigurationError
from middleware.trust.keys import KeyFile
from nodes.config import NodeConfig, write_config


def create_node(folder: Path, config: NodeConfig) -> KeyFile:
    """Write `node.toml` and `keys.json` (mode 0600) into a new folder; an existing key is never overwritten."""
    keys = KeyFile.generate(os.urandom)
    write_keys(folder / config.keys, keys)
    write_config(folder / "node.toml", config)
    return keys


def write_keys(path: Path, keys: KeyFile) -> None:
    """A new key file, readable by its owner only."""
    write_secret(path, keys.to_bytes())


def write_secret(path: Path, data: bytes) -> None:
    """A new file, mode 0600. Raises ConfigurationError where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists: a key is never overwritten; choose another name") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
