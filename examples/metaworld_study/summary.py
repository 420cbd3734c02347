"""Out of the stages' rows: a line a head of each run, and how far apart the things compared are.

Axis letters: E simulated episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from examples.metaworld_study.plan import Plan
from fastki.sim.wilson import wilson
from fastki.study.cells import Row

FLOOR = "floor"
"""In place of a mode: nothing was trained."""
_Z = 1.959963984540054  # Of 95 %, two-sided.
_NEEDED = ("flow_error", "fast_error")


@dataclass(frozen=True, eq=False)
class Line:
    """One head of a run, or of all seeds of a combination, or a floor.

    Attributes:
        mode: of training, or ``floor``.
        bins, vocab: of the tokenizer; None where none is learnt.
        seed: of training; None for several of them.
        head: ``flow`` or ``fast``, or the floor's name.
        tokens, tokens_p99: a chunk, held out.
        rounding: RMS error of the tokenizer alone, normalised units.
        nats: nats per action value, held out.
        error: mean absolute error open loop, of the mean action's.
        outcomes: bool ``[seeds × E]``, whether each simulated episode was solved; None where it did not act.
        mistake: why there is nothing more.
        seeds: that acted in the same E episodes.
    """

    mode: str
    bins: int | None
    vocab: int | None
    seed: int | None
    head: str
    tokens: float | None = None
    tokens_p99: float | None = None
    rounding: float | None = None
    nats: float | None = None
    error: float | None = None
    outcomes: tuple[bool, ...] | None = None
    mistake: str | None = None
    seeds: int = 1

    @property
    def solved(self) -> int | None:
        """How many episodes."""
        return None if self.outcomes is None else sum(self.outcomes)

    @property
    def rate(self) -> float | None:
        """The share of them."""
        return sum(self.outcomes) / len(self.outcomes) if self.outcomes else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the rate."""
        return rate_interval(np.reshape(self.outcomes, (self.seeds, -1)).astype(float)) if self.outcomes else None


def lines_of(runs: Sequence[Row], tokenizers: Mapping[tuple[int, int], Row], acted: Mapping[str, Row]) -> list[Line]:
    """A line a head of each run, floors last.

    Args:
        runs: of the trainings.
        tokenizers: (bins, vocabulary) → its row.
        acted: name of a run → its row of the simulator.
    """
    lines = []
    for row in runs:
        token = tokenizers.get((row["bins"], row["vocab"]), {})
        simulated = acted.get(row["name"], {})
        heads = [name.removesuffix("_error") for name in _NEEDED if name in row] or ["none"]
        for head in heads:
            solved = simulated.get("heads", {}).get(head)
            lines.append(
                Line(
                    row["mode"],
                    row["bins"],
                    row["vocab"],
                    row["seed"],
                    head,
                    token.get("tokens"),
                    token.get("tokens_p99"),
                    token.get("rounding"),
                    row.get("nats_per_value"),
                    row.get(f"{head}_error"),
                    None if solved is None else tuple(solved),
                    row.get("error") or simulated.get("error"),
                )
            )
    floors = [
        Line(FLOOR, None, None, None, name, outcomes=tuple(solved))
        for row in acted.values()
        for name, solved in row.get("floors", {}).items()
    ]
    return lines + floors


