"""What a user can do where a checkpoint does not fit a model: from the traits of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastki.model.checkpoint_traits import Shapes, Traits, differ_in_actions_only, part_of, read_traits
from fastki.sequence.sizes import StreamSize, VisionSize

ShapePairs = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""Name → its shape in the checkpoint and in the model."""

_OTHERWISE = "use the configuration of the model that it was saved from"


def mends(found: Shapes, expected: Shapes, shapes: ShapePairs, missing: Sequence[str]) -> str:
    """A sentence for every trait that the checkpoint and the model do not share.

    Args:
        found: shapes in the checkpoint.
        expected: shapes in the model.
        shapes: those that differ.
        missing: names that the checkpoint lacks.
    """
    theirs, ours = read_traits(found), read_traits(expected)
    size = _size(theirs, ours)
    rest: list[Callable[[], str | None]] = [
        lambda: _vocab(theirs, ours),
        lambda: _actions(theirs, ours, shapes),
        lambda: _pictures(theirs, ours),
        lambda: _lora(theirs, ours),
        lambda: _state_token(theirs, ours),
        lambda: _expert(missing, theirs, ours),
    ]
    # Where the sizes differ, everything else differs with them.
    sentences = [_kind(theirs, ours), size, *([] if size else [mend() for mend in rest])]
    return "; ".join(sentence for sentence in sentences if sentence) or _OTHERWISE


def _kind(theirs: Traits, ours: Traits) -> str | None:
    if theirs.kind == ours.kind or theirs.kind is None:
        return None
    advice = f"it is a model of kind {theirs.kind}, not {ours.kind}: set kind = {theirs.kind!r}"
    if ours.kind == "pi0_fast":
        return advice + ", or leave its expert out with unused = ['expert', 'actions']"
    if theirs.kind == "pi0_fast":
        return advice + ", or let the expert start anew with missing = ['expert', 'actions']"
    return advice


def _size(theirs: Traits, ours: Traits) -> str | None:
    pairs = {
        "image tower": (theirs.vision, ours.vision),
        "backbone": (theirs.backbone, ours.backbone),
        "expert": (theirs.expert, ours.expert),
    }
    others = {part: words for part, pair in pairs.items() if (words := _differing(*pair))}
    if not others:
        return None
    if theirs.model is not None and theirs.model != ours.model:
        return f"it has the sizes of {theirs.model}: choose --model {theirs.model}"
    anew = ", or let the expert start anew with fresh = ['expert', 'actions']" if list(others) == ["expert"] else ""
    listed = " and ".join(f"{part} with {words}" for part, words in others.items())
    return f"it has other sizes, {listed}: give the model those{anew}"


def _vocab(theirs: Traits, ours: Traits) -> str | None:
    if theirs.vocab is None or ours.vocab is None or theirs.vocab == ours.vocab:
        return None
    relation = "more rows than the checkpoint's" if ours.vocab > theirs.vocab else "fewer rows than the checkpoint's"
    return (
        f"the model's vocabulary of {ours.vocab:,} has {relation} {theirs.vocab:,}: set vocab = {theirs.vocab} and use "
        "the text tokenizer that it was trained with, or let the table start anew with fresh = ['embedder']"
    )


def _actions(theirs: Traits, ours: Traits, shapes: ShapePairs) -> str | None:
    names = [name for name, pair in shapes.items() if differ_in_actions_only(name, *pair)]
    if not names:
        return None
    if theirs.action_dim is not None and theirs.action_dim != ours.action_dim:
        fewer = (ours.action_dim or 0) < theirs.action_dim
        padded = " (actions of fewer dimensions are padded with zeros)" if fewer else ""
        number = theirs.action_dim
        advice = f"its action_dim is {number}, not {ours.action_dim}: set action_dim = {number}{padded}"
    else:
        advice = "its state has another action_dim: set that one"
    modules = list(dict.fromkeys(name.partition("/")[0] for name in names))
    return f"{advice}, or let these layers start anew with fresh = {modules}"


def _pictures(theirs: Traits, ours: Traits) -> str | None:
    one, other = theirs.vision, ours.vision
    if one is None or other is None or one.image_size == other.image_size:
        return None
    return (
        f"it looks at pictures of {one.image_size} × {one.image_size} pixels, the model at {other.image_size} × "
        f"{other.image_size}: use its image size, or let its positions be interpolated with resize_positions = true"
    )


def _lora(theirs: Traits, ours: Traits) -> str | None:
    if theirs.lora == ours.lora:
        return None
    if all(one is None for one in theirs.lora):
        return "it has no low-rank additions: let them start anew with missing = ['lora']"
    fields = ", ".join(
        f"{name} = {'none' if rank is None else f'rank {rank}'}"
        for name, rank in zip(("backbone_lora", "expert_lora"), theirs.lora, strict=True)
    )
    return f"its low-rank additions are others: set {fields}, or leave them out with unused = ['lora']"


def _state_token(theirs: Traits, ours: Traits) -> str | None:
    if theirs.state_token == ours.state_token:
        return None
    if ours.state_token:
        return "it has no state token: let its projection start anew with missing = ['state_token']"
    return "it has a state token: set state_token = true, or leave it out with unused = ['state_token']"


def _expert(missing: Iterable[str], theirs: Traits, ours: Traits) -> str | None:
    parts = {part_of(name) for name in missing}
    if theirs.kind != ours.kind or theirs.expert is not None or "expert" not in parts:
        return None
    return "it has no expert: let one start anew with missing = ['expert']"


def _differing(one: VisionSize | StreamSize | None, other: VisionSize | StreamSize | None) -> str:
    """Such as ``depth 2 against 3``; without the size of pictures, which only the positions depend on."""
    if one is None or other is None:
        return ""
    pairs = ((name, getattr(one, name), getattr(other, name)) for name in vars(one) if name != "image_size")
    return ", ".join(f"{name} {first} against {second}" for name, first, second in pairs if first != second)
