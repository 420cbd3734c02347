"""Training runs with a name: where a user begins."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import replace
from typing import Any

from fastki.config import from_plain, merged, to_plain, with_settings
from fastki.data.options import OpenOptions
from fastki.errors import UsageError
from fastki.model.config import LoraConfig
from fastki.tokenizer import FitOptions, FitSettings
from fastki.training.augment import AugmentConfig
from fastki.training.config import (
    DataConfig,
    NetworkConfig,
    SaveConfig,
    SequenceConfig,
    TokenizerConfig,
    TrainConfig,
)
from fastki.training.loader_config import LoaderConfig
from fastki.training.optimizer import AdamW
from fastki.training.recipe import Recipe
from fastki.training.schedule import Schedule
from fastki.training.selection import Selection

DEFAULT = "tiny"
_SHORT = "images-prompt-state-token-fast"
_PALIGEMMA = "google/paligemma-3b-pt-224"


def _cosine(peak: float, steps: int, warmup: int) -> Schedule:
    # Rounded, so that a tenth of 0.003 is not above the 0.0003 that someone gives as the peak.
    return Schedule("cosine", peak, warmup, steps, round(peak / 10, 12))


def _tiny() -> TrainConfig:
    steps = 1600
    return TrainConfig(
        preset="tiny",
        steps=steps,
        data=DataConfig("synthetic:reach?episodes=3000&size=64"),
        tokenizer=TokenizerConfig(fit=FitOptions(FitSettings(vocab_size=96, bins=8), horizon=8, stride=6)),
        sequence=SequenceConfig(layout=_SHORT),
        network=NetworkConfig("tiny"),
        loader=LoaderConfig(batch_size=16),
        recipe=Recipe(_cosine(3e-3, steps, 50), AdamW(b2=0.98, weight_decay=1e-4), ema_decay=0.99),
        save=SaveConfig(every=500, log_every=50),
    )


def _small() -> TrainConfig:
    steps = 20_000
    return TrainConfig(
        preset="small",
        steps=steps,
        data=DataConfig("synthetic:droid?episodes=4096&size=112"),
        tokenizer=TokenizerConfig(fit=FitOptions(FitSettings(vocab_size=1024, bins=40))),
        sequence=SequenceConfig(layout=_SHORT),
        network=NetworkConfig("small", dtype="bfloat16"),
        loader=LoaderConfig(batch_size=128, num_workers=8),
        augment=AugmentConfig(),
        recipe=Recipe(_cosine(3e-4, steps, 500), AdamW(weight_decay=1e-4), ema_decay=0.999),
        save=SaveConfig(every=1000, eval_every=1000),
    )


def _pi05_droid() -> TrainConfig:
    steps = 30_000
    return TrainConfig(
        preset="pi05_droid_ki",
        steps=steps,
        data=DataConfig("lerobot/droid_100", OpenOptions(robot="droid"), cameras="all"),
        tokenizer=TokenizerConfig(fit=FitOptions(horizon=16, pad_end="repeat")),
        sequence=SequenceConfig(text=_PALIGEMMA),
        network=NetworkConfig("pi05", action_dim=32, dtype="bfloat16", remat="full"),
        loader=LoaderConfig(batch_size=32, num_workers=8),
        augment=AugmentConfig(),
        recipe=Recipe(Schedule()),
        save=SaveConfig(every=1000, keep_period=5000, log_every=20),
    )


def _pi05_lora() -> TrainConfig:
    base = _pi05_droid()
    return replace(
        base,
        preset="pi05_ki_lora",
        network=replace(base.network, backbone_lora=LoraConfig(16, 16.0), expert_lora=None),
        recipe=replace(
            base.recipe,
            select=Selection(train=("lora", "expert")),
            ema_decay=None,
            frozen_dtype="bfloat16",
        ),
    )


_PRESETS = {"tiny": _tiny, "small": _small, "pi05_droid_ki": _pi05_droid, "pi05_ki_lora": _pi05_lora}
PRESETS = tuple(_PRESETS)


def preset(name: str) -> TrainConfig:
    """The run of that name; UsageError with a near one if there is none."""
    if name in _PRESETS:
        return _PRESETS[name]()
    near = difflib.get_close_matches(name, _PRESETS, n=1)
    raise UsageError(
        f"there is no training preset {name!r}: "
        + (f"did you mean {near[0]}?" if near else f"use {', '.join(PRESETS)}")
    )


def configured(base: TrainConfig, changes: dict[str, Any], settings: list[str]) -> TrainConfig:
    """A run with some of its values changed.

    Args:
        base: a preset, or the run of a folder.
        changes: nested, as :func:`fastki.config.to_plain` has them; such as a TOML file's.
        settings: ``a.b=c`` each, which come last.

    Raises:
        UsageError: a name or value is none; the message has the nearest name.
    """
    plain = to_plain(base)
    asked = with_settings(with_settings({}, []) | changes, settings)
    steps = asked.get("steps")
    if isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1 and steps != base.steps:
        plain = merged(plain, _schedule_for(base, steps))
    return from_plain(TrainConfig, merged(plain, asked))


def _schedule_for(base: TrainConfig, steps: int) -> dict[str, Any]:
    """A schedule that spanned the run spans the shorter or longer one too."""
    schedule = base.recipe.schedule
    if not schedule.spans or schedule.decay_steps != base.steps:
        return {}
    warmup = min(schedule.warmup_steps, max(1, steps // 10), steps - 1)
    resized = dataclasses.replace(schedule, decay_steps=max(steps, warmup + 1), warmup_steps=warmup)
    return {"recipe": {"schedule": to_plain(resized)}}
