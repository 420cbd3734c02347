"""Which parameters learn: by part of the model, by pattern, or its LoRA adapters alone.

>>> paths = ["PaliGemma/img/pos_embedding", "PaliGemma/llm/layers/attn/q_einsum/lora_a", "action_in_proj/kernel"]
>>> sorted(Selection(freeze=("tower",)).trainable(paths))
['PaliGemma/llm/layers/attn/q_einsum/lora_a', 'action_in_proj/kernel']
>>> sorted(Selection(train=("lora", "expert")).trainable(paths))
['PaliGemma/llm/layers/attn/q_einsum/lora_a', 'action_in_proj/kernel']
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fastki.errors import UsageError
from fastki.model.parts import PARTS, is_lora, part_of

LORA = "lora"
NAMES = (*PARTS, LORA)
_REGEX = "re:"
_ALIKE = 0.8  # So near to a part's name, a word is that name misspelt.


@dataclass(frozen=True)
class Selection:
    """What learns: what ``train`` names (all, where it names nothing) without what ``freeze`` names.

    A name is a part of the model (``tower``, ``embedder``, ``backbone``, ``expert``), ``lora`` (all adapters), or a
    pattern of ``/``-joined paths: a path or a folder of them (``PaliGemma/img``), a glob whose ``*`` spans folders too
    (``*/q_einsum*``), or, after ``re:``, a regular expression that has to match the whole path.

    LoRA training is ``train=("lora", "tower", "embedder", "expert")``: adapters, and the parts named beside them. An
    adapter belongs to its part as well, so that ``freeze=("backbone",)`` stops the backbone's adapters too.

    openpi freezes by a filter of regular expressions and trains everything by default; so do these defaults.

    Raises:
        UsageError: a regular expression that is none, an empty name, or a part's name misspelt.
    """

    train: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("train", "freeze"):
            for name in getattr(self, field):
                _check(name, field)

    def trainable(self, paths: Iterable[str]) -> frozenset[str]:
        """The paths among ``paths`` that learn.

        Raises:
            UsageError: a name fits no path at all, or nothing is left to learn.
        """
        paths = tuple(paths)
        chosen = _named(self.train, paths, "train") if self.train else frozenset(paths)
        chosen -= _named(self.freeze, paths, "freeze")
        if not chosen:
            raise UsageError("every parameter is frozen: take a name out of freeze, or add one to train")
        return chosen


def _check(name: str, field: str) -> None:
    if not name:
        raise UsageError(f"{field} holds an empty name")
    if name.startswith(_REGEX):
        try:
            re.compile(name.removeprefix(_REGEX))
        except re.error as error:
            raise UsageError(f"{field}: {name!r} is no regular expression: {error}") from error
    elif name not in NAMES and (near := difflib.get_close_matches(name, NAMES, n=1, cutoff=_ALIKE)):
        raise UsageError(f"{field}: {name!r} is no part of the model; did you mean {near[0]!r}?")


def _named(names: Iterable[str], paths: tuple[str, ...], field: str) -> frozenset[str]:
    """The union of what each name fits."""
    chosen: set[str] = set()
    for name in names:
        fitting = {path for path in paths if _fits(name, path)}
        if not fitting:
            raise UsageError(f"{field}: {name!r} fits no parameter of the model{_hint(name, paths)}")
        chosen |= fitting
    return frozenset(chosen)


def _fits(name: str, path: str) -> bool:
    if name in PARTS:
        return part_of(path) == name
    if name == LORA:
        return is_lora(path)
    if name.startswith(_REGEX):
        return re.fullmatch(name.removeprefix(_REGEX), path) is not None
    return fnmatchcase(path, name) or path.startswith(f"{name.rstrip('/')}/")


def _hint(name: str, paths: tuple[str, ...]) -> str:
    """What may have been meant instead."""
    if name == LORA:
        return ": give it adapters first"
    folders = {"/".join(words[:length]) for words in map(_words, paths) for length in range(1, len(words) + 1)}
    near = difflib.get_close_matches(name, (*NAMES, *sorted(folders)), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; parts are {', '.join(NAMES)}, and paths such as {paths[0]}"


def _words(path: str) -> list[str]:
    return path.split("/")
