"""What ``fastki eval --env`` found: a table, sentences, a figure, films, and files for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from fastki.config import to_plain
from fastki.evaluation.acting import Sampling
from fastki.files import atomic_path, write_csv, write_json
from fastki.report.drawn import Drawn
from fastki.report.figures import ACCENT, INK
from fastki.report.glyphs import clean
from fastki.report.tables import counted, key_values
from fastki.sim.closed_loop import RANDOM, REPLAY, ClosedLoop, Success
from fastki.sim.evaluate import Place

NAME = "closed_loop.json"
STEMS = ("success",)
FILMS = ("success", "failure")
TITLES = {"flow": "flow head", "fast": "FAST head", RANDOM: "random actions", REPLAY: "a recorded episode, blind"}
_COLUMNS = ("by", "kind", "seed", "solved", "frames")
_ENLARGED = 192  # Pixels that a film is high at least.


def loop_facts(place: Place, found: ClosedLoop) -> Table:
    """What was measured, and where."""
    setting = place.recording.setting
    return key_values(
        [
            ("policy", escape(str(place.run or place.checkpoint))),
            ("task", escape(f"{place.recording.simulator}:{place.task}, {found.prompt!r}")),
            ("seen", f"{', '.join(setting.cameras)}, {setting.size} × {setting.size}, {found.fps} Hz"),
            (
                "acts",
                f"{found.replan} of a chunk's {found.horizon} actions, then anew; {found.limit} frames an episode",
            ),
        ]
    )


def loop_table(found: ClosedLoop) -> Table:
    """A row a head and floor."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("acts by", overflow="fold")
    for header in ("solved", "rate", "95 % interval", "frames\nwhere solved"):
        table.add_column(header, justify="right")
    for row in found.rows:
        low, high = row.interval
        frames = [rollout.frames for rollout in row.rollouts if rollout.solved]
        table.add_row(
            TITLES[row.name],
            f"{row.solved} of {len(row.rollouts)}",
            f"{row.rate:.0%}",
            f"{low:.0%} – {high:.0%}",
            f"{np.mean(frames):.1f}" if frames else "–",
            style="bold" if row in found.heads else "dim",
        )
    return table


def loop_verdicts(found: ClosedLoop) -> list[str]:
    """A sentence a head: whether its interval lies above those of all floors."""
    if not found.floors:
        return []
    best = max(found.floors, key=lambda row: row.interval[1])
    said = []
    for row in found.heads:
        above = row.interval[0] > best.interval[1]
        verdict = "better than chance" if above else "not shown to be better than chance"
        ends = f"{row.interval[0]:.0%} at least, {TITLES[best.name]} {best.interval[1]:.0%} at most"
        said.append(f"{TITLES[row.name]}: {verdict} ({ends})")
    return said


def loop_payload(place: Place, found: ClosedLoop, sampling: Sampling) -> dict[str, Any]:
    """All that was measured, under these keys.

    ``run``, ``checkpoint``, ``data``, ``env``, ``prompt``, ``setting``: what and where. ``replan``, ``horizon``,
    ``limit``, ``fps``, ``sampling``: how. ``heads``, ``floors``: name → ``episodes``, ``solved``, ``rate``,
    ``interval`` (Wilson, 95 %) and ``rollouts`` (``seed``, ``solved``, ``frames``). ``sentences`` in words.
    """
    return {
        "run": None if place.run is None else str(place.run),
        "checkpoint": str(place.checkpoint),
        "data": place.uri,
        "env": f"{place.recording.simulator}:{place.task}",
        "prompt": found.prompt,
        "setting": to_plain(place.recording.setting),
        "replan": found.replan,
        "horizon": found.horizon,
        "limit": found.limit,
        "fps": found.fps,
        "sampling": to_plain(sampling),
        "heads": {row.name: _row(row) for row in found.heads},
        "floors": {row.name: _row(row) for row in found.floors},
        "sentences": loop_verdicts(found),
    }


def write_loop(payload: dict[str, Any], command: str, folder: Path) -> list[Path]:
    """Write ``closed_loop.json`` (the payload and the command) and ``closed_loop.csv``, a line an episode.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = [folder / NAME, folder / "closed_loop.csv"]
    write_json(paths[0], {**payload, "command": command})
    lines = [
        {"by": name, "kind": kind[:-1], **rollout}
        for kind in ("heads", "floors")
        for name, row in payload[kind].items()
        for rollout in row["rollouts"]
    ]
    write_csv(paths[1], _COLUMNS, lines)
    return paths


def write_films(found: ClosedLoop, folder: Path) -> list[Path]:
    """Write a GIF of each head's first success and first failure; those of an earlier measurement are taken away.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = []
    for row in found.heads:
        for kind in FILMS:
            path = folder / f"{row.name}-{kind}.gif"
            if kind in row.films:
                write_gif(row.films[kind], path, fps=found.fps)
                paths.append(path)
            else:
                path.unlink(missing_ok=True)
    return paths


def write_gif(film: NDArray[np.uint8], path: Path, *, fps: int) -> None:
    """Write ``film [T, h, w, 3]``, small pictures enlarged; the last one stays for a second."""
    from PIL import Image

    scale = max(1, -(-_ENLARGED // film.shape[1]))
    pictures = [Image.fromarray(frame).resize((film.shape[2] * scale, film.shape[1] * scale), 0) for frame in film]
    times = [max(20, round(1000 / fps))] * (len(pictures) - 1) + [1000]
    with atomic_path(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=times, loop=0)


def loop_figures(task: str, found: ClosedLoop) -> list[Drawn]:
    """A bar a head and floor, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.2 + 0.4 * len(found.rows)))
    axes = figure.subplots()
    for height, row in enumerate(found.rows):
        axes.barh(height, row.rate, color=ACCENT if row in found.heads else INK, height=0.6)
        axes.plot(row.interval, [height, height], color="black", linewidth=1.2, marker="|", markersize=7)
        text = f"{row.solved} of {len(row.rollouts)}"
        axes.annotate(
            text, (row.interval[1], height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(found.rows)), [TITLES[row.name] for row in found.rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)], fontsize=8)
    axes.set_xlabel("episodes solved, with Wilson's 95 % interval", fontsize=9)
    axes.set_title(clean(f"{task}: {found.prompt}"), fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    counts = " and ".join(counted(len(row.rollouts), "episode") for row in (found.rows[0], found.rows[-1]))
    caption = f"{counts} of head and floor, at most {found.limit} frames each."
    return [Drawn("success", "Success in the simulator", caption, figure)]


def _row(row: Success) -> dict[str, Any]:
    rollouts: Sequence[dict[str, Any]] = [
        {"seed": rollout.seed, "solved": rollout.solved, "frames": rollout.frames} for rollout in row.rollouts
    ]
    return {
        "episodes": len(row.rollouts),
        "solved": row.solved,
        "rate": row.rate,
        "interval": list(row.interval),
        "rollouts": list(rollouts),
    }
