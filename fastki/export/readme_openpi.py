"""The README of an export to openpi: the very lines that a user copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastki import __version__
from fastki.export.lora import kept_by_openpi
from fastki.export.source import Source
from fastki.export.words import in_python, in_shell, listed, one_line
from fastki.model.config import ModelConfig

if TYPE_CHECKING:
    from fastki.training.card import PolicyCard


def openpi_readme(source: Source, notes: tuple[str, ...], place: str) -> str:
    """Of the folder that will lie at ``place``."""
    what = "tokenizer" if source.card is None else "policy"
    parts = [f"# {one_line(source.name)} for openpi\n\nA {what}, exported by fastki {__version__}.", _contents(source)]
    parts.append(listed("What openpi can't do, or has to be told", notes))
    if source.card is not None:
        parts += [_config(source, source.card, place), _serve(place)]
    parts += [_fast(source, place)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _contents(source: Source) -> str:
    rows = [f"| `assets/{asset}/norm_stats.json` | the normalisation |" for asset in source.normalizers]
    if source.tokenizer is not None:
        rows.append("| `tokenizer/` | for `FASTTokenizer(fast_tokenizer_path=…)` |")
    if source.card is not None:
        step = "" if source.step is None else f" of step {source.step:,}"
        rows.insert(0, f"| `params/` | weights{step}, the moving average where one was kept |")
    return "\n".join(["| | |", "| --- | --- |", *rows, "| `export.json` | what it was made of |"])


def _config(source: Source, card: PolicyCard, place: str) -> str:
    return f"""## In `src/openpi/training/config.py`

Into `_CONFIGS`, with the inputs and outputs of your robot (DROID's here):

```python
TrainConfig(
    name="from_fastki",
    model={_model(source, card, place)},
    data=SimpleDataConfig(
        assets=AssetsConfig(assets_dir={in_python(f"{place}/assets")}, asset_id="{source.asset_id}"),
        data_transforms=lambda model: _transforms.Group(
            inputs=[droid_policy.DroidInputs(model_type=model.model_type)],
            outputs=[droid_policy.DroidOutputs()],
        ),
        base_config=DataConfig(prompt_from_task=True),
    ),
    weight_loader=weight_loaders.CheckpointWeightLoader({in_python(f"{place}/params")}),
),
```"""


def _model(source: Source, card: PolicyCard, place: str) -> str:
    model = card.model
    shape = f"action_dim={model.action_dim}, action_horizon={model.action_horizon}, max_token_len={model.max_token_len}"
    if model.kind == "pi0_fast":
        path = in_python(source.published or f"{place}/tokenizer")
        return f"""pi0_fast.Pi0FASTConfig(
        {shape},
        fast_model_tokenizer=_tokenizer.FASTTokenizer,
        fast_model_tokenizer_kwargs={{"fast_tokenizer_path": {path}}},
    )"""
    return f"pi0_config.Pi0Config({'pi05=True, ' if model.kind == 'pi05' else ''}{shape}{_variants(model)})"


def _variants(model: ModelConfig) -> str:
    names = ("paligemma_variant", "action_expert_variant"), ("gemma_2b_lora", "gemma_300m_lora")
    kept = kept_by_openpi(model)
    return "".join(f', {name}="{value}"' for name, value, keep in zip(*names, kept, strict=True) if keep)


def _serve(place: str) -> str:
    return f"""## Serving

```bash
uv run scripts/serve_policy.py policy:checkpoint --policy.config=from_fastki --policy.dir={in_shell(place)}
```"""


def _fast(source: Source, place: str) -> str:
    path = in_python(source.published or f"{place}/tokenizer")
    return f"""## The tokenizer

```python
from openpi.models.tokenizer import FASTTokenizer

tokenizer = FASTTokenizer(fast_tokenizer_path={path})
```

openpi uses it in π0-FAST, whose configuration takes it:

```python
Pi0FASTConfig(fast_model_tokenizer=FASTTokenizer, fast_model_tokenizer_kwargs={{"fast_tokenizer_path": {path}}})
```

Its π0.5 acts by the flow and needs none."""
