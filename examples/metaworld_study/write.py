"""The study's files: ``results.csv``, ``results.json``, ``results.md``, ``figure.png`` and ``figure.svg``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.metaworld_study.figure import draw
from examples.metaworld_study.plan import Plan
from examples.metaworld_study.summary import FLOOR, Contrast, Line, contrasts, pooled
from fastki import __version__
from fastki.config import to_plain
from fastki.files import write_csv, write_json, write_text
from fastki.report.figures import save

_COLUMNS = (
    *("mode", "bins", "vocab", "seed", "head", "tokens", "tokens_p99", "rounding", "nats", "error"),
    *("solved", "episodes", "success", "low", "high", "mistake"),
)
_HEADINGS = (
    *("mode", "bins, vocabulary", "tokens a chunk", "nats a value", "error, flow", "error, FAST"),
    *("success, flow", "success, FAST"),
)


@dataclasses.dataclass(frozen=True)
class Told:
    """What the files say besides numbers.

    Attributes:
        command: that was given.
        demonstrations: how many episodes the data have.
        steps: of each training.
        network: its size.
    """

    command: str
    demonstrations: int
    steps: int
    network: str


def write_results(lines: Sequence[Line], plan: Plan, told: Told, out: Path) -> list[Path]:
    """All of the files.

    Raises:
        UsageError: the folder can't be written to.
    """
    together, compared = pooled(lines), contrasts(lines, plan)
    title = _title(plan, told)
    write_csv(out / "results.csv", _COLUMNS, [_cells(line) for line in lines])
    plain = {
        "command": told.command,
        "version": __version__,
        "plan": to_plain(plan),
        "demonstrations": told.demonstrations,
        "network": told.network,
        "lines": [{**_cells(line), "outcomes": line.outcomes} for line in lines],
        "contrasts": [dataclasses.asdict(one) for one in compared],
    }
    write_json(out / "results.json", plain)
    write_text(out / "results.md", _page(lines, together, compared, title, told))
    figure = draw(together, title)
    figures = [save(figure, out / f"figure{suffix}") for suffix in (".png", ".svg")]
    return [*(out / f"results{suffix}" for suffix in (".csv", ".json", ".md")), *figures]


def _title(plan: Plan, told: Told) -> str:
    seeds = f"{plan.seeds} seed" + "s" * (plan.seeds != 1)
    return (
        f"{plan.task}: {told.demonstrations} demonstrations, network {told.network}, {told.steps:,} steps, {seeds}, "
        f"{plan.rollouts} episodes a head"
    )


def _cells(line: Line) -> dict[str, Any]:
    low, high = line.interval or (None, None)
    own = {name: getattr(line, name) for name in _COLUMNS if hasattr(line, name)}
    episodes = None if line.outcomes is None else len(line.outcomes)
    return {**own, "episodes": episodes, "success": line.rate, "low": low, "high": high}


def _page(lines: Sequence[Line], together: Sequence[Line], compared: Sequence[Contrast], title: str, told: Told) -> str:
    parts = [
        f"**{title}.** Written by `{told.command}`; examples/metaworld_study/README.md says how to read it.",
        _table(together),
    ]
    if floors := [line for line in together if line.mode == FLOOR]:
        parts.append("Floors: " + "; ".join(f"{line.head} {_success(line)}" for line in floors) + ".")
    if compared:
        parts += ["Difference in success, everything else the same, with 95 % intervals:", _contrasts(compared)]
    mistakes = dict.fromkeys(f"- {_named(line)}, seed {line.seed}: {line.mistake}" for line in lines if line.mistake)
    if mistakes:
        parts += ["Without a result:", "\n".join(mistakes)]
    return "\n\n".join(parts) + "\n"


def _table(together: Sequence[Line]) -> str:
    """A row a combination, both heads in it."""
    rows = [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    groups: dict[tuple[object, ...], dict[str, Line]] = {}
    for line in together:
        if line.mode != FLOOR:
            groups.setdefault((line.mode, line.bins, line.vocab), {})[line.head] = line
    for (mode, bins, vocab), heads in groups.items():
        one = next(iter(heads.values()))
        flow, fast = heads.get("flow"), heads.get("fast")
        cells = [mode, "–" if bins is None else f"{bins}, {vocab}", _number(one.tokens, 1), _number(one.nats, 3)]
        cells += [_number(None if each is None else each.error, 3) for each in (flow, fast)]
        cells += [_success(each) for each in (flow, fast)]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def _contrasts(compared: Sequence[Contrast]) -> str:
    rows = []
    for one in compared:
        verdict = "told apart" if one.told_apart else "not told apart"
        found = f"{one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}]".replace("-", "−")
        pairs = f"{one.pairs} pair{'s' * (one.pairs != 1)}"
        rows.append(f"- {one.words}: {found}, {verdict} ({one.episodes} episodes, mean of {pairs})")
    return "\n".join(rows)


def _success(line: Line | None) -> str:
    if line is None or line.outcomes is None or line.interval is None:
        return "–"
    low, high = line.interval
    return f"{line.solved} of {len(line.outcomes)} ({low:.0%} to {high:.0%})"


def _named(line: Line) -> str:
    return line.mode if line.bins is None else f"{line.mode}, {line.bins} bins, vocabulary {line.vocab}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
