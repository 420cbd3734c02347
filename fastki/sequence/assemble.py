"""From frames of episodes to batches: one place for actions, state, text and pictures.

Actions are normalised by the tokenizer's normaliser, the state by one of its own (see :mod:`fastki.sequence.state`).
Both, and the text made of them, come from the robot's own dimensions; padding to the model's is the last step.

Axis letters: N examples, B batch, H horizon, A action dimensions, S state dimensions, D action dimensions of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Episode, Normalizer, NormStats
from fastki.data.chunks import Chunks, cut_chunks
from fastki.data.policy import policy_inputs
from fastki.data.robots import SLOTS
from fastki.errors import DataError, UsageError
from fastki.sequence.batch import Batch, Observation, Text, pad_and_mask
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.wording import Wording
from fastki.tokenizer import ActionTokenizer
from fastki.tokenizer.ragged import Ragged


@dataclass(frozen=True)
class BatchShape:
    """The sizes that every batch of a run has.

    Attributes:
        max_token_len: text tokens; openpi's π0.5 has 200, FAST not counted.
        action_dim: D of the model.
        image_size: pixels, height and width.
        truncate: cut off text that is too long, and count it, instead of raising.

    Raises:
        UsageError: a size below 1.
    """

    max_token_len: int
    action_dim: int = 32
    image_size: int = 224
    truncate: bool = False

    def __post_init__(self) -> None:
        for name in ("max_token_len", "action_dim", "image_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} is out of range: 1 or more is needed")


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples that are tokenized, and not yet padded; pictures are still in their episodes.

    Attributes:
        episodes: that the frames are of.
        owner: int32 ``[N]``, the place of each example's among ``episodes``.
        frame: int32 ``[N]``, where its chunk begins.
        actions: float32 ``[N, H, A]``, normalised.
        state: float32 ``[N, S]``, normalised; S = 0 where the data have none.
        text: ids of each example's text segments, one after the other.
        lengths: int64 ``[N, text segments]``.
    """

    episodes: tuple[Episode, ...]
    owner: NDArray[np.int32]
    frame: NDArray[np.int32]
    actions: NDArray[np.float32]
    state: NDArray[np.float32]
    text: Ragged
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        """N."""
        return len(self.frame)

    def take(self, places: NDArray[np.int64]) -> Examples:
        """The examples at ``places``, in that order; episodes that none of them is of are let go."""
        used, owner = np.unique(self.owner[places], return_inverse=True)
        return Examples(
            tuple(self.episodes[place] for place in used.tolist()),
            owner.reshape(-1).astype(np.int32),
            self.frame[places],
            self.actions[places],
            self.state[places],
            self.text.take(places),
            self.lengths[places],
        )

    @staticmethod
    def concatenate(parts: Sequence[Examples]) -> Examples:
        """The examples of all parts, one or more."""
        shift = np.cumsum([0, *(len(part.episodes) for part in parts)])
        return Examples(
            tuple(episode for part in parts for episode in part.episodes),
            np.concatenate([part.owner + start for part, start in zip(parts, shift.tolist(), strict=False)]).astype(
                np.int32
            ),
            np.concatenate([part.frame for part in parts]),
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.state for part in parts]),
            Ragged.concatenate([part.text for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Assembler:
    """Makes batches of frames.

    Attributes:
        tokenizer: of the actions, with its normaliser.
        spec: how chunks are cut.
        wording: the layout in a text tokenizer's ids.
        shape: of the batches.
        state_normalizer: of the state; None for data without one.
        slots: openpi's camera slot → camera; None where it has none.

    Raises:
        UsageError: the tokenizer has no normaliser, the model has too few dimensions, or the layout needs a state
            that there is none of.
    """

    tokenizer: ActionTokenizer
    spec: ChunkSpec
    wording: Wording
    shape: BatchShape
    state_normalizer: Normalizer | None = None
    slots: Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        actions, state = self.tokenizer.normalizer, self.state_normalizer
        if actions is None:
            raise UsageError("the tokenizer has no normaliser: give it one with with_normalizer(...)")
        for what, normalizer in (("action", actions), ("state", state)):
            if normalizer is not None and normalizer.action_dim > self.shape.action_dim:
                raise UsageError(
                    f"the data have {normalizer.action_dim} {what} dimensions and the model {self.shape.action_dim}: "
                    f"give it an action_dim of {normalizer.action_dim} or more, or leave dimensions out with --dims"
                )
        layout = self.wording.layout
        if state is None and layout.state_form != "none":
            raise UsageError(
                f"layout {layout.name} shows the state, and the data have none: choose one with --state-key KEY, or a "
                "layout without it, such as images-fast"
            )

    def norm_stats(self) -> dict[str, NormStats]:
        """The statistics in force, under openpi's names: what ``save_norm_stats`` writes beside a model."""
        assert self.tokenizer.normalizer is not None
        stats = {"actions": self.tokenizer.normalizer.stats}
        return stats if self.state_normalizer is None else {"state": self.state_normalizer.stats, **stats}

    def examples(self, episode: Episode, starts: NDArray[np.int64] | None = None) -> Examples:
        """The examples of ``episode`` whose chunks begin at ``starts``, by default all that the spec gives.

        Raises:
            UsageError: text is longer than ``max_token_len``, which names the frame and the length needed.
            DataError: the episode has no state where one is needed.
            TokenizerError: the actions can't be tokenized.
        """
        assert self.tokenizer.normalizer is not None
        chunks = cut_chunks(episode, self.spec, starts=starts)
        actions = self.tokenizer.normalizer.normalize(chunks.actions)
        state = self._state(episode, chunks)
        fast = self._tokens(chunks, actions) if "fast" in self.wording.layout.kinds else None
        ids, lengths = self.wording.encode([episode.prompt] * len(chunks), state, fast)
        self._require_room(lengths.sum(axis=1), chunks)
        return Examples(
            (episode,),
            np.zeros(len(chunks), np.int32),
            chunks.start,
            actions.astype(np.float32),
            (np.zeros((len(chunks), 0)) if state is None else state).astype(np.float32),
            Ragged.from_lengths(ids, lengths.sum(axis=1).tolist()),
            lengths,
        )

    def _state(self, episode: Episode, chunks: Chunks) -> NDArray[np.float64] | None:
        if self.state_normalizer is None:
            return None
        if episode.state is None:
            raise DataError(f"episode {episode.index} has no state: choose one with --state-key KEY")
        return self.state_normalizer.normalize(episode.state[chunks.start])

    def _tokens(self, chunks: Chunks, actions: NDArray[np.float64]) -> list[NDArray[np.int32]]:
        if not len(chunks):
            return []
        assert self.tokenizer.normalizer is not None
        previous = self.tokenizer.normalizer.normalize(chunks.previous)
        return self.tokenizer.encode_normalized(actions, previous=previous)

    def _require_room(self, totals: NDArray[np.int64], chunks: Chunks) -> None:
        room = self.shape.max_token_len
        if self.shape.truncate or not len(totals) or totals.max() <= room:
            return
        worst = int(totals.argmax())
        raise UsageError(
            f"episode {chunks.episode[worst]}, frame {chunks.start[worst]} takes {totals[worst]} text tokens and "
            f"max_token_len is {room}: give --max-token-len {totals[worst]} or more (`fastki layouts` says how many "
            "the whole of the data needs), or --truncate to cut off what is too long"
        )

    def batch(self, examples: Examples, *, images: bool = True) -> tuple[Batch, Text]:
        """The examples as one batch, and its text with what was cut off.

        Args:
            examples: B of them.
            images: decode and resize the pictures; else the batch has none.

        Raises:
            DataError: a picture can't be read, or an episode has none for any slot.
        """
        text = pad_and_mask(
            self.wording.layout,
            examples.text.values,
            examples.lengths,
            max_token_len=self.shape.max_token_len,
            pad_id=self.wording.text.pad_id,
            opening=self.wording.opening,
            truncate=self.shape.truncate,
        )
        pictures, seen = self._pictures(examples) if images else ({}, {})
        width = self.shape.action_dim
        actions = _widened(examples.actions, width)
        mask = np.zeros(actions.shape, bool)
        mask[..., : examples.actions.shape[-1]] = True
        observation = Observation(
            pictures,
            seen,
            _widened(examples.state, width),
            text.tokenized_prompt,
            text.tokenized_prompt_mask,
            text.token_ar_mask,
            text.token_loss_mask,
        )
        return Batch(observation, actions, mask), text

    def _pictures(self, examples: Examples) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]]]:
        size, count = self.shape.image_size, len(examples)
        images = {slot: np.zeros((count, size, size, 3), np.uint8) for slot in SLOTS}
        masks = {slot: np.zeros(count, bool) for slot in SLOTS}
        for place, (owner, frame) in enumerate(zip(examples.owner.tolist(), examples.frame.tolist(), strict=True)):
            episode = examples.episodes[owner]
            chosen = self.slots or {}
            cameras = {
                slot: episode.images[camera][frame]
                for slot, camera in chosen.items()
                if camera is not None and camera in episode.images
            }
            if not cameras:
                wanted = ", ".join(camera for camera in chosen.values() if camera is not None) or "none is named"
                raise DataError(
                    f"episode {episode.index} has no picture for any camera slot ({wanted}): leave the episode out, "
                    "or name the robot with --robot"
                )
            inputs = policy_inputs(state=[examples.state[place]], cameras=cameras, prompt=episode.prompt)
            for slot in cameras:
                images[slot][place] = resize_with_pad(inputs.image[slot], size, size)
                masks[slot][place] = True
        return images, masks


def _widened(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """``values`` ``[..., K]`` with zeros up to ``width`` dimensions."""
    result = np.zeros((*values.shape[:-1], width), np.float32)
    result[..., : values.shape[-1]] = values
    return result
