"""Writing an export: each system's folder, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastki import __version__
from fastki.config import to_plain
from fastki.data.norm_stats import save_norm_stats
from fastki.export.lerobot_files import (
    NORMALIZER_STATE,
    POSTPROCESSOR,
    PREPROCESSOR,
    UNNORMALIZER_STATE,
    policy_config,
    postprocessor,
    preprocessor,
)
from fastki.export.lora import Progress, Weights
from fastki.export.name_map import EXPERT_HEAD, as_json, pieces
from fastki.export.notes import fits_pi05
from fastki.export.readme_lerobot import lerobot_readme
from fastki.export.readme_openpi import openpi_readme
from fastki.export.source import Source
from fastki.export.stats import lerobot_stats, openpi_stats
from fastki.export.tensors import write_tensors
from fastki.files import write_text

TOKENIZER, ASSETS, MANIFEST = "tokenizer", "assets", "export.json"
WEIGHTS, NAME_MAP, STATS = "model.safetensors", "name_map.json", "stats.json"

Writer = Callable[[Path, Source, Weights, tuple[str, ...], str, Progress], None]
"""Of a folder, by source, weights, notes, where the folder will lie, and whom to tell how far it is."""


def write_openpi(
    folder: Path, source: Source, weights: Weights, notes: tuple[str, ...], place: str, progress: Progress
) -> None:
    """An openpi checkpoint with its assets, the tokenizer, and a README."""
    for asset, found in source.normalizers.items():
        if found:
            save_norm_stats(folder / ASSETS / asset, openpi_stats(found, by_std=source.by_std))
    if weights:
        from fastki.model.checkpoint_save import save_openpi
        from fastki.model.params import nest

        progress("writing", 0, 1)
        save_openpi(folder, nest(weights), trailing_value=False)
        progress("writing", 1, 1)
    _tokenizer(folder, source)
    write_text(folder / "README.md", openpi_readme(source, notes, place))
    write_text(folder / MANIFEST, _dump(_manifest("openpi", source, notes)))


def write_lerobot(
    folder: Path, source: Source, weights: Weights, notes: tuple[str, ...], place: str, progress: Progress
) -> None:
    """Weights as safetensors with their map, statistics, the tokenizer, what LeRobot's pi05 is made of, a README."""
    card = source.card
    runs = card is not None and card.model.kind == "pi05" and fits_pi05(card)
    _lerobot_stats(folder, source)
    if card is not None:
        _lerobot_weights(folder, weights, progress)
    if card is not None and runs:
        write_text(folder / "config.json", _dump(policy_config(source, card)))
        write_text(folder / f"{PREPROCESSOR}.json", _dump(preprocessor(source, card)))
        write_text(folder / f"{POSTPROCESSOR}.json", _dump(postprocessor(source, card)))
    _tokenizer(folder, source)
    write_text(folder / "README.md", lerobot_readme(source, notes, place, runs=runs))
    write_text(folder / MANIFEST, _dump(_manifest("lerobot", source, notes)))


def stats_place(folder: Path, source: Source, asset: str) -> Path:
    """Where LeRobot's statistics of an asset lie: at the top, or of a mixture each in a folder of its own."""
    return folder if len(source.normalizers) == 1 else folder / ASSETS / asset


def _lerobot_stats(folder: Path, source: Source) -> None:
    for asset, found in source.normalizers.items():
        if not found:
            continue
        place, stats = stats_place(folder, source, asset), lerobot_stats(found)
        place.mkdir(parents=True, exist_ok=True)
        plain = {feature: {name: one.tolist() for name, one in values.items()} for feature, values in stats.items()}
        write_text(place / STATS, _dump(plain))
        state = {
            f"{feature}.{name}": one.astype(np.float32)
            for feature, values in stats.items()
            for name, one in values.items()
        }
        write_tensors(place / NORMALIZER_STATE, state)
        write_tensors(place / UNNORMALIZER_STATE, state)


def _lerobot_weights(folder: Path, weights: Weights, progress: Progress) -> None:
    """Takes each array out of ``weights`` as soon as it is written under its other name."""
    shapes = {name: value.shape for name, value in weights.items()}
    zeros = (
        {EXPERT_HEAD: (shapes[table][0], shapes[column][1])}
        if (column := "action_in_proj/kernel") in shapes
        and (table := "PaliGemma/llm/embedder/input_embedding") in shapes
        else {}
    )
    model = pieces(shapes)
    left = dict.fromkeys(shapes, 0)
    for piece in model:
        left[piece.jax] += 1
    tensors = {}
    for done, piece in enumerate(model, 1):
        tensors[piece.torch] = piece.to_torch(weights[piece.jax]).astype(np.float32, copy=False)
        left[piece.jax] -= 1
        if not left[piece.jax]:
            del weights[piece.jax]
        progress("renaming", done, len(model))
    tensors |= {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    write_tensors(folder / WEIGHTS, tensors)
    write_text(folder / NAME_MAP, _dump(as_json(model, zeros)))


def _tokenizer(folder: Path, source: Source) -> None:
    if source.tokenizer is not None:
        source.tokenizer.save(folder / TOKENIZER)


def _manifest(system: str, source: Source, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format": 1,
        "fastki_version": __version__,
        "to": system,
        "of": source.name,
        "step": source.step,
        "assets": list(source.normalizers),
        "tokenizer": TOKENIZER if source.published is None else source.published,
        "card": None if source.card is None else to_plain(source.card),
        "notes": list(notes),
    }


def _dump(plain: Any) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
