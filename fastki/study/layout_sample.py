"""What layouts are measured on: chunks of a dataset, with their prompts, states, pictures and FAST tokens.

Axis letters: N chunks, S dimensions of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSampler, Dataset, Normalizer
from fastki.data.chunks import Chunks
from fastki.data.gather import sample_of
from fastki.data.robots import SLOTS
from fastki.sequence.state import fit_state_normalizer
from fastki.study.layout_options import LayoutOptions
from fastki.tokenizer import ActionTokenizer, RoundTripOptions
from fastki.tokenizer.replay import Replay

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class LayoutSample:
    """What layouts are measured on: N chunks, tokenized.

    Attributes:
        prompts: of each.
        states: at each chunk's first frame, normalised, float64 ``[N, S]``; None where the data have no state.
        fast: the FAST tokens of each, int32.
        horizon: actions in a chunk.
        cameras: pictures of each, int64 ``[N]``.
        vocab: FAST's ids.
        episodes: that the chunks are of.
        normalizer: of the state; None where there is none.
        notes: what a user should know, a sentence each.
    """

    prompts: list[str]
    states: NDArray[np.float64] | None
    fast: list[NDArray[np.int32]]
    horizon: int
    cameras: NDArray[np.int64]
    vocab: int
    episodes: int
    normalizer: Normalizer | None
    notes: tuple[str, ...]


def read_sample(tokenizer: ActionTokenizer, dataset: Dataset, options: LayoutOptions, report: Progress) -> LayoutSample:
    """Chunks of all episodes, cut as the tokenizer's were, and encoded.

    Raises:
        UsageError: the data do not have the tokenizer's shape.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    replay = Replay.of(tokenizer, dataset, RoundTripOptions(part="all"))
    seen = Replay.of(tokenizer, dataset, RoundTripOptions(part="fitted"))
    chunks, known, notes = _chunks(replay, options, report)
    normalizer = None
    if dataset.info.state_key is not None:
        normalizer = fit_state_normalizer(
            dataset, episodes=seen.episodes, progress=lambda done, total: report("statistics", done, total)
        )
    cameras, remark = _cameras(dataset, options, [known[index].cameras for index in chunks.episode.tolist()])
    return LayoutSample(
        prompts=[known[index].prompt for index in chunks.episode.tolist()],
        states=None if normalizer is None else normalizer.normalize(_states(dataset, chunks)),
        fast=replay.tokenizer.encode(chunks.actions, previous=chunks.previous),
        horizon=replay.spec.horizon,
        cameras=cameras,
        vocab=replay.tokenizer.vocab_size,
        episodes=len(np.unique(chunks.episode)),
        normalizer=normalizer,
        notes=(*notes, *remark),
    )


@dataclass(frozen=True)
class _Known:
    """What is kept of an episode: its prompt, and how many of the slots' cameras it has."""

    prompt: str
    cameras: int


def _chunks(
    replay: Replay, options: LayoutOptions, report: Progress
) -> tuple[Chunks, dict[int, _Known], tuple[str, ...]]:
    """Chunks of all episodes in one pass, and what is known of these by index."""
    sampler = ChunkSampler(replay.spec, max_chunks=options.max_chunks, seed=options.seed)
    wanted = [camera for camera in replay.dataset.info.slots.values() if camera is not None]
    known: dict[int, _Known] = {}
    for done, index in enumerate(replay.episodes.tolist(), 1):
        episode = replay.dataset.read(index, state=replay.spec.needs_state)
        known[index] = _Known(episode.prompt, sum(camera in episode.images for camera in wanted))
        sampler.add(episode)
        report("chunks", done, len(replay.episodes))
    found = sample_of(sampler, replay.dataset, np.asarray(replay.episodes, np.int64))
    notes = []
    if replay.short_episodes:
        count = replay.short_episodes
        notes.append(f"skipped {count} episode{'s' * (count > 1)} shorter than the horizon")
    if not any(one.prompt for one in known.values()):
        notes.append("the data have no prompts: theirs are counted as empty")
    return found.chunks, known, tuple(notes)


def _states(dataset: Dataset, chunks: Chunks) -> NDArray[np.float64]:
    """The state at each chunk's first frame, ``[N, S]``."""
    states = np.empty((len(chunks), dataset.info.state_dim))
    for index in np.unique(chunks.episode).tolist():
        mine = chunks.episode == index
        state = dataset.read(index).state
        assert state is not None, "the data say that they have a state"
        states[mine] = state[chunks.start[mine]]
    return states


def _cameras(
    dataset: Dataset, options: LayoutOptions, found: Sequence[int]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """How many pictures each example has, ``[N]``, and a remark where that is a guess or varies.

    ``found`` counts the slots' cameras that the example's episode has.
    """
    counts, slots = np.array(found, np.int64), options.size.cameras
    if options.cameras is not None:
        return np.full_like(counts, options.cameras), ()
    info = dataset.info
    filled = sum(camera is not None for camera in info.slots.values())
    if filled:
        lacking = float((counts < filled).mean())
        remark = f"{lacking:.0%} of the examples lack one or more of the {filled} cameras: counted as padding"
        return np.minimum(counts, slots), (remark,) if lacking else ()
    named = len(info.cameras) + len(info.missing_cameras)
    count = min(named, len(SLOTS), slots)
    if not named:
        remark = "the data have no cameras: sequences are counted without pictures (--cameras N counts some)"
        return np.zeros_like(counts), (remark,)
    why = "its images are not here" if info.missing_cameras else "no robot preset says which slots they fill"
    what = "camera" if count == 1 else "cameras"
    return np.full_like(counts, count), (
        f"{count} {what} counted, as the data name: {why} (--cameras N counts others)",
    )
