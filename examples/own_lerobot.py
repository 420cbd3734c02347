# %% [markdown]
# # Your own arm: from a LeRobot dataset to a policy and its error
#
# `python examples/own_lerobot.py DATASET base_0_rgb=observation.images.top [steps]`. The second argument says which
# camera fills which of openpi's slots; with a robot that fastki knows it may be `auto`. Without arguments the script
# writes a small LeRobot v3.0 dataset first, so that it runs anywhere with `pip install 'fastki[train,video]'`.

# %%
import sys
from pathlib import Path

from fastki import open_dataset
from fastki.data.formats.lerobot_write import Demonstration, Description, write_lerobot
from fastki.evaluation.evaluate import EvalOptions, evaluate
from fastki.evaluation.reopen import ReopenOptions, reopen
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset
from fastki.training.loop import train
from fastki.training.open_run import open_run
from fastki.training.presets import configured, preset


def written_here(folder: Path) -> str:
    """Twelve episodes of the built-in reaching task, in the format of a recording."""
    import numpy as np

    source = open_dataset("synthetic:reach?episodes=12&size=32")
    episodes = (
        Demonstration(
            task=episode.prompt,
            columns={"action": episode.actions, "observation.state": episode.state},
            images={"observation.images.top": np.stack(list(episode.images["exterior_image_1_left"]))},
        )
        for episode in source
    )
    names = {"action": source.info.action_names, "observation.state": source.info.state_names}
    write_lerobot(folder, episodes, Description(fps=15, robot="my arm", names=names))
    return str(folder)


given = sys.argv[1:] if len(sys.argv) > 2 else []
data, slots, *more = given or (written_here(Path("my_dataset")), "base_0_rgb=observation.images.top")
steps = int(more[0]) if more else 2
opened = {} if slots == "auto" else {"slots": slots}
dataset = open_dataset(data, **opened)
print(f"{dataset.info.robot}: {len(dataset)} episodes of {dataset.info.action_dim} dimensions at {dataset.info.fps} Hz")
print("cameras:", ", ".join(f"{slot} = {camera}" for slot, camera in dataset.info.slots.items()))

# %% [markdown]
# ## A tokenizer of these actions, and what it loses in their own units

# %%
fitted = fit_on_dataset(dataset, FitOptions(FitSettings(vocab_size=128, bins=16), horizon=8))
fitted.tokenizer.save("my_tokenizer")
heldout = fitted.heldout or fitted.fitted
print(f"{heldout.tokens_mean:.1f} tokens a chunk")
for dim in heldout.per_dim:
    print(f"{dim.name:24} off by {dim.rmse_native:.4f} {dim.unit or ''}, at most {dim.max_abs_error_native:.4f}")

# %% [markdown]
# ## A policy
# `tiny` is a network for two processor cores, and a first look; `small` is for a GPU, and `pi05_droid_ki` begins with
# openpi's weights. The same script again goes on where it stopped.

# %%
changes = {"data": {"uri": data, "opened": opened}, "tokenizer": {"path": "my_tokenizer"}, "steps": steps}
run = open_run(Path("my_run"), configured(preset("tiny"), changes, []))
outcome = train(run.machinery)
print(f"step {outcome.step:,}: {outcome.tally}")

# %%
measured = evaluate(reopen(Path("my_run"), ReopenOptions()), EvalOptions(latency=False))
for row in measured.open_loop.rows:
    print(f"{row.name:18} {row.mae:.4f}, {row.of_mean:.2f} of the mean action's")
print("next: fastki serve my_run, or fastki export my_run --to lerobot")
