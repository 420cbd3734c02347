"""What ``fastki eval`` found, for a terminal: results in, Rich renderables and sentences out."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from fastki.evaluation.errors import ErrorRow
from fastki.evaluation.evaluate import Evaluation
from fastki.evaluation.floors import HOLD, MEAN, ROUND_TRIP
from fastki.evaluation.open_loop import OpenLoop
from fastki.evaluation.reopen import Reopened
from fastki.report.tables import MAX_DIM_ROWS, counted, key_values, number

TITLES = {
    "flow": "flow head",
    "fast": "FAST head",
    MEAN: "mean action",
    HOLD: "last action held",
    ROUND_TRIP: "tokenizer round trip",
}
_PARTS = {"heldout": "held out", "train": "trained on", "all": "all"}


def eval_facts(run: Reopened, found: Evaluation) -> Table:
    """What was measured, and on what."""
    measured, card = found.open_loop, run.policy.card
    step = "" if run.step is None else f", step {run.step:,}"
    amount = f"{counted(measured.episodes, 'episode')} ({_PARTS[run.part]}), {counted(measured.frames, 'frame')}"
    pairs = [
        ("policy", f"{run.run or run.checkpoint}{step} (--mode {card.mode}, chunks of {run.policy.horizon})"),
        ("data", f"{run.setup.dataset.info.uri}, {amount}"),
    ]
    if losses := _losses(found):
        pairs.append(("losses", f"{losses} ({counted(found.windows, 'window')})"))
    fast = next((row for row in measured.heads if row.tokens is not None), None)
    if fast is not None:
        pairs.append(("FAST", f"{fast.tokens:.1f} tokens a chunk, {fast.malformed:.2%} malformed"))
    for latency in found.latency:
        model = f"{latency.model * 1e3:.1f} ms of the median in the model"
        pairs.append(
            (
                f"latency, {latency.head}",
                f"median {latency.median * 1e3:.1f} ms, p90 {latency.p90 * 1e3:.1f} ms a frame ({model})",
            )
        )
    return key_values(pairs)


def summary_table(measured: OpenLoop) -> Table:
    """One row a head and floor: the error over all values."""
    table = _table("mean absolute error, normalised")
    for header in ("error", "95 % interval", "RMSE", "of the mean\naction's"):
        table.add_column(header, justify="right")
    heads = measured.heads
    for row in measured.rows:
        interval = "–" if row.interval is None else " – ".join(map(number, row.interval))
        cells = (number(row.mae), interval, number(row.rmse), f"{row.of_mean:.2f}×")
        table.add_row(TITLES[row.name], *cells, style="bold" if row in heads else "dim")
    return table


def dimensions_table(measured: OpenLoop) -> Table:
    """One row a dimension: errors in native units, heads beside floors; the worst first kept where there are many."""
    table = _table("mean absolute error by dimension\n\\[native unit]")
    for row in measured.rows:
        table.add_column(TITLES[row.name].replace(" ", "\n", 1), justify="right")
    for dim in _shown(measured.rows):
        unit = measured.units[dim]
        name = escape(measured.names[dim]) + (f" \\[{escape(unit)}]" if unit else "")
        table.add_row(name, *(f"{row.mae_native[dim]:.3g}" for row in measured.rows))
    if (left := len(measured.names) - MAX_DIM_ROWS) > 0:
        table.add_row(f"… and {left} more with smaller errors")
    return table


def verdicts(measured: OpenLoop) -> list[str]:
    """What the errors say, a sentence each head."""
    said = []
    for row in measured.heads:
        mean, held = (measured.row(name) for name in (MEAN, HOLD))
        best = min(mean, held, key=lambda floor: floor.mae)
        if row.mae < best.mae:
            said.append(f"the {TITLES[row.name]} errs {1 - row.mae / best.mae:.0%} less than the {TITLES[best.name]}")
        else:
            said.append(f"the {TITLES[row.name]} is no better than the {TITLES[best.name]}: train longer")
    return said


def _losses(found: Evaluation) -> str:
    words = {"nats_per_value": "nats per action value", "flow_loss": "flow loss", "token_accuracy": "token accuracy"}
    return ", ".join(f"{number(found.losses[name])} {word}" for name, word in words.items() if name in found.losses)


def _shown(rows: tuple[ErrorRow, ...]) -> list[int]:
    """Dimensions in order, of many those in which the first head errs most against the mean action."""
    mean = next(row for row in rows if row.name == MEAN).mae_native
    ratio = rows[0].mae_native / (mean + 1e-12)
    order = sorted(range(len(ratio)), key=lambda dim: -ratio[dim])[:MAX_DIM_ROWS]
    return sorted(order)


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    return table
