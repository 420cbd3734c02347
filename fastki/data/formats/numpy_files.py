"""NumPy files: ``.npy`` ``[T, A]`` or ``[N, H, A]``, and ``.npz`` with ``actions`` and ``episode_ends``.

Axes: T frames (of all episodes, one after the other), A action dims, S state dims, N chunks, H horizon.
"""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode
from fastki.data.files import fingerprint
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath, is_local
from fastki.data.select import Key, select_keys
from fastki.errors import DataError

# What NumPy and the zip archive raise on damaged files, of which headers are Python literals.
_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    SyntaxError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_BOMB_BYTES, _BOMB_RATIO = 2**28, 200  # Zeros shrink to a thousandth; a recording by far less.
_HEADER_BYTES = 2**14
_EXTRAS = frozenset({"episode_ends", "fps", "names", "state_names"})


def claims(path: AnyPath) -> bool:
    """Whether ``path`` is named as a NumPy file."""
    return path.suffix in (".npy", ".npz") and path.is_file()


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The dataset in file ``path``; the keys choose among an ``.npz`` file's arrays."""
    if path.suffix == ".npy":
        arrays: Mapping[str, NDArray[Any]] = {"action": _load(path)}
    else:
        arrays = _load(path)
    return NumpyDataset(arrays, path, uri=uri, options=options)


class NumpyDataset(Dataset):
    """Episodes out of arrays that hold all frames."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], path: AnyPath, *, uri: str, options: OpenOptions) -> None:
        notes: list[str] = []
        keys = [
            Key(key, "numbers", array.shape[-1:] if array.ndim > 1 else (), str(array.dtype))
            for key, array in arrays.items()
            if key not in _EXTRAS and _is_numeric(array)
        ]
        selection = select_keys(keys, options, where=uri, hint=path.stem, notes=notes)
        action_keys, state_keys = selection.action_keys, selection.state_keys
        self._actions = [_frames(arrays[key], f"{path}, {key}") for key in action_keys]
        self._states = [_frames(arrays[key], f"{path}, {key}") for key in state_keys]
        total = len(self._actions[0])
        for key, array in zip(action_keys + state_keys, self._actions + self._states, strict=True):
            if len(array) != total:
                raise DataError(f"{path}: {key} has {len(array)} frames, but {action_keys[0]} has {total}")
        shape = arrays[action_keys[0]].shape
        self._ends = _episode_ends(arrays.get("episode_ends"), shape, path)
        self.info = DatasetInfo(
            uri=uri,
            format="NumPy " + path.suffix,
            fps=_fps(arrays.get("fps"), path),
            **selection.describe(_given_names(arrays, action_keys, state_keys), notes),
            lengths=np.diff(self._ends, prepend=0),
            chunked_horizon=shape[1] if len(shape) == 3 else None,
            notes=tuple(notes),
            fingerprint=fingerprint(("NumPy", action_keys, state_keys), path, [""]),
        )

    def _read(self, index: int, *, state: bool) -> Episode:
        rows = slice(int(self._ends[index - 1]) if index else 0, int(self._ends[index]))
        return Episode(
            index=index,
            actions=np.concatenate([_floats(array[rows]) for array in self._actions], axis=1),
            state=np.concatenate([_floats(array[rows]) for array in self._states], axis=1)
            if state and self._states
            else None,
            fps=self.info.fps,
        )


def _load(path: AnyPath) -> Any:
    """The array (``.npy``, left on disk) or the arrays by name (``.npz``) in ``path``; never pickled ones."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".npz":
                with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                    _refuse_bombs(archive, path)
                    return {key: archive[key] for key in archive.files}
            if path.stat().st_size == 0:
                raise EOFError("the file is empty")
            if is_local(path):
                return np.asarray(np.load(str(path), mmap_mode="r", allow_pickle=False))
            with path.open("rb") as file:
                return np.asarray(np.load(file, allow_pickle=False))
    except _DAMAGE as error:
        raise DataError(f"{path} cannot be read ({_reason(error)})") from error


