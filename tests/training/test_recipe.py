"""The configuration of how parameters learn."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fastki.config import from_plain, to_plain
from fastki.errors import UsageError
from fastki.training.optimizer import AdamW, Rates
from fastki.training.recipe import Recipe
from fastki.training.schedule import Schedule
from fastki.training.selection import Selection

FULL = Recipe(
    schedule=Schedule("rsqrt"),
    optimizer=AdamW(clip_gradient_norm=None),
    rates=Rates(tower=0.1),
    select=Selection(train=("lora",), freeze=("re:.*bias",)),
    ema_decay=None,
    accumulate=4,
    frozen_dtype="bfloat16",
)


@pytest.mark.parametrize("recipe", [Recipe(), FULL])
def test_there_and_back_through_json(recipe):
    assert from_plain(Recipe, json.loads(json.dumps(to_plain(recipe)))) == recipe


def test_configurations_and_listings_of_checkpoints_load_no_heavy_library():
    modules = ", ".join(f"fastki.training.{name}" for name in ("recipe", "hosts", "steps", "interruption"))
    code = f"import {modules}, sys; print([name for name in ('jax', 'optax', 'orbax') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"ema_decay": 1.0}, "ema_decay must be above 0 and below 1, or none"),
        ({"ema_decay": 0.0}, "ema_decay must be above 0 and below 1, or none"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"frozen_dtype": "float16"}, "must be one of float32, bfloat16"),
        ({"acumulate": 2}, "did you mean 'accumulate'"),
        ({"select": {"freze": []}}, "did you mean 'freeze'"),
        ({"rates": {"towr": 1.0}}, "did you mean 'tower'"),
    ],
)
def test_what_is_no_recipe_is_refused(plain, message):
    with pytest.raises(UsageError, match=message):
        from_plain(Recipe, plain)
