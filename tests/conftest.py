"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from processes import end_launched

os.environ["HF_HUB_OFFLINE"] = "1"  # No test may reach the hub, nor wait for it; read when its library is loaded.
SHARED = Path(__file__).resolve().parents[2] / "shared"
COMPILED = pytest.StashKey[str]()


class Failures:
    """Tells of failures as they come: a run that is ended from outside never comes to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.write_line(f"\n{report.nodeid} failed in its {report.when}, after {report.duration:.0f} s")
            terminal.write_line(report.longreprtext[-3000:])


def pytest_configure(config: pytest.Config) -> None:
    """Where several processes run tests, what the one that starts them does for all."""
    if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        return
    share_compiled(config)
    if os.environ.get("CI"):
        config.pluginmanager.register(Failures(config))


def share_compiled(config: pytest.Config) -> None:
    """What tests and the processes that they start compile is compiled once.

    The folder of what is compiled is this run's own: nothing of before an edit can pass for the edited.
    """
    config.stash[COMPILED] = folder = tempfile.mkdtemp(prefix="fastki-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)  # Without a limit JAX does not lock its files.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


def pytest_unconfigure(config: pytest.Config) -> None:
    """What was compiled goes."""
    if COMPILED in config.stash:
        shutil.rmtree(config.stash[COMPILED], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell starts what it runs in the background with Ctrl-C ignored, and so would be what tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Whatever :mod:`processes` launched ends with its test, passed or failed."""
    yield
    end_launched()


@pytest.fixture(autouse=True)
def no_test_gets_ahead_of_all_others() -> Iterator[None]:
    """A process in real time starts others like it, and they take the machine for themselves."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) not in (os.SCHED_FIFO, os.SCHED_RR)


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
