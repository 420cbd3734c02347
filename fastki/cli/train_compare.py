"""``fastki train --compare``, and what ``fastki layouts --train-steps`` shares with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastki.cli.terminal import Terminal
    from fastki.data.options import OpenOptions
    from fastki.sequence.layout import Layout
    from fastki.sequence.options import TextOptions
    from fastki.study.cells import Row
    from fastki.study.training import TrainingComparison
    from fastki.study.training_cells import Variant
    from fastki.training.config import TrainConfig


def compare(terminal: Terminal, base: TrainConfig, words: str, seeds: int, out: Path, *, command: str) -> None:
    """Train every variant over every seed, and show what came of it; ``command`` is what the user gave."""
    from fastki.files import require_writable
    from fastki.report.runs import write_run
    from fastki.study.training_cells import variants_of

    variants = variants_of(words)
    require_writable(out / "comparison.json")
    found = run_comparison(terminal, base, variants, seeds, out)
    paths = write_comparison(found, out)
    write_run(out, command)
    from fastki.report.compare_tables import comparison_payload, comparison_table

    terminal.payload(comparison_payload(found))
    terminal.show(comparison_table(found), *(f"[bold]{line}[/bold]" for line in found.ranking()))
    terminal.files(paths)
    terminal.next_command("fastki", "report", str(out))


def run_comparison(
    terminal: Terminal, base: TrainConfig, variants: Sequence[Variant], seeds: int, out: Path
) -> TrainingComparison:
    """The runs, with one tokenizer for all; those that were finished before are not run again."""
    from fastki.data import open_with
    from fastki.study.training import compare_training
    from fastki.tokenizer import FastTokenizer, fit_on_dataset, load_tokenizer

    dataset = open_with(base.data.uri, base.data.opened)
    fixed = not any(setting.startswith("tokenizer.") for one in variants for setting in one.settings)
    if base.tokenizer.path is None and fixed:
        place = out / "tokenizer"
        with terminal.progress() as progress:
            fitted = fit_on_dataset(dataset, base.tokenizer.fit, progress=progress).tokenizer
        kept = load_tokenizer(place) if place.is_dir() else None
        if not isinstance(kept, FastTokenizer) or kept.source != fitted.source:
            fitted.save(place)
        base = dataclasses.replace(base, tokenizer=dataclasses.replace(base.tokenizer, path=str(place.absolute())))
    total, done = len(variants) * seeds, 0

    def tell(index: int, row: Row, stored: bool) -> None:
        nonlocal done
        done += 1
        variant, seed = variants[index % len(variants)].name, index // len(variants)
        words = row.get("error") or ", ".join(
            f"{name} {row[name]:.3g}" for name in ("flow_error", "fast_error", "nats_per_value") if name in row
        )
        terminal.line(f"[{done}/{total}{', stored' if stored else ''}] {variant}, seed {seed}: {words}")

    terminal.line(f"{total} runs of {base.steps:,} steps: each is a line here when it is done")
    return compare_training(base, variants, seeds=seeds, folder=out, fingerprint=dataset.info.fingerprint, on_row=tell)


def write_comparison(found: TrainingComparison, out: Path) -> list[Path]:
    """JSON, CSV and the figure."""
    from fastki.files import write_csv, write_json
    from fastki.report.compare_figures import learning_curves
    from fastki.report.compare_tables import comparison_payload, comparison_rows
    from fastki.report.figures import save
    from fastki.training.metrics import columns_of

    payload: dict[str, Any] = comparison_payload(found)
    write_json(out / "comparison.json", payload)
    rows = comparison_rows(found)
    write_csv(out / "comparison.csv", columns_of(rows), rows)
    figure = save(learning_curves(found), out / "comparison.png")
    return [out / "comparison.json", out / "comparison.csv", figure]


def layouts_base(data: str, opened: OpenOptions, tokenizer: str, placing: TextOptions, steps: int) -> TrainConfig:
    """The tiny preset on the data and the tokenizer of a comparison of layouts."""
    from fastki.config import to_plain
    from fastki.data import open_with
    from fastki.training.presets import configured, preset

    filled = any(open_with(data, opened).info.slots.values())
    changes = {
        "data": {"uri": data, "opened": to_plain(opened), "images": filled},
        "tokenizer": {"path": tokenizer},
        "sequence": {"text": placing.text, "skip": placing.skip},
        "steps": steps,
    }
    return configured(preset("tiny"), changes, [])


def layout_variants(words: Sequence[str], layouts: Sequence[Layout]) -> list[Variant]:
    """A variant for each layout, by the word that asks for it."""
    from fastki.study.training_cells import Variant

    return [
        Variant(layout.name, (f"sequence.layout={json.dumps(word)}",))
        for word, layout in zip(words, layouts, strict=True)
    ]
