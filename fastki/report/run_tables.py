"""A training run in brief, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from fastki.config import to_plain
from fastki.report.eval_tables import TITLES
from fastki.report.tables import counted, key_values, number
from fastki.training.config import TrainConfig
from fastki.training.run_summary import RunSummary


def run_facts(summary: RunSummary) -> Table:
    """What it was made of and how far it is."""
    return key_values(run_pairs(summary))


def run_pairs(summary: RunSummary) -> list[tuple[str, str]]:
    """The same as names and words."""
    config = summary.config
    steps = f"{summary.step:,} of {config.steps:,}"
    done = "" if summary.step >= config.steps else " (not finished)"
    tokenizer = config.tokenizer.path or "fitted on the data"
    pairs = [
        ("run", f"{summary.folder} (preset {config.preset}, --mode {config.mode}, seed {config.seed})"),
        ("data", f"{config.data.uri}{'' if config.data.images else ', without pictures'}"),
        ("tokenizer", f"{tokenizer}; layout {config.sequence.layout}, text {config.sequence.text}"),
        ("model", _model_words(config)),
        ("steps", f"{steps}{done}, {counted(config.loader.batch_size, 'example')} each"),
        ("begun with", config.init or "random parameters"),
        ("checkpoints", ", ".join(f"{step:,}" for step in summary.checkpoints.usable) or "none"),
    ]
    pairs += [(f"  {name}", reason) for name, reason in summary.checkpoints.ignored.items()]
    if summary.speed:
        rate, waiting = summary.speed.get("examples_per_second", 0.0), summary.speed.get("waiting", 0.0)
        pairs.append(("speed", f"{number(rate)} examples a second, {waiting:.0%} of the time waiting for data"))
    return pairs


def run_losses(summary: RunSummary) -> Table:
    """Each metric at the end."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("metric")
    table.add_column("at the end", justify="right")
    for name, value in summary.losses.items():
        table.add_row(escape(name), number(value))
    return table


def run_evaluation(found: Mapping[str, Any]) -> Table:
    """What the last evaluation found of each head and floor."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"evaluated at step {found.get('step')}, {found.get('frames')} frames")
    for header in ("error, normalised", "of the mean action's"):
        table.add_column(header, justify="right")
    for kind in ("heads", "floors"):
        for name, row in found.get(kind, {}).items():
            ratio = row.get("of_mean")
            cells = number(row["mae"]), "–" if ratio is None else f"{ratio:.2f}×"
            table.add_row(escape(TITLES.get(name, name)), *cells, style="bold" if kind == "heads" else "dim")
    return table


def run_payload(summary: RunSummary) -> dict[str, Any]:
    """All of it; ``evaluation`` is what ``fastki eval --json`` printed."""
    config = summary.config
    return {
        "run": str(summary.folder),
        "step": summary.step,
        "steps": config.steps,
        "finished": summary.step >= config.steps,
        "config": to_plain(config),
        "losses": dict(summary.losses),
        "speed": dict(summary.speed),
        "checkpoints": list(summary.checkpoints.usable),
        "ignored": dict(summary.checkpoints.ignored),
        "evaluation": None if summary.evaluation is None else dict(summary.evaluation),
    }


def _model_words(config: TrainConfig) -> str:
    network = config.network
    adapted = [name for name in ("backbone", "expert") if getattr(network, f"{name}_lora") is not None]
    lora = f", LoRA of the {' and the '.join(adapted)}" if adapted else ""
    return f"{network.kind}, size {network.size}, {network.dtype}{lora}"
