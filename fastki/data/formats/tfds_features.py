"""``features.json``: what a TFDS dataset's examples hold, and under which names their bytes lie.

Nested features are stored flat, their names joined by "/". Two dialects are in use: JSON of the protobuf
message ``Feature`` (``pythonClassName``), and that of before 2022 (``type`` and ``content``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastki.data.files import read_json_object
from fastki.data.paths import AnyPath
from fastki.data.select import KeyKind
from fastki.errors import DataError

NUMBERS = {
    "bool": "?",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
}
"""TFDS's name of a number → NumPy's, as bytes of it are stored."""

_CLASSES = {
    "FeaturesDict": "featuresDict",
    "Dataset": "sequence",
    "Sequence": "sequence",
    "Tensor": "tensor",
    "Scalar": "tensor",
    "Image": "image",
    "Video": "video",
    "Text": "text",
    "ClassLabel": "classLabel",
    "BBoxFeature": "boundingBox",
}
_DEEPEST = 32
_LARGEST = 2**28


@dataclass(frozen=True)
class Feature:
    """One array, picture or text of an example.

    Attributes:
        name: in the example.
        kind: what it holds; "other" for what is not read.
        shape: of one element; -1 where it varies.
        dtype: as TFDS calls it.
        encoding: "none" for values in lists, "bytes" or "zlib" for one string of bytes each element.
        depth: how many sequences it lies in: 0 for one element an episode, 1 for one a step.
    """

    name: str
    kind: KeyKind
    shape: tuple[int, ...] = ()
    dtype: str = ""
    encoding: str = "none"
    depth: int = 0

    @property
    def size(self) -> int | None:
        """How many values an example has for each element, None where that varies."""
        if self.kind != "numbers" or self.encoding != "none":
            return 1
        return math.prod(self.shape) if all(size >= 0 for size in self.shape) else None


def read_features(path: AnyPath) -> list[Feature]:
    """All features that the ``features.json`` at ``path`` describes.

    Raises:
        DataError: it is missing or damaged.
    """
    return list(_features(read_json_object(path), "", 0, 0, path))


def find_steps(features: list[Feature], path: AnyPath) -> tuple[str, list[Feature]]:
    """The features that an episode has for every step, and how their names begin: "steps/", as RLDS says.

    Where there is no such sequence, all sequences count, and the beginning is "".

    Raises:
        DataError: there is no sequence; ``path`` is the file's, for the message.
    """
    for prefix in ("steps/", ""):
        steps = [feature for feature in features if feature.depth and feature.name.startswith(prefix)]
        if steps:
            return prefix, steps
    raise DataError(
        f"{path} describes no steps, only {', '.join(feature.name for feature in features[:5]) or 'nothing'}: "
        "an RLDS dataset, which has an episode in each example, is needed"
    )


def _features(node: Any, name: str, depth: int, level: int, path: AnyPath) -> Iterator[Feature]:
    kind, content = _content(node, path)
    if level > _DEEPEST:
        raise DataError(f"{path} is damaged: it nests more than {_DEEPEST} features in each other")
    if kind == "featuresDict":
        for child, inner in content.items():
            yield from _features(inner, f"{name}/{child}" if name else str(child), depth, level + 1, path)
    elif kind == "sequence":
        yield from _features(content.get("feature"), name, depth + 1, level + 1, path)
    elif kind == "video":
        yield _leaf("image", content, name, depth + 1, path)
    else:
        yield _leaf(kind, content, name, depth, path)


def _content(node: Any, path: AnyPath) -> tuple[str, Mapping[str, Any]]:
    """What a feature is (a value of ``_CLASSES`` or "other") and what is said of it, in either dialect."""
    if not isinstance(node, dict):
        raise _damaged(path, f"{str(node)[:40]!r} describes no feature")
    if "type" in node:
        return _old_content(str(node["type"]), node.get("content"), bool(node.get("proto_cls")), path)
    kind = next((kind for kind in _CLASSES.values() if isinstance(node.get(kind), dict)), "other")
    if kind == "featuresDict":
        return kind, _mapping(node[kind].get("features", {}), path)
    if kind == "other" and isinstance(node.get("jsonFeature"), dict):
        text = node["jsonFeature"].get("json") or "{}"
        return _old_content(str(node.get("pythonClassName")), text, False, path)
    return kind, node[kind] if kind != "other" else {}


def _old_content(name: str, content: Any, is_message: bool, path: AnyPath) -> tuple[str, Mapping[str, Any]]:
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"the content of a {name} is no JSON ({error})") from error
    kind = _CLASSES.get(name.rpartition(".")[2], "other")
    content = _mapping({} if content is None else content, path)
    if kind == "featuresDict" and is_message:
        content = _mapping(content.get("features", {}), path)
    return kind, content


def _leaf(kind: str, content: Mapping[str, Any], name: str, depth: int, path: AnyPath) -> Feature:
    shape = _shape(content.get("shape"), path)
    dtype = str(content.get("dtype", "")).removeprefix("tf.")
    dtype = {"bool_": "bool", "str": "string", "object": "string"}.get(dtype, dtype)
    encoding = str(content.get("encoding") or "none").lower()
    found: KeyKind = "other"
    if kind == "classLabel":
        found, shape, dtype = "numbers", (), "int64"
    elif kind == "boundingBox":
        found, shape, dtype = "numbers", (4,), "float32"
    elif kind == "text" or (kind == "tensor" and dtype == "string" and shape == ()):
        found, shape, dtype = "text", (), "string"
    elif kind == "image":
        # Depth maps are images of other types, of which no RGB picture can be made.
        found, dtype = "image" if dtype in ("", "uint8") else "other", dtype or "uint8"
    elif kind == "tensor" and dtype in NUMBERS and encoding in ("none", "bytes", "zlib") and shape.count(-1) < 2:
        picture = dtype == "uint8" and encoding != "none" and len(shape) == 3 and shape[2] in (1, 3)
        found = "image" if picture and min(shape) > 0 else "numbers"
    if depth > 1 or math.prod(max(size, 1) for size in shape) > _LARGEST:
        found = "other"
    return Feature(name, found, shape, dtype, encoding, depth)


def _shape(value: Any, path: AnyPath) -> tuple[int, ...]:
    """The sizes in either dialect: ``{"dimensions": ["7", "-1"]}`` or ``[7, null]``."""
    sizes = value.get("dimensions", []) if isinstance(value, dict) else value
    if sizes is None:
        return ()
    if not isinstance(sizes, list) or len(sizes) > _DEEPEST:
        raise _damaged(path, f"{str(value)[:40]!r} is no shape")
    return tuple(-1 if size is None else _size(size, path) for size in sizes)


def _size(value: Any, path: AnyPath) -> int:
    text = str(value)
    if not (text == "-1" or (text.isascii() and text.isdigit() and len(text) < 12)):
        raise _damaged(path, f"{text[:40]!r} is no size of a shape")
    return int(text)


def _mapping(value: Any, path: AnyPath) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(path, f"{str(value)[:40]!r} stands where features are expected")
    return value


def _damaged(path: AnyPath, what: str) -> DataError:
    return DataError(f"{path} is damaged: {what}; fetch it again")
