"""Which parameters learn."""

from __future__ import annotations

import pytest

from fastki.errors import UsageError
from fastki.training.selection import Selection

TOWER = "PaliGemma/img/Transformer/encoder_norm/scale"
TABLE = "PaliGemma/llm/embedder/input_embedding"
QUERY = "PaliGemma/llm/layers/attn/q_einsum/w"
ADAPTER = "PaliGemma/llm/layers/attn/q_einsum/lora_a"
EXPERT_QUERY = "PaliGemma/llm/layers/attn/q_einsum_1/w"
ACTION_IN = "action_in_proj/kernel"
PATHS = (TOWER, TABLE, QUERY, ADAPTER, EXPERT_QUERY, ACTION_IN)


@pytest.mark.parametrize(
    ("train", "freeze", "learning"),
    [
        ((), (), PATHS),
        ((), ("tower",), (TABLE, QUERY, ADAPTER, EXPERT_QUERY, ACTION_IN)),
        ((), ("tower", "embedder"), (QUERY, ADAPTER, EXPERT_QUERY, ACTION_IN)),
        (("expert",), (), (EXPERT_QUERY, ACTION_IN)),
        (("lora",), (), (ADAPTER,)),
        (("lora", "expert"), (), (ADAPTER, EXPERT_QUERY, ACTION_IN)),
        (("lora", "expert"), ("action_in_proj",), (ADAPTER, EXPERT_QUERY)),
        ((), ("PaliGemma/llm/",), (TOWER, ACTION_IN)),
        ((), ("PaliGemma/*",), (ACTION_IN,)),
        (("*/q_einsum*/w",), (), (QUERY, EXPERT_QUERY)),
        (("re:.*/q_einsum/.*",), (), (QUERY, ADAPTER)),
        ((), ("lora",), (TOWER, TABLE, QUERY, EXPERT_QUERY, ACTION_IN)),
    ],
)
def test_names_choose_parameters(train, freeze, learning):
    assert Selection(train, freeze).trainable(PATHS) == set(learning)


def test_a_regular_expression_has_to_match_the_whole_path():
    with pytest.raises(UsageError, match="fits no parameter"):
        Selection(train=("re:q_einsum",)).trainable(PATHS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("towr", "freeze: 'towr' is no part of the model; did you mean 'tower'?"),
        ("Backbone", "did you mean 'backbone'?"),
        ("re:(", "freeze: 're:(' is no regular expression"),
        ("", "freeze holds an empty name"),
    ],
)
def test_what_can_be_no_name_is_refused_at_once(name, message):
    with pytest.raises(UsageError) as raised:
        Selection(freeze=(name,))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PaliGemma/imgs", "did you mean 'PaliGemma/img'?"),
        ("action_in_prj", "did you mean 'action_in_proj'?"),
        ("zzz", "parts are tower, embedder, backbone, expert, lora"),
    ],
)
def test_a_name_that_fits_nothing_is_refused_with_what_may_have_been_meant(name, message):
    with pytest.raises(UsageError) as raised:
        Selection(freeze=(name,)).trainable(PATHS)
    assert message in str(raised.value)


def test_adapters_of_a_model_without_any_are_refused():
    with pytest.raises(UsageError, match="'lora' fits no parameter of the model: give it adapters first"):
        Selection(train=("lora",)).trainable((TOWER,))


def test_a_model_in_which_nothing_learns_is_refused():
    with pytest.raises(UsageError, match="every parameter is frozen"):
        Selection(train=("tower",), freeze=("PaliGemma",)).trainable(PATHS)
