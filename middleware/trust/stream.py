"""Randomness that whoever has the key can repeat: the ChaCha20 key stream (RFC 8439, section 2.4), as 64-bit words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

_NONCE = bytes(16)  # a key is used for one stream


class KeyStream:
    """Words of 64 bits, little-endian, in the stream's order; a stream ends after 256 GiB."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(ChaCha20(key, _NONCE), mode=None).encryptor()

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """uint64 (count,): the next ones."""
        return np.frombuffer(self._cipher.update(bytes(8 * count)), "<u8").astype(np.uint64)