def pooled(lines: Sequence[Line]) -> list[Line]:
    """The seeds of a combination as one line: means, and all of their episodes together."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        if line.head != "none":
            groups.setdefault((line.mode, line.bins, line.vocab, line.head), []).append(line)
    return [_pool(group) for group in groups.values()]


def _pool(group: Sequence[Line]) -> Line:
    first = group[0]
    acted = [line.outcomes for line in group if line.outcomes is not None]
    return Line(
        first.mode,
        first.bins,
        first.vocab,
        first.seed if len(group) == 1 else None,
        first.head,
        first.tokens,
        first.tokens_p99,
        first.rounding,
        _mean([line.nats for line in group]),
        _mean([line.error for line in group]),
        tuple(outcome for outcomes in acted for outcome in outcomes) if acted else None,
        seeds=max(1, len(acted)),
    )


def rate_interval(outcomes: NDArray[np.float64]) -> tuple[float, float]:
    """Wilson's 95 % interval of the mean of ``outcomes [seeds, E]``, of which a column are of one episode.

    What one seed solves another is likely to solve, so that episodes count, and not all that was acted: the number of
    trials is that of independent ones with the same variance (Korn and Graubard 1998), E to seeds × E.

    >>> [round(end, 3) for end in rate_interval(np.array([[1.0, 0, 1, 0]] * 2))] == [
    ...     round(end, 3) for end in rate_interval(np.array([[1.0, 0, 1, 0]]))
    ... ]
    True
    """
    seeds, episodes = outcomes.shape
    rate, trials = float(outcomes.mean()), float(episodes)
    if seeds > 1 and 0 < rate < 1:
        variance = float(outcomes.mean(axis=0).var()) / episodes
        most = float(seeds * episodes)
        trials = most if variance == 0 else min(most, max(trials, rate * (1 - rate) / variance))
    return wilson(rate * trials, trials)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Contrast:
    """What one thing does to success beside another, everything else the same.

    Attributes:
        words: what is compared.
        difference: of the shares of solved episodes.
        low, high: its 95 % interval.
        pairs: of lines that it is the mean of.
        episodes: E, the same for both.
    """

    words: str
    difference: float
    low: float
    high: float
    pairs: int
    episodes: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def contrasts(lines: Sequence[Line], plan: Plan) -> list[Contrast]:
    """Modes, heads, precisions and vocabularies, as far as the study has both sides of them."""
    found = []
    for (first, second), head in product((("ki", "joint"), ("ki", "flow"), ("ki", "fast")), ("flow", "fast")):
        sides = _where(lines, mode=first, head=head), _where(lines, mode=second, head=head)
        found.append(_contrast(f"{first} − {second}, {_HEADS[head]}", *sides, _same_tokenizer))
    heads = _where(lines, mode="ki", head="flow"), _where(lines, mode="ki", head="fast")
    found.append(_contrast("flow head − FAST head, ki", *heads, _same_tokenizer))
    for (name, values), head in product((("bins", plan.bins), ("vocab", plan.vocab)), ("flow", "fast")):
        most, least = max(values), min(values)
        if most == least:
            continue
        sides = _where(lines, head=head, **{name: most}), _where(lines, head=head, **{name: least})
        other = "vocab" if name == "bins" else "bins"
        alike = _same("mode", other)
        found.append(_contrast(f"{most} − {least} {_NAMES[name]}, {_HEADS[head]}", *sides, alike))
    return [one for one in found if one is not None]


_HEADS = {"flow": "flow head", "fast": "FAST head"}
_NAMES = {"bins": "bins", "vocab": "tokens of vocabulary"}
Alike = Callable[[Line, Line], bool]


def _same(*names: str) -> Alike:
    return lambda one, other: all(getattr(one, name) == getattr(other, name) for name in names)


def _same_tokenizer(one: Line, other: Line) -> bool:
    """Also where one of them learns none."""
    return None in (one.bins, other.bins) or (one.bins, one.vocab) == (other.bins, other.vocab)


def _where(lines: Sequence[Line], **wanted: object) -> list[Line]:
    acted = [line for line in lines if line.outcomes and line.mode != FLOOR]
    return [line for line in acted if all(getattr(line, name) == value for name, value in wanted.items())]


def _contrast(words: str, ours: Sequence[Line], theirs: Sequence[Line], alike: Alike) -> Contrast | None:
    pairs = [(one, other) for one in ours for other in theirs if one.seed == other.seed and alike(one, other)]
    rows = [np.subtract(one.outcomes, other.outcomes, dtype=float) for one, other in pairs]
    if not rows:
        return None
    # All lines act in the same episodes, of which some are easier: each is its own control.
    differences = np.mean(rows, axis=0)
    low, high = paired_interval(differences)
    return Contrast(words, float(differences.mean()), low, high, len(pairs), len(differences))


def paired_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of ``differences [E]``, each -1 to 1, after Bonett and Price (2012).

    One episode that only the one side solves and one that only the other does are added, so that few episodes, or
    those that end alike, don't make a narrow interval.

    >>> low, high = paired_interval(np.zeros(8))
    >>> round(low, 3), round(high, 3)
    (-0.277, 0.277)
    """
    padded = np.append(differences, (1.0, -1.0))
    reach = _Z * float(padded.std()) / math.sqrt(len(padded))
    return max(-1.0, float(padded.mean()) - reach), min(1.0, float(padded.mean()) + reach)
