"""Peak memory of ``fastki fit`` on a long dataset: it must not grow with the number of frames.

    python -m benchmarks.streaming [--episodes 16000]

Two runs, each in a process of its own: a short dataset and one that is long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, machine_line
from fastki.data import open_dataset

LONG, SHORT = 16_000, 500
_ROOT = Path(__file__).resolve().parents[1]
_RUN = f"""
import sys
sys.path.append({str(_ROOT)!r})
from benchmarks.memory import peak_mb
from fastki.cli.main import run
try:
    run(sys.argv[1:])
finally:
    print(round(peak_mb()), file=sys.stderr)
"""


@dataclass(frozen=True)
class Peak:
    """One fit: frames in the dataset, chunks fitted on, seconds, and the process's peak memory in MB."""

    frames: int
    chunks: int
    seconds: float
    megabytes: int


def measure(episodes: int) -> Peak:
    """Fit on so many episodes of the built-in data (about 126 frames each) in a process of its own."""
    data = f"synthetic:droid?episodes={episodes}"
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-c", _RUN, "fit", data, "--out", f"{folder}/tokenizer", "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        seconds = time.perf_counter() - started
    frames = open_dataset(data).info.num_frames
    return Peak(frames, json.loads(done.stdout)["chunks"], seconds, int(done.stderr.split()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=LONG)
    asked = parser.parse_args()
    print(machine_line(describe_machine()))
    for episodes in sorted({min(SHORT, asked.episodes), asked.episodes}):
        peak = measure(episodes)
        print(
            f"{peak.frames:>9,} frames: {peak.megabytes:>5,} MB at the peak, {peak.seconds:.0f} s, "
            f"{peak.chunks:,} chunks fitted on"
        )


if __name__ == "__main__":
    main()
