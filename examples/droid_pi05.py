# %% [markdown]
# # π0.5 on DROID with knowledge insulation, from openpi's weights to a folder that openpi serves
#
# ```
# python examples/droid_pi05.py --weights gs://openpi-assets/checkpoints/pi05_base --data ~/data/droid --out runs/droid
# ```
#
# You give the paths: to the weights (an openpi checkpoint with or without its assets, a run, or PaliGemma's `.npz`), to
# DROID (LeRobot or RLDS), and to PaliGemma's text tokenizer (a SentencePiece `.model`, or a hub id that you may read).
# Stopped, the same command goes on. `--set network.size=dummy` and the like make it small, to try everything first.

# %%
import argparse
from pathlib import Path

from fastki.evaluation.evaluate import EvalOptions, evaluate
from fastki.evaluation.open_loop import OpenLoopOptions
from fastki.evaluation.reopen import ReopenOptions, reopen
from fastki.export.run import ExportOptions, export
from fastki.export.source import policy_source
from fastki.training.loop import train
from fastki.training.open_run import open_run
from fastki.training.presets import configured, preset

parser = argparse.ArgumentParser(description="π0.5 with knowledge insulation on DROID")
parser.add_argument("--weights", required=True, help="openpi checkpoint, run, or PaliGemma's .npz; a folder or URL")
parser.add_argument("--data", required=True, help="DROID, as LeRobot or RLDS; a folder, URL or hub id")
parser.add_argument("--text", default="google/paligemma-3b-pt-224", help="PaliGemma's text tokenizer")
parser.add_argument("--out", type=Path, default=Path("runs/droid"))
parser.add_argument("--steps", type=int, default=30_000)
parser.add_argument("--lora", action="store_true", help="low-rank additions on a frozen backbone: one 80-GB GPU")
parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
asked = parser.parse_args()

# %% [markdown]
# ## What is trained
# `pi05_droid_ki` is π0.5's network with the FAST loss beside the flow and insulation between them. The tokenizer is
# fitted on DROID's action chunks; its ids go to the end of PaliGemma's vocabulary.

# %%
changes = {
    "data": {"uri": asked.data},
    "sequence": {"text": asked.text},
    "init": asked.weights,
    "steps": asked.steps,
}
config = configured(preset("pi05_ki_lora" if asked.lora else "pi05_droid_ki"), changes, asked.settings)
run = open_run(asked.out, config)
print(f"{len(run.setup.train):,} episodes to learn from, {len(run.setup.heldout):,} held out")
print(f"a vocabulary of {run.setup.tokenizer.vocab_size}, at most {run.setup.fast_tokens} FAST tokens a chunk")
outcome = train(run.machinery)
print(f"step {outcome.step:,}: {outcome.tally}")
if outcome.loaded is not None:
    print(outcome.loaded)

# %% [markdown]
# ## What it learnt
# Errors are of normalised actions, on held-out episodes, beside those of who knows nothing.

# %%
options = EvalOptions(OpenLoopOptions(most=512, ablate=("images", "prompt")), latency=False)
measured = evaluate(reopen(asked.out, ReopenOptions()), options).open_loop
for row in measured.rows:
    print(f"{row.name:18} {row.mae:.4f}, {row.of_mean:.2f} of the mean action's")

# %% [markdown]
# ## To the robot
# `fastki serve runs/droid` lets openpi's client drive it as it is; or openpi itself serves what is exported here.

# %%
checkpoint = run.folder.checkpoints / str(outcome.step)
out = asked.out / "openpi"
done = export(policy_source(checkpoint, str(asked.out), "droid"), ExportOptions("openpi", out, overwrite=True))
print(f"{done.folder}: {done.nbytes:,} bytes")
for note in done.notes:
    print(f"- {note}")
