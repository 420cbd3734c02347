"""Peak memory of a fit, each method in a process of its own: ``python -m benchmarks.memory METHOD FILE SCALE V``.

The process loads the chunks and fits on a few of them first, so that neither the input nor imports nor compiled code
count; what the fit on all of them adds to the peak is reported.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Plan, Shape, Split
from benchmarks.timing import say

_METHODS = ("reference", "fastki")
_JITTER = 0.002  # normalised units: enough that no two copies of a chunk need have the same coefficients
_WARM_UP_CHUNKS = 500
_STATUS = Path("/proc/self/status")
_ROOT = Path(__file__).resolve().parents[1]


def measure_memory(plan: Plan, splits: dict[Shape, Split]) -> dict[str, Any]:
    """Megabytes that a fit of the plan's first shape and scale adds, for both methods on the same chunks."""
    split, scale = splits[plan.shapes[0]], plan.scales[0]
    row: dict[str, Any] = {
        "horizon": split.shape.horizon,
        "action_dim": split.shape.action_dim,
        "scale": scale,
        "vocab_size": plan.vocab_size,
        "chunks": plan.memory_chunks,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chunks.npy"
        np.save(path, enlarge(split.fitted, plan.memory_chunks))
        row["input_mb"] = path.stat().st_size / 1e6
        for method in _METHODS:
            say(f"memory: {method} on {plan.memory_chunks:,} chunks of {split.shape}")
            row[method] = _in_own_process(method, path, scale, plan.vocab_size)
    row["ratio"] = row["fastki"]["fit_mb"] / row["reference"]["fit_mb"] if row["reference"]["fit_mb"] else None
    return row


def enlarge(chunks: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """``count`` chunks: the given ones in turn, with a little seeded noise, in [-1, 1]."""
    noise = np.random.default_rng(0).normal(scale=_JITTER, size=(count, *chunks.shape[1:]))
    noise += chunks[np.arange(count) % len(chunks)]
    return np.clip(noise, -1.0, 1.0, out=noise)


def peak_mb() -> float:
    """The most memory that this process has held, in MB.

    On Linux from ``/proc``, since the peak that ``getrusage`` reports there begins with the parent's.
    """
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _in_own_process(method: str, path: Path, scale: float, vocab_size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", method, str(path), str(scale), str(vocab_size)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _fit(method: str, chunks: NDArray[np.float64], scale: float, vocab_size: int) -> None:
    if method == "reference":
        from benchmarks.reference import ReferenceFast

        ReferenceFast.fit(chunks, scale=scale, vocab_size=vocab_size)
    else:
        from benchmarks.speed import fit_at

        fit_at(chunks, vocab_size, scale=scale)


def main(method: str, path: str, scale: str, vocab_size: str) -> None:
    """Print the memory of one fit as JSON."""
    chunks = np.load(path)
    _fit(method, chunks[:_WARM_UP_CHUNKS], float(scale), int(vocab_size))
    before = peak_mb()
    _fit(method, chunks, float(scale), int(vocab_size))
    print(json.dumps({"fit_mb": peak_mb() - before, "before_mb": before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