def _refuse_bombs(archive: Any, path: AnyPath) -> None:
    """DataError where arrays unpack to far more than robots' numbers can: memory is at stake."""
    entries = archive.zip.infolist()
    packed, unpacked = (sum(sizes) for sizes in zip(*((e.compress_size, e.file_size) for e in entries), strict=True))
    if unpacked > _BOMB_BYTES and unpacked > _BOMB_RATIO * packed:
        raise DataError(f"{path} unpacks to {unpacked:,} bytes, more than its {packed:,} can hold: save it anew")
    for entry in entries:
        with archive.zip.open(entry) as member:
            header = member.read(_HEADER_BYTES)
        claimed = _claimed_bytes(header)
        if claimed > entry.file_size:
            raise DataError(f"{path}, {entry.filename} claims {claimed:,} bytes of {entry.file_size:,}: it is damaged")


def _claimed_bytes(header: bytes) -> int:
    """Bytes of numbers that the header of an array promises; 0 where NumPy will refuse it by itself."""
    file = io.BytesIO(header)
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            return 0
        shape, _, dtype = readers[version](file)
    except _DAMAGE:
        return 0
    return 0 if dtype.hasobject else math.prod(shape) * dtype.itemsize


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "Object arrays" in text or "Python objects" in text:
        return "it holds Python objects, which are never loaded: save it as an array of numbers"
    if "pickle" in text:
        return "it is no NumPy file: damaged or incomplete"
    return f"{text}: damaged or incomplete"


def _is_numeric(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fiub" and 1 <= array.ndim <= 3


def _frames(array: NDArray[Any], where: str) -> NDArray[Any]:
    """``[T, D]`` from ``[T]``, ``[T, D]`` or ``[N, H, D]``."""
    as_floats(array[:0], where=where)
    if not 1 <= array.ndim <= 3 or 0 in array.shape[1:]:
        raise DataError(f"{where} has shape {array.shape}: [T, A] or [N, H, A] is needed")
    return array[:, None] if array.ndim == 1 else array.reshape(-1, array.shape[-1])


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return as_floats(np.asarray(array), where="actions")


def _episode_ends(ends: NDArray[Any] | None, shape: tuple[int, ...], path: AnyPath) -> NDArray[np.int64]:
    """``[E]``, the frame after each episode's last; the last is the number of all frames."""
    total = math.prod(shape[:2]) if len(shape) == 3 else shape[0]
    if total == 0:
        raise DataError(f"{path}: the dataset holds no frames, so no episodes")
    if len(shape) == 3:
        if ends is not None:
            raise DataError(f"{path}: episode_ends needs actions [T, A], but they are {shape}")
        return np.arange(1, shape[0] + 1, dtype=np.int64) * shape[1]
    if ends is None:
        return np.array([total], dtype=np.int64)
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends):
        raise DataError(f"{path}: episode_ends must be whole numbers [E], not {ends.dtype} {ends.shape}")
    result = ends.astype(np.int64)
    if result[0] <= 0 or (result[1:] <= result[:-1]).any() or result[-1] != total:
        raise DataError(f"{path}: episode_ends must rise from above 0 to the number of frames, {total}")
    return result


def _given_names(
    arrays: Mapping[str, NDArray[Any]], action_keys: Sequence[str], state_keys: Sequence[str]
) -> dict[str, list[str]]:
    """Key → names of its dimensions, out of the text arrays ``names`` and ``state_names``."""
    given = {}
    for keys, name in ((action_keys, "names"), (state_keys, "state_names")):
        names = arrays.get(name)
        if len(keys) == 1 and names is not None and names.dtype.kind == "U":
            given[keys[0]] = names.ravel().tolist()
    return given


def _fps(array: NDArray[Any] | None, path: AnyPath) -> float | None:
    if array is None:
        return None
    if array.size != 1 or array.dtype.kind not in "fiu" or not 0 < float(array.item()) < math.inf:
        raise DataError(f"{path}: fps must be one number above 0")
    return float(array.item())
