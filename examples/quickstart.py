# %% [markdown]
# # Fit a tokenizer, see what it loses, sample from it
#
# Runs on the built-in sample in a few seconds; put the folder of a LeRobot dataset in its place.

# %%
import sys
import tempfile

import numpy as np

from fastki import FastTokenizer, open_dataset
from fastki.data import ChunkSpec, gather_chunks
from fastki.tokenizer import (
    FitOptions,
    FitSettings,
    RoundTripOptions,
    TokenGrammar,
    fit_on_dataset,
    roundtrip_on_dataset,
)

dataset = open_dataset(sys.argv[1] if len(sys.argv) > 1 else "synthetic:droid?episodes=24")
print(f"{dataset.info.num_episodes} episodes of {dataset.info.action_dim} dimensions at {dataset.info.fps} Hz")

# %% [markdown]
# ## Two ways to fix the precision
# An error bound that every value keeps, or FAST's plain rounding to a number of bins.

# %%
for settings in (FitSettings(atol=0.01), FitSettings(bins=20), FitSettings(bins=20, order="dim")):
    fitted = fit_on_dataset(dataset, FitOptions(settings, horizon=16))
    heldout = fitted.heldout or fitted.fitted
    print(
        f"{fitted.tokenizer.codec.bins:5.0f} bins, order {settings.order}: {heldout.tokens_mean:5.1f} tokens a chunk, "
        f"RMSE {heldout.rmse:.4f}, largest error {heldout.max_abs_error:.4f}"
    )

# %% [markdown]
# ## What it means in the robot's own units

# %%
tokenizer = fit_on_dataset(dataset, FitOptions(FitSettings(atol=0.01), horizon=16)).tokenizer
measured = roundtrip_on_dataset(tokenizer, dataset, RoundTripOptions(atol=0.01))
for dim in measured.result.per_dim:
    print(f"{dim.name:20} off by at most {dim.max_abs_error_native:.4f} {dim.unit or ''}")

# %% [markdown]
# ## Save it, load it anywhere
# `AutoProcessor.from_pretrained(folder, trust_remote_code=True)` loads the same folder.

# %%
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save(f"{folder}/tokenizer")
    loaded = FastTokenizer.load(f"{folder}/tokenizer")
chunk = gather_chunks(dataset, ChunkSpec(horizon=16), max_chunks=1).chunks.actions
print("tokens of one chunk:", *loaded.encode(chunk)[0])

# %% [markdown]
# ## Sample under the grammar
# Whatever a policy's logits are (here: random), what it samples decodes without a repair.

# %%
grammar, rng = TokenGrammar.of(tokenizer), np.random.default_rng(0)
state, sampled = grammar.start(1), []
while grammar.allowed(state).any():
    logits = np.where(grammar.allowed(state)[0], rng.gumbel(size=tokenizer.vocab_size), -np.inf)
    sampled.append(int(logits.argmax()))
    state = grammar.advance(state, np.array(sampled[-1:]))
print(f"{len(sampled)} random tokens give a chunk of shape", tokenizer.decode([sampled], strict=True)[0].shape)
