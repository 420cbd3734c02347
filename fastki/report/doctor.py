"""Is everything here that fastki needs? Libraries, optional extras, devices, folders, and what is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fastki import __version__
from fastki.report.doctor_machine import (
    Accelerators,
    Folder,
    Machine,
    ask_jax,
    end_trial,
    look_at,
    start_trial,
    this_machine,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

VARIABLES = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "JAX_PLATFORMS",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables of the environment that change what fastki and its libraries do; none of them is a secret."""
_LITTLE_DISK = 2**30
_NAME = "fastki"
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)""")


@dataclass(frozen=True)
class Library:
    """A library that fastki, or one of its extras, asks for.

    Attributes:
        name: of the distribution, as pip knows it.
        wanted: versions that will do, such as ``>=1.26``.
        version: installed; None where it is missing.
        fault: what is wrong with it; None where nothing is.
    """

    name: str
    wanted: str
    version: str | None
    fault: str | None


@dataclass(frozen=True)
class Extra:
    """An optional part: its libraries, whether all are there, and the command that installs it."""

    name: str
    libraries: tuple[Library, ...]
    installed: bool
    command: str


@dataclass(frozen=True)
class Problem:
    """Something to mend: what is wrong, how to mend it, and whether fastki can't work without."""

    what: str
    mend: str
    required: bool


@dataclass(frozen=True)
class Checkup:
    """All that was looked at.

    Attributes:
        fastki: version.
        machine: with its memory, disk and GPUs.
        jax: its version, backend and devices.
        libraries: those that fastki requires.
        extras: optional ones, by name.
        folders: where things are kept.
        variables: those of :data:`VARIABLES` that are set.
        kernels_compiled: whether the codec's kernels are in Numba's cache; None where that can't be told.
        problems: what is wrong, the required first.
    """

    fastki: str
    machine: Machine
    jax: Accelerators
    libraries: tuple[Library, ...]
    extras: tuple[Extra, ...]
    folders: tuple[Folder, ...]
    variables: dict[str, str]
    kernels_compiled: bool | None
    problems: tuple[Problem, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing that is required is broken."""
        return not any(problem.required for problem in self.problems)


def examine(out: Path) -> Checkup:
    """Look at everything; ``out`` is the folder where commands put their results.

    What may crash or hang runs in processes of its own, so that this always comes back.
    """
    asked = _requirements()
    jax_version, jaxlib = _version("jax"), _version("jaxlib")
    jax_trial = start_trial("jax") if jax_version else None
    required = _checked_imports(libraries_of(asked))
    machine = this_machine()
    kernels, compiled = _kernels(required)
    folders = (
        look_at("results", out),
        look_at("Hugging Face hub", hub_cache(os.environ)),
        *([] if kernels is None else [look_at("compiled kernels", kernels)]),
    )
    none = Accelerators(None, None, None, (), None)
    jax = none if jax_trial is None else ask_jax(jax_trial, jax_version, jaxlib)
    return Checkup(
        fastki=__version__,
        machine=machine,
        jax=jax,
        libraries=required,
        extras=extras_of(asked),
        folders=folders,
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        kernels_compiled=compiled,
        problems=tuple(sorted(_problems(asked, required, machine, jax, folders), key=lambda one: not one.required)),
    )


def libraries_of(requirements: Sequence[str], extra: str = "") -> tuple[Library, ...]:
    """The libraries that fastki requires, or that one of its extras adds; extras in an extra are looked into.

    Args:
        requirements: as a distribution's metadata list them.
        extra: its name.
    """
    from packaging.requirements import Requirement

    found: dict[str, Library] = {}
    waiting, seen = [extra], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for one in (one for one in map(Requirement, requirements) if _asks(one, name)):
            if one.name == _NAME:
                waiting += sorted(one.extras - seen)
            else:
                found[one.name] = _library(one.name, str(one.specifier))
    return tuple(found[name] for name in sorted(found))


def extras_of(requirements: Sequence[str]) -> tuple[Extra, ...]:
    """Every extra that the requirements name, so that a new one appears by itself."""
    extras = []
    for name in sorted({name for text in requirements for name in _EXTRA.findall(text)}):
        libraries = libraries_of(requirements, name)
        fine = all(library.fault is None for library in libraries)
        extras.append(Extra(name, libraries, fine, f"pip install '{_NAME}[{name}]'"))
    return tuple(extras)


def _asks(requirement: Requirement, extra: str) -> bool:
    """Whether something is asked for by this extra; with none, whether it is required."""
    marker = requirement.marker
    always = marker is None or marker.evaluate({"extra": ""})
    return always if not extra else not always and marker is not None and marker.evaluate({"extra": extra})


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's library keeps what it fetched, by the variables that it reads."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(environment[name]).expanduser()
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(environment.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"


def _requirements() -> list[str]:
    """What fastki's own metadata ask for; nothing where it runs without being installed."""
    try:
        return metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str, wanted: str) -> Library:
    from packaging.specifiers import SpecifierSet

    version = _version(name)
    fault = "missing" if version is None else None
    if version is not None and not SpecifierSet(wanted).contains(version, prereleases=True):
        fault = f"{version} is installed, {wanted} is needed"
    return Library(name, wanted, version, fault)


