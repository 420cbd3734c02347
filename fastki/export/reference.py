"""Chunks to compare a tokenizer's ids on, and the ids that the exported folder gives without fastki."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastki.data import gather_chunks
from fastki.errors import FastkiError, TokenizerError
from fastki.tokenizer import FastTokenizer, RoundTripOptions, load_tokenizer
from fastki.tokenizer.replay import Replay, open_source

CHUNKS = 64
_SECONDS = 300
_CODE = """
import json, sys
import numpy as np
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
arrays = np.load(sys.argv[2])
more = {"previous": arrays["previous"]} if "previous" in arrays else {}
json.dump(processor(arrays["chunks"], **more), open(sys.argv[3], "w"))
"""


@dataclass(frozen=True, eq=False)
class Sample:
    """Chunks, normalised.

    Attributes:
        chunks: ``[N, H, A]`` float64.
        previous: ``[N, A]`` float64, the action before each; None where the tokenizer takes none.
        words: what they are.
    """

    chunks: NDArray[np.float64]
    previous: NDArray[np.float64] | None
    words: str


def draw_sample(tokenizer: FastTokenizer) -> Sample:
    """Held-out chunks of the data that the tokenizer was fitted on; random walks where those can't be read."""
    own = tokenizer.for_dataset(tokenizer.members[0].name) if tokenizer.members else tokenizer
    relative = own.codec.reference == "previous"
    try:
        replay = Replay.of(own, open_source(own), RoundTripOptions())
        found = gather_chunks(replay.dataset, replay.spec, episodes=replay.episodes, max_chunks=CHUNKS).chunks
    except FastkiError:
        rng = np.random.default_rng(0)
        steps = rng.normal(size=(CHUNKS, own.horizon, own.action_dim)) * 0.1
        walks = np.cumsum(steps, axis=1)
        return Sample(walks, walks[:, 0] if relative else None, f"{CHUNKS} random chunks: its data can't be read")
    normalizer = own.normalizer
    assert normalizer is not None, "it was fitted on data"
    words = f"{len(found)} {'held-out' if replay.part == 'heldout' else 'fitted'} chunks"
    previous = normalizer.normalize(found.previous) if relative else None
    return Sample(normalizer.normalize(found.actions), previous, words)


def ids_of(folder: Path, sample: Sample) -> tuple[list[list[int]], str]:
    """The ids of an exported tokenizer's folder, and who read it.

    As openpi and LeRobot do: ``AutoProcessor`` in a Python of its own, where transformers is installed. It runs the
    code in the folder, which has to be fastki's own, byte for byte.

    Raises:
        TokenizerError: it can't be read.
    """
    _require_own_code(folder)
    if importlib.util.find_spec("transformers") is None:
        own = load_tokenizer(folder)
        ids = own.encode_normalized(sample.chunks, previous=sample.previous)
        return [one.tolist() for one in ids], "fastki, as transformers is not installed"
    with tempfile.TemporaryDirectory() as scratch:
        arrays, result = Path(scratch, "chunks.npz"), Path(scratch, "ids.json")
        if sample.previous is None:
            np.savez(arrays, chunks=sample.chunks)
        else:
            np.savez(arrays, chunks=sample.chunks, previous=sample.previous)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": scratch}
        command = [sys.executable, "-c", _CODE, str(folder.absolute()), str(arrays), str(result)]
        try:
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_SECONDS, cwd=scratch)
            ids = json.loads(result.read_bytes())
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
            raise TokenizerError(
                f"{folder} can't be read by AutoProcessor ({lines[-1] if lines else 'no word'})"
            ) from error
        except (subprocess.TimeoutExpired, OSError, ValueError) as error:
            raise TokenizerError(f"{folder} can't be read by AutoProcessor ({error}): export again") from error
    return ids, "AutoProcessor"


def _require_own_code(folder: Path) -> None:
    own = importlib.resources.files("fastki.tokenizer") / "processing_fastki.py"
    file = folder / "processing_fastki.py"
    if not file.is_file() or file.read_text(encoding="utf-8") != own.read_text(encoding="utf-8"):
        raise TokenizerError(f"{file} is not the code that fastki writes, so it is not run: export again")
