"""Writes TFDS datasets as TensorFlow Datasets would: features.json, dataset_info.json and TFRecord shards.

A description of features is nested: a dict is a FeaturesDict, leaves are made by ``tensor``, ``text``, ``image``
and ``label``, and ``sequence`` wraps either. Episodes are nested likewise, with arrays ``[T, ...]`` (or lists of
T texts) in a sequence. Nothing here is shared with the reader.
"""

from __future__ import annotations

import io
import itertools
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from PIL import Image

PACKAGE = "tensorflow_datasets.core.features"
CLASSES = {
    "dict": "features_dict.FeaturesDict",
    "tensor": "tensor_feature.Tensor",
    "text": "text_feature.Text",
    "image": "image_feature.Image",
    "label": "class_label_feature.ClassLabel",
    "sequence": "sequence_feature.Sequence",
    "dataset": "dataset_feature.Dataset",
    "audio": "audio_feature.Audio",
}


@dataclass(frozen=True)
class Leaf:
    kind: str
    dtype: str = ""
    shape: tuple[int | None, ...] = ()
    encoding: str | None = None


@dataclass(frozen=True)
class Wrapped:
    inner: Any
    kind: str


def tensor(dtype: str, *shape: int | None, encoding: str = "none") -> Leaf:
    return Leaf("tensor", dtype, shape, encoding)


def text() -> Leaf:
    return Leaf("text")


def image(height: int | None, width: int | None, *, encoding: str | None = "jpeg", dtype: str = "uint8") -> Leaf:
    return Leaf("image", dtype, (height, width, 3), encoding)


def label() -> Leaf:
    return Leaf("label")


def sequence(inner: Any, *, kind: str = "sequence") -> Wrapped:
    return Wrapped(inner, kind)


def steps(inner: Any, **others: Any) -> dict[str, Any]:
    """An RLDS episode: steps with the usual flags, and whatever else the episode has."""
    flags = {name: tensor("bool") for name in ("is_first", "is_last", "is_terminal")}
    return {"steps": sequence({**flags, **inner}, kind="dataset"), **others}


def as_message(spec: Any) -> dict[str, Any]:
    """``features.json`` as written since 2022: the protobuf message Feature."""
    if isinstance(spec, dict):
        inner = {name: as_message(child) for name, child in spec.items()}
        return {"pythonClassName": f"{PACKAGE}.{CLASSES['dict']}", "featuresDict": {"features": inner}}
    node: dict[str, Any] = {"pythonClassName": f"{PACKAGE}.{CLASSES[spec.kind]}"}
    if isinstance(spec, Wrapped):
        return node | {"sequence": {"feature": as_message(spec.inner), "length": "-1"}}
    sizes = [str(-1 if size is None else size) for size in spec.shape]
    shape = {"dimensions": sizes} if sizes else {}
    content = {
        "tensor": {"tensor": {"shape": shape, "dtype": spec.dtype, "encoding": spec.encoding}},
        "image": {"image": {"shape": shape, "dtype": spec.dtype, "encodingFormat": spec.encoding}},
        "text": {"text": {}},
        "label": {"classLabel": {"numClasses": "9"}},
        "audio": {"audio": {"shape": shape, "dtype": "int64"}},
    }[spec.kind]
    if spec.kind == "image" and spec.encoding is None:
        del content["image"]["encodingFormat"]
    return node | content | {"description": "made"}


def as_old_json(spec: Any) -> dict[str, Any]:
    """``features.json`` as written before: type and content."""
    kind = "dict" if isinstance(spec, dict) else spec.kind
    if isinstance(spec, dict):
        content: Any = {name: as_old_json(child) for name, child in spec.items()}
    elif isinstance(spec, Wrapped):
        content = {"feature": as_old_json(spec.inner), "length": None}
    else:
        content = {
            "tensor": {"shape": list(spec.shape), "dtype": spec.dtype, "encoding": spec.encoding},
            "image": {"shape": list(spec.shape), "dtype": spec.dtype, "encoding_format": spec.encoding},
            "text": {},
            "label": {"num_classes": 9},
        }[spec.kind]
    return {"type": f"{PACKAGE}.{CLASSES[kind]}", "content": content}