def _checked_imports(libraries: Sequence[Library]) -> tuple[Library, ...]:
    """The same, where one that is installed but can't be imported has that as its fault."""
    modules = {_module(one.name): one.name for one in libraries if one.version is not None}
    faults: dict[str, str] = {}
    waiting = [module for module in modules if module]
    while waiting:
        tried, error = end_trial(start_trial("import", waiting))
        if error is None:
            break
        bad = next((name for name in reversed(tried) if name in modules), waiting[0])
        faults[modules[bad]] = f"can't be imported: {error}"
        waiting = waiting[waiting.index(bad) + 1 :]
    return tuple(
        Library(one.name, one.wanted, one.version, one.fault or faults.get(one.name)) for one in libraries
    )  # fmt: skip


def _module(distribution: str) -> str:
    """The module that a distribution is imported as; "" where its files don't say."""
    files = metadata.distribution(distribution).files or []
    packages = [path.parts[0] for path in files if path.name == "__init__.py" and len(path.parts) == 2]
    like = distribution.replace("-", "_").lower()
    return next((name for name in packages if name.lower() == like), packages[0] if packages else "")


def _kernels(libraries: Sequence[Library]) -> tuple[Path | None, bool | None]:
    """Where the codec's compiled kernels lie, and whether they are all there."""
    if not libraries or any(library.fault for library in libraries):
        return None, None
    from fastki.tokenizer.kernels import kernel_cache, kernels_are_compiled

    return kernel_cache(), kernels_are_compiled()


def _problems(
    asked: Sequence[str],
    libraries: Sequence[Library],
    machine: Machine,
    jax: Accelerators,
    folders: Sequence[Folder],
) -> list[Problem]:
    found = [
        Problem(f"{one.name}: {one.fault}", f"pip install --force-reinstall '{one.name}{one.wanted}'", required=True)
        for one in libraries
        if one.fault
    ]
    if not asked:
        found.append(Problem("fastki is not installed, so its libraries are not known", "pip install -e .", False))
    elif _version(_NAME) != __version__:
        found.append(Problem(f"pip knows fastki {_version(_NAME)}, not {__version__}", "install it again", False))
    if jax.error is not None:
        found.append(Problem(f"JAX does not work: {jax.error}", "pip install --upgrade 'fastki[probe]'", False))
    if machine.gpus and jax.backend == "cpu":
        found.append(Problem("there is a GPU, and JAX does not use it", "pip install --upgrade 'jax[cuda12]'", False))
    if not machine.writable:
        found.append(Problem(f"{machine.folder} can't be written to", "give commands an --out elsewhere", False))
    if machine.disk_free < _LITTLE_DISK:
        found.append(
            Problem(f"little room is left in {machine.folder}", "make some, or give an --out elsewhere", False)
        )
    for folder in folders:
        if folder.what != "results" and not folder.writable:
            found.append(Problem(f"{folder.path} ({folder.what}) can't be written to", _MENDS[folder.what], False))
    return found


_MENDS = {
    "Hugging Face hub": "set HF_HOME to a folder that can be",
    "compiled kernels": "set NUMBA_CACHE_DIR to a folder that can be, or every start compiles anew",
}
