"""Whether a checkpoint fits a model, told before any array is read; every difference at once, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from fastki.errors import UsageError
from fastki.model.checkpoint_mends import mends
from fastki.model.checkpoint_traits import Shapes, names_matching

SHOWN = 4
"""Names of each kind of difference in a message; of the rest the number."""
POSITIONS = "PaliGemma/img/pos_embedding"


@dataclass(frozen=True)
class LoadRules:
    """Which differences between a checkpoint and a model are meant; any other is an error.

    A word stands for parameters by part (``expert``, ``actions``, ``lora``, ``state_token``, ``backbone``,
    ``embedder``, ``tower``), by the beginning of their names, or by a regular expression for whole names, ``.*lora.*``
    say.

    Attributes:
        missing: what the checkpoint may lack and the model then has at its initial values.
        fresh: what starts at its initial values whatever the checkpoint holds, in another shape perhaps.
        unused: what the checkpoint may hold though the model has no use for it.
        resize_positions: interpolate the image tower's positions where the model looks at pictures of another size.

    Raises:
        UsageError: a word where a list of them belongs.
    """

    missing: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    resize_positions: bool = False

    def __post_init__(self) -> None:
        for field in ("missing", "fresh", "unused"):
            if isinstance(getattr(self, field), str):
                raise UsageError(f"{field} is a list of words, not {getattr(self, field)!r}: put it in brackets")


STRICT = LoadRules()


@dataclass(frozen=True)
class Plan:
    """What is to be done, each name once.

    Attributes:
        loaded: names that are read.
        initial: that keep their initial values.
        unused: that only the checkpoint has, or that start anew.
        resized: those of ``loaded`` that are interpolated.
    """

    loaded: tuple[str, ...]
    initial: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...] = ()


@dataclass(frozen=True)
class Differences:
    """Between a checkpoint and a model, where no rule allows them.

    Attributes:
        missing: names that the checkpoint lacks.
        unexpected: names that the model lacks.
        shapes: name → its shape in the checkpoint and in the model.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def plan(found: Shapes, expected: Shapes, rules: LoadRules, *, source: str) -> Plan:
    """What to read of a checkpoint and what to leave at its initial values.

    Args:
        found: in the checkpoint.
        expected: by the model.
        rules: what may differ.
        source: of the checkpoint, for the error.

    Raises:
        UsageError: they differ otherwise; the message lists all differences by kind and says what mends them.
    """
    fresh = names_matching(rules.fresh, expected)
    absent = [name for name in expected if name not in found and name not in fresh]
    kept = names_matching(rules.missing, absent)
    unused = names_matching((*rules.unused, *rules.fresh), (name for name in found if name not in expected))
    common = [name for name in expected if name in found and name not in fresh]
    resized = [name for name in common if rules.resize_positions and can_resize(name, found[name], expected[name])]
    differences = Differences(
        missing=tuple(name for name in absent if name not in kept),
        unexpected=tuple(name for name in found if name not in expected and name not in unused),
        shapes={name: (found[name], expected[name]) for name in common if _differ(name, resized, found, expected)},
    )
    if differences:
        raise UsageError(describe_differences(differences, found, expected, source))
    return Plan(
        loaded=tuple(common),
        initial=tuple(name for name in expected if name not in set(common)),
        unused=tuple(name for name in found if name not in set(common)),
        resized=tuple(resized),
    )


def can_resize(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether two different shapes are those of positions ``[1, T, W]`` on square grids."""
    if name != POSITIONS or found == expected or len(found) != 3 or (found[0], found[2]) != (expected[0], expected[2]):
        return False
    return found[1] > 0 and all(isqrt(tokens) ** 2 == tokens for tokens in (found[1], expected[1]))


def describe_differences(differences: Differences, found: Shapes, expected: Shapes, source: str) -> str:
    """One line: the mend, how much differs, and names."""
    groups = [
        _group(differences.missing, "{} missing from the checkpoint"),
        _group(differences.unexpected, "{} that the model has not"),
        _group(shape_words(differences.shapes), "{} of another shape"),
    ]
    listed = "; ".join(group for group in groups if group)
    advice = mends(found, expected, differences.shapes, differences.missing)
    return f"{source} does not fit the model: {advice}. Differences: {listed}"


def shape_words(shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> list[str]:
    """Each as ``name [2, 3] instead of [2, 4]``."""
    return [f"{name} {list(one)} instead of {list(other)}" for name, (one, other) in shapes.items()]


def capped(words: Iterable[str]) -> str:
    """The first few words, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - SHOWN:,} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def _group(words: Sequence[str], title: str) -> str:
    return f"{title.format(f'{len(words):,}')} ({capped(words)})" if words else ""


def _differ(name: str, resized: Sequence[str], found: Shapes, expected: Shapes) -> bool:
    return name not in resized and found[name] != expected[name]
