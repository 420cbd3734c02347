# %% [markdown]
# # fastki in a notebook: data frames and figures
#
# Every command is a library function that returns data, and what draws it returns a Matplotlib figure, which a notebook
# shows by itself. As a script this writes them to `notebook-figures/`: `python examples/notebook.py [DATA]`.

# %%
import itertools
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fastki import open_dataset
from fastki.report.figures import reconstruction, save
from fastki.report.layout_figures import attention_masks
from fastki.sequence.layout import PRESETS
from fastki.tokenizer import FitOptions, FitSettings, RoundTripOptions, fit_on_dataset, roundtrip_on_dataset

dataset = open_dataset(sys.argv[1] if len(sys.argv) > 1 else "synthetic:droid?episodes=24")
folder = Path("notebook-figures")

# %% [markdown]
# ## What is lost, and where

# %%
fitted = fit_on_dataset(dataset, FitOptions(FitSettings(vocab_size=512, bins=24), horizon=16))
measured = roundtrip_on_dataset(fitted.tokenizer, dataset, RoundTripOptions())
errors = pd.DataFrame(measured.result.per_dim)[["name", "unit", "rmse_native", "max_abs_error_native"]]
print(errors.to_string(index=False, float_format="%.4f"))

# %%
save(reconstruction(measured.result, fps=dataset.info.fps), folder / "reconstruction.png")

# %% [markdown]
# ## Vocabulary against precision
# A few tokenizers by hand; `fastki sweep`, or `fastki.study.sweep.sweep` in a script, does hundreds on all processors
# and goes on where it was stopped.

# %%
rows = []
for vocab, bins in itertools.product((128, 512), (12, 24, 48)):
    one = fit_on_dataset(dataset, FitOptions(FitSettings(vocab_size=vocab, bins=bins), horizon=16))
    heldout = one.heldout or one.fitted
    rows.append({"vocabulary": vocab, "bins": bins, "tokens a chunk": heldout.tokens_mean, "RMSE": heldout.rmse})
table = pd.DataFrame(rows)
print(table.to_string(index=False, float_format="%.3f"))

# %%
figure = Figure(figsize=(5, 3.5), layout="constrained")
axes = figure.subplots()
for vocab, part in table.groupby("vocabulary"):
    axes.plot(part["tokens a chunk"], part["RMSE"], marker="o", label=f"vocabulary {vocab}")
axes.set(xlabel="tokens a chunk", ylabel="RMSE, normalised")
axes.legend(frameon=False)
save(figure, folder / "tradeoff.png")

# %% [markdown]
# ## Who sees whom

# %%
masks = attention_masks([PRESETS["images-prompt-fast"], PRESETS["images-prompt-state-token-fast"]])
save(masks, folder / "masks.png")
print("wrote", *sorted(map(str, folder.glob("*.png"))))
