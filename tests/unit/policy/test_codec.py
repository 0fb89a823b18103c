"""What a policy may say about codecs."""

from __future__ import annotations

import msgspec
import pytest

from middleware.errors import ConfigurationError
from middleware.maths import compress
from middleware.policy import CODECS, CodecSpec, Policy
from middleware.policy.codec import AUTO, CHOOSABLE
from middleware.wire.policy import decode_policy, encode_policy
from nodes.operator import Choices, codec_of, policy_of

LADDER = (CodecSpec("none"), CodecSpec("int8"), CodecSpec("topk+int8", 0.01))


def auto(*choices: CodecSpec, seconds: float | None = 1.0) -> CodecSpec:
    return CodecSpec(AUTO, choices=choices, upload_seconds=seconds)


@pytest.mark.parametrize(
    ("choices", "seconds", "says"),
    [
        ((), 1.0, "2 to 16"),
        (LADDER[:1], 1.0, "2 to 16"),
        ((LADDER[0], LADDER[0]), 1.0, "different"),
        (LADDER, None, "seconds"),
        (LADDER, 0.0, "above 0"),
        ((LADDER[0], CodecSpec("dgc")), 1.0, "cannot choose dgc"),
        ((LADDER[0], CodecSpec("qsgd")), 1.0, "cannot choose qsgd"),
        ((LADDER[0], auto(*LADDER)), 1.0, "cannot choose auto"),
    ],
)
def test_auto_is_refused_where_nothing_could_be_chosen_well(
    choices: tuple[CodecSpec, ...], seconds: float | None, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        auto(*choices, seconds=seconds)


def test_choices_belong_to_auto() -> None:
    with pytest.raises(ConfigurationError, match="belong to codec auto"):
        CodecSpec("topk", choices=LADDER)
    with pytest.raises(ConfigurationError, match="belongs to --codec auto"):
        codec_of(Choices(codec="topk", upload_seconds=1.0))


def test_auto_is_no_codec_and_every_choice_is_one() -> None:
    assert AUTO not in CODECS
    assert set(CHOOSABLE) <= set(compress.CODECS)


def test_a_policy_with_auto_has_one_spelling_and_one_without_has_its_old_one() -> None:
    policy = Policy("digits", "mlp:64-32-10", 2410, codec=auto(*LADDER))
    spelled = encode_policy(policy)
    assert decode_policy(spelled) == policy
    assert b"null" not in spelled
    plain = encode_policy(msgspec.structs.replace(policy, codec=CodecSpec()))
    assert b'"codec":{"density":0.01,"name":"none"}' in plain


def test_the_command_line_names_the_choices_and_their_densities() -> None:
    made = codec_of(Choices(codec="auto:none,topk+int8@0.1,topk+int8", density=0.02, upload_seconds=0.5))
    assert made == auto(CodecSpec("none", 0.02), CodecSpec("topk+int8", 0.1), CodecSpec("topk+int8", 0.02), seconds=0.5)
    assert codec_of(Choices(codec="auto")).upload_seconds == 2.0
    with pytest.raises(ConfigurationError, match="topk@0.01"):
        codec_of(Choices(codec="auto:none,topk@much"))


def test_dgc_has_the_only_momentum_where_a_task_does_not_say_otherwise() -> None:
    assert policy_of(Choices(codec="dgc")).training.momentum == 0
    assert policy_of(Choices(codec="topk")).training.momentum == 0.9
    assert policy_of(Choices(codec="dgc", momentum=0.5)).training.momentum == 0.5
