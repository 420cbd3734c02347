"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.fft

os.environ["HF_HUB_OFFLINE"] = "1"  # No test may reach the hub, nor wait for it; read when its library is loaded.
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def fresh_kernels() -> None:
    """Compiled code of before an edit must not pass for the edited one; and no test is the one that compiles."""
    from fastki.tokenizer.kernels import forget_stale_kernels, warm_up

    forget_stale_kernels()
    warm_up()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and golden vectors beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real recordings and golden vectors at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def walks() -> np.ndarray:
    """Smooth random chunks, float64 [400, 16, 4]: low frequencies dominate, as in robot data."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(400, 16, 4)) * 0.08
    return np.cumsum(steps, axis=1) + rng.normal(size=(400, 1, 4)) * 0.3


@pytest.fixture(scope="session")
def max_error() -> Callable[[np.ndarray, float], float]:
    """Largest absolute error of chunks [N, H, A] whose DCT is rounded to multiples of 1 / scale, by SciPy."""

    def measure(normalized: np.ndarray, scale: float) -> float:
        coefficients = scipy.fft.dct(normalized, axis=1, norm="ortho")
        decoded = scipy.fft.idct(np.rint(coefficients * scale) / scale, axis=1, norm="ortho")
        return float(np.abs(decoded - normalized).max())

    return measure


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder; returns exit code, standard output and standard error."""
    from fastki.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("fastki.cli.progress_lines.EVERY", np.inf)  # However slow the machine, nothing is long.

    def call(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            run(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory) -> Path:
    """The smallest run there is, trained for three steps; tests leave it as it is."""
    pytest.importorskip("flax")
    from dummy_run import train_dummy

    folder = tmp_path_factory.mktemp("trained") / "run"
    train_dummy(folder)
    return Path(folder)
