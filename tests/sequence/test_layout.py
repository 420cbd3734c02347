"""Layouts as data: the presets, a user's own, and what is refused."""

from __future__ import annotations

import pytest

from fastki.errors import UsageError
from fastki.sequence.layout import DEFAULT, PRESETS, Layout, Segment, load_layout, open_layout, open_layouts

FAST, ACTIONS = Segment("fast", "causal", "tokens"), Segment("actions", loss="flow")

MINE = """
about = "mine"
[[segments]]
kind = "images"
[[segments]]
kind = "prompt"
attends = "causal"
[[segments]]
kind = "fast"
attends = "causal"
loss = "tokens"
[[segments]]
kind = "state"
state = "token"
own_block = true
[[segments]]
kind = "actions"
loss = "flow"
"""


def test_the_presets_have_these_segments():
    assert {name: layout.kinds for name, layout in PRESETS.items()} == {
        "images-prompt-fast": ("images", "prompt", "fast", "actions"),
        "images-fast": ("images", "fast", "actions"),
        "images-fast-prompt": ("images", "fast", "prompt", "actions"),
        "images-prompt-state-fast": ("images", "prompt", "state", "fast", "actions"),
        "images-prompt-state-token-fast": ("images", "prompt", "state", "fast", "actions"),
        "images-causal-prompt-fast": ("images", "prompt", "fast", "actions"),
    }
    assert next(iter(PRESETS)) == DEFAULT
    forms = [layout.state_form for layout in PRESETS.values()]
    assert forms == ["text", "none", "text", "text", "token", "text"]


def test_what_the_expert_sees_and_what_comes_after_fast():
    late = PRESETS["images-fast-prompt"]
    assert (late.after_fast, late.prompts_expert(), late.opens_with_fast) == (("prompt",), ("images",), True)
    first = PRESETS["images-prompt-fast"]
    assert (first.after_fast, first.prompts_expert(), first.opens_with_fast) == ((), ("images", "prompt"), False)
    assert first.without_fast().kinds == ("images", "prompt", "actions")
    only_flow = Layout("flow", (Segment("images"), ACTIONS))
    assert (only_flow.after_fast, only_flow.text) == ((), ())


def test_a_layout_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    layout = open_layout(str(path))
    assert (layout.name, layout.about) == ("mine", "mine")
    assert layout.segments == (
        Segment("images"),
        Segment("prompt", "causal"),
        FAST,
        Segment("state", state="token", own_block=True),
        ACTIONS,
    )
    path.write_text('name = "other"\n' + MINE)
    assert load_layout(path).name == "other"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('kind = "images"', 'kind = "image"', "must be one of images, prompt, state, fast, actions"),
        ('attends = "causal"\nloss', 'atends = "causal"\nloss', "did you mean 'attends'?"),
        ('loss = "tokens"', "", 'the segment fast has loss = "tokens", not "none"'),
        ('attends = "causal"\nloss', "loss", 'the segment fast needs attends = "causal"'),
        ('loss = "flow"', 'loss = "tokens"', 'the segment actions has loss = "flow"'),
        ('state = "token"', "", 'the segment state has state = "text" or "token", not "none"'),
        ('kind = "prompt"', 'kind = "prompt"\nstate = "text"', "has the state twice"),
        ('kind = "images"', 'kind = "images"\nstate = "text"', 'the segment images has state = "none"'),
        ('about = "mine"', "about = 3", "Layout.about must be a str"),
        ('about = "mine"', "about = ", "is no TOML"),
        ('kind = "images"', 'kind = "prompt"', "prompt stands there twice"),
    ],
)
def test_a_mistake_names_the_file_and_the_mend(tmp_path, before, after, said):
    path = tmp_path / "mine.toml"
    assert before in MINE
    path.write_text(MINE.replace(before, after, 1))
    with pytest.raises(UsageError) as caught:
        load_layout(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ((Segment("prompt"), Segment("images"), FAST), "images must come first"),
        ((Segment("images"), ACTIONS, FAST), "actions must come last"),
        ((Segment("images"), Segment("prompt")), "learns nothing"),
        ((), "learns nothing"),
    ],
)
def test_orders_that_no_batch_can_hold_are_refused(segments, said):
    with pytest.raises(UsageError, match=said):
        Layout("mine", segments)


def test_a_wrong_name_is_met_with_a_near_one(tmp_path):
    with pytest.raises(UsageError, match="did you mean images-prompt-fast"):
        open_layout("image-prompt-fast")
    with pytest.raises(UsageError, match=r"a \.toml file of your own"):
        open_layout("zzz")
    with pytest.raises(UsageError, match="can't be read"):
        open_layout(str(tmp_path / "absent.toml"))
    with pytest.raises(UsageError, match="can't be read"):
        load_layout(tmp_path)
    with pytest.raises(UsageError, match="two layouts are called images-fast"):
        open_layouts(["images-fast", "images-fast"])
    with pytest.raises(UsageError, match="no layout is named"):
        open_layouts([])


def test_a_huge_or_binary_file_is_no_layout(tmp_path):
    path = tmp_path / "big.toml"
    path.write_bytes(b"#" * (1 << 17))
    with pytest.raises(UsageError, match="larger than 64 KiB"):
        load_layout(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no TOML"):
        load_layout(path)
