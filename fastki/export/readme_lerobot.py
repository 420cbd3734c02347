"""The README of an export to LeRobot."""

from __future__ import annotations

import json

from fastki import __version__
from fastki.export.lerobot_files import norm_map, rename_map
from fastki.export.source import Source
from fastki.export.words import in_python, in_shell, listed, one_line


def lerobot_readme(source: Source, notes: tuple[str, ...], place: str, *, runs: bool) -> str:
    """Of the folder that will lie at ``place``; ``runs``: LeRobot's pi05 can be made of it."""
    what = "tokenizer" if source.card is None else "policy"
    parts = [
        f"# {one_line(source.name)} for LeRobot\n\nA {what}, exported by fastki {__version__}.",
        _contents(source, runs),
    ]
    parts.append(listed("What LeRobot can't do, or has to be told", notes))
    if runs and source.card is not None:
        parts += [_load(place), _cameras(rename_map(source.card))]
    parts.append(_fast(source, place))
    return "\n\n".join(part for part in parts if part) + "\n"


def _contents(source: Source, runs: bool) -> str:
    rows = []
    if source.card is not None:
        rows += [
            "| `model.safetensors` | weights, float32, under the names of openpi's PyTorch model and LeRobot's pi05 |",
            "| `name_map.json` | each of them → openpi's JAX array, and how its axes go |",
        ]
    if runs:
        rows.append("| `config.json`, `policy_*processor.json` | for `PI05Policy.from_pretrained` and its processors |")
    if source.tokenizer is not None:
        rows.append("| `tokenizer/` | for `policy.action_tokenizer_name` |")
    several = len(source.normalizers) > 1
    places = [f"assets/{asset}/" if several else "" for asset in source.normalizers]
    rows += [f"| `{place}stats.json` | statistics as in a dataset's `meta/stats.json` |" for place in places]
    rows += [
        f"| `{place}policy_*normalizer_processor.safetensors` | the same as the state of LeRobot's normalisers |"
        for place in places
    ]
    rows += [
        "| `export.json` | what it was made of |",
    ]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _load(place: str) -> str:
    return f"""## The policy

```python
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi05.modeling_pi05 import PI05Policy

policy = PI05Policy.from_pretrained({in_python(place)})
preprocess, postprocess = make_pre_post_processors(policy.config, pretrained_path={in_python(place)})
```"""


def _cameras(names: dict[str, str]) -> str:
    if not names:
        return ""
    rows = [f"| `{one_line(camera)}` | `{picture}` |" for camera, picture in names.items()]
    table = "\n".join(["| camera | picture of the policy |", "| --- | --- |", *rows])
    return f"""## The cameras

{table}

The preprocessor renames them. LeRobot's commands put a map of their own in its place, an empty one if none is given:

```bash
--rename_map={in_shell(json.dumps(names))}
```"""


def _fast(source: Source, place: str) -> str:
    words = ["--policy.type=pi0_fast", f"--policy.action_tokenizer_name={in_shell(_name(source, place))}"]
    if horizon := _horizon(source):
        words.append(f"--policy.chunk_size={horizon} --policy.n_action_steps={horizon}")
    modes = norm_map(source)
    if "state" not in source.normalizers[source.asset_id]:
        modes["STATE"] = modes["ACTION"]  # The data's own: LeRobot writes it into the prompt, in bins of [-1, 1].
    words += [f"--policy.normalization_mapping={in_shell(json.dumps(modes))}", "…"]
    lines = " \\\n    ".join(words)
    return f"""## The tokenizer

LeRobot's π0-FAST takes it, and runs its code. Its own defaults are other chunks and another normalisation than the
tokenizer was fitted on, and it reads chunks of `n_action_steps`:

```bash
lerobot-train \\
    {lines}
```

`stats.json` can stand for the `meta/stats.json` of the dataset trained on, so that actions reach the tokenizer as they
did when it was fitted; its `q99` has the 1e-6 in it that openpi adds to a range and LeRobot does not."""


def _name(source: Source, place: str) -> str:
    return source.published or f"{place}/tokenizer"


def _horizon(source: Source) -> int | None:
    if source.tokenizer is not None:
        return source.tokenizer.horizon
    return None if source.card is None else source.card.model.action_horizon
