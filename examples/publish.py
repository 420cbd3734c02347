# %% [markdown]
# # Publish a tokenizer
#
# `python examples/publish.py my_tokenizer me/my-tokenizer` uploads the folder of `fastki fit` to the Hugging Face hub,
# under the account of `hf auth login`. Without a repository it only says what is there. Whoever loads it needs none:
# `AutoProcessor.from_pretrained("me/my-tokenizer", trust_remote_code=True)`. With fastki no code of the
# repository runs: `fastki roundtrip me/my-tokenizer DATA`.

# %%
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from fastki import open_dataset
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset, load_tokenizer

if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
    folder = Path(sys.argv[1])
else:
    sample = open_dataset(sys.argv[1] if len(sys.argv) > 1 else "synthetic:droid?episodes=24")
    folder = Path(tempfile.mkdtemp()) / "tokenizer"
    fit_on_dataset(sample, FitOptions(FitSettings(vocab_size=512, atol=0.01))).tokenizer.save(folder)

# %% [markdown]
# What is there: the vocabulary, the normaliser that goes with it, a README with what was measured, and the processor
# that `AutoProcessor` runs.

# %%
tokenizer = load_tokenizer(folder)
print(f"a vocabulary of {tokenizer.vocab_size}; chunks of {tokenizer.horizon} × {tokenizer.action_dim}")
for path in sorted(folder.iterdir()):
    print(f"{path.stat().st_size:>9,} bytes  {path.name}")

# %%
if len(sys.argv) > 2:
    api = HfApi()
    api.create_repo(sys.argv[2], exist_ok=True)
    where = api.upload_folder(repo_id=sys.argv[2], folder_path=folder, commit_message="A FAST tokenizer of fastki")
    print(f"published: {where}")
else:
    print("nothing was uploaded: name a repository, such as me/my-tokenizer, as the second argument")
