"""The machine as this process may use it: processors, memory, disk, accelerators, and folders with their sizes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds that a trial in a process of its own may take."""
_WALK = 0.8  # Seconds that the size of a folder may take: a large cache is then "more than" what was counted.
_PROBE = Path(__file__).with_name("doctor_probe.py")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        system: kernel and architecture.
        python: implementation and version.
        executable: of Python.
        cores: processors that this process may run on; machine_cores: those of the machine.
        memory, memory_free: bytes, of the machine or of the container's limit; None where they can't be told.
        folder: the working folder; disk_free: bytes free there; writable: whether it can be written to.
        gpus: NVIDIA's, by its driver: name, memory and driver version.
    """

    system: str
    python: str
    executable: str
    cores: int
    machine_cores: int
    memory: int | None
    memory_free: int | None
    folder: str
    disk_free: int
    writable: bool
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Folder:
    """A folder that something is kept in.

    Attributes:
        what: is kept there.
        path: where.
        size: bytes of its files; None if it isn't there yet.
        whole: whether all files were counted, or the time was up.
        writable: whether it, or the folder that it would be made in, can be written to.
    """

    what: str
    path: str
    size: int | None
    whole: bool
    writable: bool


@dataclass(frozen=True)
class Device:
    """One device as JAX sees it; ``memory`` in bytes, None where it doesn't say."""

    kind: str
    platform: str
    memory: int | None


@dataclass(frozen=True)
class Accelerators:
    """What JAX says.

    Attributes:
        version, jaxlib: of JAX; None where it isn't installed.
        backend: ``cpu``, ``gpu`` or ``tpu``; None where it could not be asked.
        devices: all of them.
        error: why it could not be asked, a line.
    """

    version: str | None
    jaxlib: str | None
    backend: str | None
    devices: tuple[Device, ...]
    error: str | None


def this_machine() -> Machine:
    """The machine, without accelerators' libraries."""
    memory, free = _memory()
    folder = Path.cwd()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        executable=sys.executable,
        cores=_cores(),
        machine_cores=os.cpu_count() or 1,
        memory=memory,
        memory_free=free,
        folder=str(folder),
        disk_free=shutil.disk_usage(folder).free,
        writable=os.access(folder, os.W_OK),
        gpus=_gpus(),
    )


def look_at(what: str, path: Path) -> Folder:
    """A folder, with the size of what lies in it; links don't count."""
    there = path.is_dir()
    base = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    size, whole = _size(path) if there else (None, True)
    return Folder(what, str(path), size, whole, base.is_dir() and os.access(base, os.W_OK))


def start_trial(task: str, names: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a task of :mod:`fastki.report.doctor_probe` in a process of its own."""
    # -P keeps a jax.py in the working folder out of it; and no memory of a GPU is taken from others.
    return subprocess.Popen(
        [sys.executable, "-P", str(_PROBE), task, *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )


def end_trial(process: subprocess.Popen[str]) -> tuple[list[Any], str | None]:
    """What a trial found, and why it did not end well, a line."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        return _findings(out), f"no answer within {PATIENCE:g} s"
    if process.returncode == 0:
        return _findings(out)[:-1], None
    said = [line.strip() for line in err.splitlines() if line.strip()]
    return _findings(out), said[-1] if said else f"the process ended with {process.returncode}"


def ask_jax(process: subprocess.Popen[str], version: str | None, jaxlib: str | None) -> Accelerators:
    """What JAX said in a trial that was started before."""
    found, error = end_trial(process)
    if error is not None:
        return Accelerators(version, jaxlib, None, (), error)
    said = next(one for one in reversed(found) if isinstance(one, dict))
    return Accelerators(version, jaxlib, said["backend"], tuple(Device(*one) for one in said["devices"]), None)


def _findings(out: str) -> list[Any]:
    findings = []
    for line in out.splitlines():
        with contextlib.suppress(ValueError):  # A library may print something of its own.
            findings.append(json.loads(line))
    return findings


def _cores() -> int:
    """Processors by this process's affinity and the container's share."""
    # Not on macOS and Windows.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    return min(cores, max(1, -(-int(quota) // int(period)))) if quota.isdecimal() and period.isdecimal() else cores


def _memory() -> tuple[int | None, int | None]:
    """Bytes, all and available."""
    lines = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    if "MemTotal" not in lines:
        pages = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys() if hasattr(os, "sysconf_names") else False
        return (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if pages else None), None
    whole, free = (int(lines.get(name, "0 kB").split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if limit.isdecimal() and used.isdecimal() and int(limit) < whole:
        return int(limit), min(free, max(0, int(limit) - int(used)))
    return whole, free


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()


def _size(folder: Path) -> tuple[int, bool]:
    """Bytes of the files in a folder, and whether there was time to count all."""
    deadline, size = time.monotonic() + _WALK, 0
    waiting = [folder]
    while waiting:
        if time.monotonic() > deadline:
            return size, False
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    size += entry.stat(follow_symlinks=False).st_size
    return size, True


def _read(path: Path) -> str:
    """A small file of the system; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