def flatten(spec: Any, value: Any, name: str = "", depth: int = 0) -> dict[str, Any]:
    """An episode's features by their names in the example: lists of bytes, float32 or int64 arrays."""
    if isinstance(spec, dict):
        parts = [flatten(child, value[key], f"{name}/{key}".lstrip("/"), depth) for key, child in spec.items()]
        return {key: values for part in parts for key, values in part.items()}
    if isinstance(spec, Wrapped):
        if depth:
            rows = [np.asarray(row) for row in value]
            flat = np.concatenate(rows)
            lengths = np.array([len(row) for row in rows])
            return {f"{name}/ragged_flat_values": stored(flat), f"{name}/ragged_row_lengths_0": lengths}
        return flatten(spec.inner, value, name, depth + 1)
    elements = list(value) if depth else [value]
    if spec.kind == "text" or spec.dtype == "string":
        return {name: [element.encode() for element in elements]}
    if spec.kind == "image":
        return {name: [e if isinstance(e, bytes) else encode_image(e, spec.encoding or "png") for e in elements]}
    if spec.kind == "tensor" and spec.encoding != "none":
        blobs = [np.asarray(element, dtype=spec.dtype).tobytes() for element in elements]
        return {name: [zlib.compress(blob) for blob in blobs] if spec.encoding == "zlib" else blobs}
    return {name: stored(np.asarray(value))}


def stored(array: np.ndarray) -> np.ndarray:
    return array.ravel().astype(np.float32 if array.dtype.kind == "f" else np.int64)


def encode_image(pixels: np.ndarray, encoding: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=encoding)
    return buffer.getvalue()


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def span(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def encode_feature(values: Any, *, packed: bool = True) -> bytes:
    if isinstance(values, list):
        return span(1, b"".join(span(1, value) for value in values))
    if values.dtype == np.float32:
        raw = values.astype("<f4")
        return span(2, span(1, raw.tobytes()) if packed else b"".join(b"\x0d" + value.tobytes() for value in raw))
    numbers = [varint(int(value)) for value in values]
    return span(3, span(1, b"".join(numbers)) if packed else b"".join(b"\x08" + number for number in numbers))


def encode_example(features: dict[str, Any], *, packed: bool = True) -> bytes:
    entries = [
        span(1, span(1, name.encode()) + span(2, encode_feature(values, packed=packed)))
        for name, values in features.items()
    ]
    return span(1, b"".join(entries))


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def frame(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


@dataclass(frozen=True)
class Writer:
    """How a dataset is written; call it with a description and splits of episodes."""

    folder: Path
    name: str = "made"
    version: str = "1.0.0"
    shards: int = 1
    packed: bool = True
    old_json: bool = False
    template: str | None = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info: dict[str, Any] = field(default_factory=dict)

    def __call__(self, spec: dict[str, Any], **splits: list[Any]) -> Path:
        """Write it to ``folder/name/version``, which is returned."""
        root = self.folder / self.name / self.version
        root.mkdir(parents=True)
        features = as_old_json(spec) if self.old_json else as_message(spec)
        (root / "features.json").write_text(json.dumps(features, indent=4))
        listed = [self._write_split(root, spec, split, episodes) for split, episodes in splits.items()]
        info = {"fileFormat": "tfrecord", "name": self.name, "splits": listed, "version": self.version, **self.info}
        (root / "dataset_info.json").write_text(json.dumps(info, indent=2))
        return root

    def _write_split(self, root: Path, spec: Any, split: str, episodes: list[Any]) -> dict[str, Any]:
        bounds = [round(len(episodes) * i / self.shards) for i in range(self.shards + 1)]
        for i in range(self.shards):
            records = [
                encode_example(flatten(spec, episode), packed=self.packed)
                for episode in episodes[bounds[i] : bounds[i + 1]]
            ]
            fields = {
                "DATASET": self.name,
                "SPLIT": split,
                "FILEFORMAT": "tfrecord",
                "SHARD_INDEX": f"{i:05d}",
                "SHARD_X_OF_Y": f"{i:05d}-of-{self.shards:05d}",
            }
            template = self.template or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
            path = root / template.format(**fields)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(map(frame, records)))
        entry = {"name": split, "numBytes": "1", "shardLengths": [str(b - a) for a, b in itertools.pairwise(bounds)]}
        return entry | ({"filepathTemplate": self.template} if self.template else {})
