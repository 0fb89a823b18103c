"""The committed vectors are what the code writes today; Solidity's tests read the same files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from middleware.trust import keys
from middleware.wire import message
from middleware.wire.commitment import Context
from middleware.wire.manifest import decode_manifest, encode_manifest
from middleware.wire.policy import decode_policy, encode_policy
from middleware.wire.state import decode_state, encode_state

VECTORS = Path(__file__).parents[2] / "vectors"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vectors_generate", VECTORS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()
GOLDEN = json.loads((VECTORS / "messages.json").read_text())


@pytest.mark.parametrize("name", ["merkle.json", "merkle_sum.json", "messages.json"])
def test_regenerating_a_vector_changes_nothing(name: str) -> None:
    assert GENERATE.text(GENERATE.vectors()[name]) == (VECTORS / name).read_text()


def test_there_is_a_golden_frame_of_every_message_type() -> None:
    assert set(GOLDEN["frames"]) == {kind.__name__ for kind in message.KINDS.values()}


@pytest.mark.parametrize("kind", message.KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_golden_frame_decodes_verifies_and_encodes_to_itself(kind: type[message.Message]) -> None:
    data = bytes.fromhex(GOLDEN["frames"][kind.__name__])
    signed, body = message.decode_whole(data, kind)
    context = Context(GOLDEN["chain_id"], bytes.fromhex(GOLDEN["ledger"]))
    assert keys.message_is_signed_by(context, bytes.fromhex(GOLDEN["network_key"]), signed)
    assert signed.frame(body) == data


def test_the_golden_manifest_and_policy_decode_and_encode_to_themselves() -> None:
    for name in ("manifest", "manifest_scored", "manifest_stated", "manifest_scored_stated"):
        manifest = bytes.fromhex(GOLDEN[name])
        assert encode_manifest(decode_manifest(manifest)) == manifest
    state = bytes.fromhex(GOLDEN["state"])
    assert encode_state(decode_state(state, 3)) == state
    for name in ("policy", "policy_scored"):
        policy = GOLDEN[name].encode()
        assert encode_policy(decode_policy(policy)) == policy
