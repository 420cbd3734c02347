"""Pictures with questions and answers, learnt beside the actions so that the backbone keeps what it knew.

One JSON object a line: ``{"image": "cup.jpg", "prompt": "What is on the table?", "answer": "A red cup."}``; ``image``
may also be a list. Paths start at the file's folder and stay in it.

Axis letters: N lines, B examples, S text segments, H horizon, D action dimensions of the model.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.pictures import decode_picture
from fastki.data.robots import SLOTS
from fastki.errors import DataError
from fastki.sequence.assemble import Assembler
from fastki.sequence.batch import Batch, Observation, Text, pad_and_mask
from fastki.sequence.layout import Layout, Segment
from fastki.sequence.resize import resize_with_pad
from fastki.training.batch import TrainingBatch

_FIELDS = ("image", "prompt", "answer")
_MAX_LINE, _MAX_PICTURE = 1 << 20, 1 << 26
_PROMPT_END = "\n"
"""Between question and answer, as PaliGemma was trained."""
LAYOUT = Layout("co-training", (Segment("images"), Segment("prompt"), Segment("fast", "causal", "tokens")))
"""The answer stands where the FAST tokens do: causal, and to be predicted."""


@dataclass(frozen=True)
class Question:
    """One line.

    Attributes:
        images: paths from the file's folder, one to three.
        prompt: the question.
        answer: what is to be said.
    """

    images: tuple[str, ...]
    prompt: str
    answer: str


@dataclass(frozen=True, eq=False)
class CotrainFile:
    """A JSONL file whose lines are read when they are asked for. By :func:`open_cotrain`.

    Attributes:
        path: of the file.
        offsets: int64 ``[N]``, where each line that is not blank begins.
        lines: int64 ``[N]``, its number, from 1.
        fingerprint: hex, of the file's bytes.
    """

    path: Path
    offsets: NDArray[np.int64]
    lines: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        """N."""
        return len(self.offsets)

    def question(self, place: int) -> Question:
        """The line at ``place``.

        Raises:
            DataError: it can't be read, or is none such; the message names file, line and mend.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(int(self.offsets[place]))
                line = file.readline(_MAX_LINE + 1)
        except OSError as error:
            raise DataError(f"{self.path} can't be read: {error.strerror or error}") from error
        return _parsed(line, self.where(place))

    def picture(self, place: int, name: str) -> NDArray[np.uint8]:
        """A picture of the line at ``place``, RGB uint8 ``[h, w, 3]``.

        Raises:
            DataError: it is not there, outside the file's folder, too large, or no picture.
        """
        where = f"{self.where(place)}: {name}"
        folder = self.path.parent.resolve()
        try:
            target = (folder / name).resolve()
            if not target.is_relative_to(folder):
                raise DataError(f"{where} is outside {folder}: move the picture there, and give its path from there")
            if not target.is_file():
                raise DataError(f"{where} is no file: paths start at the folder of the JSONL file, {folder}")
            with target.open("rb") as file:
                data = file.read(_MAX_PICTURE + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{where} can't be read ({reason}): mend the path or the file") from error
        if len(data) > _MAX_PICTURE:
            raise DataError(f"{where} is larger than {_MAX_PICTURE >> 20} MiB: use a smaller picture")
        return decode_picture(data, where=where)

    def where(self, place: int) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.lines[place]}"


def open_cotrain(path: Path) -> CotrainFile:
    """The file at ``path``; every line is looked at once, no picture is.

    Raises:
        DataError: it can't be read, has no line, or one that is none such.
    """
    offsets, lines, offset, digest = [], [], 0, hashlib.sha256()
    try:
        with path.open("rb") as file:
            for number in itertools.count(1):
                line = file.readline(_MAX_LINE + 1)
                if not line:
                    break
                if line.strip():
                    _parsed(line, f"{path}, line {number}")
                    offsets.append(offset)
                    lines.append(number)
                offset += len(line)
                digest.update(line)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error}): give a JSONL file") from error
    if not offsets:
        raise DataError(f'{path} holds no line: write {{"image": …, "prompt": …, "answer": …}}, one a line')
    return CotrainFile(path, np.array(offsets, np.int64), np.array(lines, np.int64), digest.hexdigest()[:32])


