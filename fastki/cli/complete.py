"""What the shell offers for a word when Tab is pressed: quick, so nothing heavy is imported and nothing opened.

Each function takes the word so far and returns whole words. Files and folders are offered beside the names that fastki
knows; where none of those fits, nothing is returned and the shell goes through the files itself, as it does best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fastki.cli.options import OUT, SAMPLE

_DATA_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".zarr", ".zip", ".toml")
_TOKENIZER_MARKS = ("fastki.json", "processor_config.json")


def data(incomplete: str) -> list[str]:
    """The built-in dataset, beside folders and files of a format that is read."""
    return _offer([SAMPLE], incomplete, _is_data)


def tokenizers(incomplete: str) -> list[str]:
    """Tokenizer folders here and in ``fastki-out``, beside the folders in which others may be."""
    return _offer(_tokenizers_near(), incomplete, lambda _: False)


def tokenizers_or_data(incomplete: str) -> list[str]:
    """Either of the two."""
    return _offer([SAMPLE, *_tokenizers_near()], incomplete, _is_data)


def layouts(incomplete: str) -> list[str]:
    """Presets, also after a comma, beside files of one's own."""
    from fastki.sequence.layout import PRESETS

    before, comma, last = incomplete.rpartition(",")
    left = [name for name in PRESETS if name not in before.split(",")]
    return [before + comma + name for name in _offer(left, last, lambda path: path.suffix == ".toml")]


def models(incomplete: str) -> list[str]:
    """Sizes of models."""
    from fastki.sequence.sizes import SIZES

    return _starting(SIZES, incomplete)


def robots(incomplete: str) -> list[str]:
    """Robot presets."""
    from fastki.data.robots import ROBOTS

    return _starting(["auto", "none", *ROBOTS], incomplete)


def texts(incomplete: str) -> list[str]:
    """The built-in text tokenizer, beside folders and files of SentencePiece."""
    return _offer(["byte"], incomplete, lambda path: path.suffix == ".model")


def _offer(known: Iterable[str], incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    """Those of ``known`` that fit, and with them every folder and wanted file that does."""
    names = _starting(known, incomplete)
    return list(dict.fromkeys([*names, *_paths(incomplete, wanted)])) if names else []


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    folder, slash, start = incomplete.rpartition("/")
    found = []
    for path in _inside(Path(folder + slash)):
        if path.name.startswith(start) and (start or not path.name.startswith(".")) and path.name.isprintable():
            if path.is_dir() and not _is_tokenizer(path):
                found.append(f"{folder}{slash}{path.name}/")
            elif path.is_dir() or wanted(path):
                found.append(f"{folder}{slash}{path.name}")
    return found


def _tokenizers_near() -> list[str]:
    return [str(path) for folder in (Path(), OUT) for path in _inside(folder) if _is_tokenizer(path)]


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_data(path: Path) -> bool:
    return path.suffix in _DATA_SUFFIXES


def _is_tokenizer(path: Path) -> bool:
    return any((path / mark).is_file() for mark in _TOKENIZER_MARKS)
