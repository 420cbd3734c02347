"""A model's checkpoint for people and for machines."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from fastki.config import to_plain
from fastki.model.checkpoint_describe import Contents
from fastki.model.checkpoint_traits import Traits
from fastki.report.tables import key_values

_TITLES = {
    "tower": "image tower",
    "embedder": "text embedding",
    "backbone": "language model",
    "expert": "action expert",
    "actions": "actions and time",
    "state_token": "state token",
    "lora": "low-rank additions",
}


def checkpoint_facts(contents: Contents) -> Table:
    """Where it is from and what model it is of."""
    folder, total = contents.folder, contents.total
    step = "" if folder.step is None else f"training step {folder.step:,}"
    kept = "with the state of its training" if folder.trainable else ""
    layout = "a trailing value on every leaf" if contents.trailing_value else "plain names"
    about = ", ".join(word for word in (step, kept, layout) if word)
    size = f"{total.arrays:,} arrays, {total.parameters:,} numbers, {amount_of_bytes(total.nbytes)}"
    return key_values(
        [
            ("checkpoint", f"{contents.source} ({about})"),
            ("model", _model_words(contents.traits)),
            ("", _width_words(contents.traits)),
            ("weights", size),
            ("assets", ", ".join(folder.assets) or "none"),
        ]
    )


def checkpoint_parts(contents: Contents) -> Table:
    """One row a part of the model."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("part")
    for header in ("arrays", "parameters", "share", "size"):
        table.add_column(header, justify="right")
    table.add_column("dtype")
    whole = max(1, contents.total.parameters)
    for part in contents.parts:
        table.add_row(
            _TITLES.get(part.name, part.name),
            f"{part.arrays:,}",
            f"{part.parameters:,}",
            f"{part.parameters / whole:.1%}",
            amount_of_bytes(part.nbytes),
            escape(", ".join(part.dtypes)),
        )
    return table


def checkpoint_payload(contents: Contents) -> dict[str, Any]:
    """All of it, every array's name, shape and dtype included."""
    folder, traits, total = contents.folder, contents.traits, contents.total
    return {
        "checkpoint": contents.source,
        "params": str(folder.params),
        "step": folder.step,
        "layout": "value" if contents.trailing_value else "pure",
        "training_state": folder.trainable,
        "assets": {name: str(path) for name, path in folder.assets.items()},
        "model": traits.model,
        "traits": to_plain(traits),
        "parameters": total.parameters,
        "bytes": total.nbytes,
        "parts": [to_plain(part) for part in contents.parts],
        "arrays": {name: {"shape": list(array.shape), "dtype": array.dtype} for name, array in contents.arrays.items()},
    }


def amount_of_bytes(size: int) -> str:
    """Decimal, as disks and clouds count.

    >>> amount_of_bytes(13_400_000_000), amount_of_bytes(655_000), amount_of_bytes(12)
    ('13.4 GB', '655 kB', '12 B')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} B"


def _model_words(traits: Traits) -> str:
    ranks = [f"{part} rank {rank}" for part, rank in zip(("backbone", "expert"), traits.lora, strict=True) if rank]
    facts = [
        f"kind {traits.kind}" if traits.kind else "",
        f"vocabulary {traits.vocab:,}" if traits.vocab else "",
        f"action_dim {traits.action_dim}" if traits.action_dim else "",
        "a state token" if traits.state_token else "",
        f"LoRA: {', '.join(ranks)}" if ranks else "",
    ]
    return ", ".join([traits.model or "no named size", *(fact for fact in facts if fact)])


def _width_words(traits: Traits) -> str:
    """Widths and depths of the three networks, and the pictures that they look at."""
    words = []
    if traits.vision is not None:
        side = traits.vision.image_size
        words.append(f"pictures of {side} × {side}, image tower {traits.vision.width} × {traits.vision.depth} layers")
    for title, size in (("language model", traits.backbone), ("expert", traits.expert)):
        words += [] if size is None else [f"{title} {size.width} × {size.depth}"]
    return ", ".join(words) or "not told by its arrays"