def _parsed(line: bytes, where: str) -> Question:
    if len(line) > _MAX_LINE:
        raise DataError(f"{where} is longer than {_MAX_LINE >> 20} MiB: pictures are given by path")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({error}): write one object a line") from error
    if not isinstance(content, dict) or set(content) != set(_FIELDS):
        raise DataError(f"{where} must have the fields {', '.join(_FIELDS)} and no others")
    images = content["image"] if isinstance(content["image"], list) else [content["image"]]
    if not 1 <= len(images) <= len(SLOTS):
        raise DataError(f"{where} has {len(images)} images: give 1 to {len(SLOTS)}, as many as there are camera slots")
    for name, value in (*(("image", image) for image in images), *((key, content[key]) for key in _FIELDS[1:])):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {name} must be text that is not empty, not {_shown(value)}")
    return Question(tuple(images), content["prompt"], content["answer"])


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]} …"


@dataclass(frozen=True, eq=False)
class CotrainSource:
    """The lines of a file as examples without actions, in the shapes of the robot's.

    Attributes:
        file: the lines.
        assembler: whose tokenizer and shapes they take.
        horizon: H of the robot's examples.
        images: decode the pictures too.
    """

    file: CotrainFile
    assembler: Assembler
    horizon: int
    images: bool = True

    @property
    def fingerprint(self) -> str:
        """Of the file."""
        return self.file.fingerprint

    def __len__(self) -> int:
        return len(self.file)

    def read(self, places: NDArray[np.int64]) -> TrainingBatch:
        """See :class:`fastki.training.source.Source`.

        Raises:
            DataError: a line or picture can't be read, or its text is too long.
        """
        questions = [self.file.question(place) for place in places.tolist()]
        text, count = self._text(questions, places), len(places)
        pictures, seen = self._pictures(questions, places) if self.images else ({}, {})
        width = self.assembler.shape.action_dim
        observation = Observation(
            pictures,
            seen,
            np.zeros((count, width), np.float32),
            text.tokenized_prompt,
            text.tokenized_prompt_mask,
            text.token_ar_mask,
            text.token_loss_mask,
        )
        shape = (count, self.horizon, width)
        batch = Batch(observation, np.zeros(shape, np.float32), np.zeros(shape, bool))
        nothing = np.zeros(count, np.int64)
        return TrainingBatch(
            batch, np.zeros(count, bool), self.file.lines[places], nothing, text.fast_lost, text.other_lost
        )

    def _text(self, questions: list[Question], places: NDArray[np.int64]) -> Text:
        words, shape = self.assembler.wording.text, self.assembler.shape
        pieces = [
            piece
            for question in questions
            for piece in (
                words.encode(question.prompt + _PROMPT_END, add_bos=True),
                [*words.encode(question.answer), words.eos_id],
            )
        ]
        lengths = np.array(list(map(len, pieces)), np.int64).reshape(-1, 2)
        totals = lengths.sum(axis=1)
        if not shape.truncate and totals.max() > shape.max_token_len:
            worst = int(totals.argmax())
            raise DataError(
                f"{self.file.where(int(places[worst]))} takes {totals[worst]} text tokens and max_token_len is "
                f"{shape.max_token_len}: shorten it, give --max-token-len {totals[worst]} or more, or --truncate"
            )
        ids = np.array(list(itertools.chain.from_iterable(pieces)), np.int32)
        return pad_and_mask(
            LAYOUT,
            ids,
            lengths,
            max_token_len=shape.max_token_len,
            pad_id=words.pad_id,
            truncate=shape.truncate,
        )

    def _pictures(
        self, questions: list[Question], places: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]]]:
        size, count = self.assembler.shape.image_size, len(questions)
        images = {slot: np.zeros((count, size, size, 3), np.uint8) for slot in SLOTS}
        masks = {slot: np.zeros(count, bool) for slot in SLOTS}
        for row, (question, place) in enumerate(zip(questions, places.tolist(), strict=True)):
            for slot, name in zip(SLOTS, question.images, strict=False):
                images[slot][row] = resize_with_pad(self.file.picture(place, name), size, size)
                masks[slot][row] = True
        return images, masks
