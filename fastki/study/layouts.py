"""Layouts compared on a dataset: how long sequences get, what carries loss, what they cost, whether they can act.

Axis letters: N chunks, S text segments of a layout.
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
from fastki.errors import FastkiError, UsageError
from fastki.sequence.ids import SKIP, FastIds
from fastki.sequence.layout import PRESETS, Layout
from fastki.sequence.sizes import SIZES, Cost, ModelSize, cache_bytes, inference_cost, training_cost
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer, TextTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import ActionTokenizer, RoundTripOptions
from fastki.tokenizer.replay import Replay

Progress = Callable[[str, int, int], None]
CUTS = (0.0, 0.001, 0.01)
"""Shares of examples that may be truncated, for which the smallest ``max_token_len`` is told."""


@dataclass(frozen=True)
class LayoutOptions:
    """What is compared, and with what.

    Attributes:
        layouts: their names differ.
        size: of the model.
        text: the text tokenizer.
        max_token_len: of every layout; None gives each the fewest that truncate nothing.
        cameras: pictures that an example has; None: those that the data have.
        skip: ids at the top of the text's vocabulary that FAST leaves alone.
        max_chunks: measure on at most so many.
        seed: of the sample.

    Raises:
        UsageError: a number out of range, or two layouts of one name.
    """

    layouts: tuple[Layout, ...] = tuple(PRESETS.values())
    size: ModelSize = SIZES["pi05"]
    text: TextTokenizer = ByteTokenizer()  # noqa: RUF009
    max_token_len: int | None = None
    cameras: int | None = None
    skip: int = SKIP
    max_chunks: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_token_len is not None and self.max_token_len < 1:
            raise UsageError(f"--max-token-len {self.max_token_len} is out of range: 1 or more is needed")
        if self.cameras is not None and not 0 <= self.cameras <= self.size.cameras:
            raise UsageError(
                f"--cameras {self.cameras}: the model {self.size.name} has {self.size.cameras} slots for cameras"
            )


@dataclass(frozen=True)
class LayoutRow:
    """One layout on the data. None: it has no such thing, or could not be measured.

    Lengths are of the backbone's tokens, pictures and text; the noisy actions come on top.

    Attributes:
        layout: its name; segments: its kinds, in order.
        total_mean, total_p95, total_max: tokens of an example, padding not counted, after any truncation.
        padded: tokens of an example with padding: every camera slot, and ``max_token_len``.
        padding: share of those that is padding, on average.
        loss_mean: tokens to be predicted; loss_share: of an example's tokens.
        text_mean, text_max: tokens of text before any truncation.
        max_token_len: text tokens that an example has room for.
        truncated: share of the examples that are longer.
        fast_lost: share of the tokens to be predicted that this costs.
        need_all, need_999, need_99: the smallest ``max_token_len`` that truncates none, 0.1 % and 1 % of the examples.
        prefix: tokens at inference, padded: pictures and the text before FAST.
        train_attention, train_flops: of a training step, per example, FLOPs.
        infer_attention, infer_flops: of one chunk by the flow.
        cache_bytes: of the key/value cache at inference, per example.
        usable: whether the expert can act as the layout stands; verdict: in words.
        error: why it could not be measured.
    """

    layout: str
    segments: tuple[str, ...]
    total_mean: float | None = None
    total_p95: float | None = None
    total_max: int | None = None
    padded: int | None = None
    padding: float | None = None
    loss_mean: float | None = None
    loss_share: float | None = None
    text_mean: float | None = None
    text_max: int | None = None
    max_token_len: int | None = None
    truncated: float | None = None
    fast_lost: float | None = None
    need_all: int | None = None
    need_999: int | None = None
    need_99: int | None = None
    prefix: int | None = None
    train_attention: int | None = None
    train_flops: int | None = None
    infer_attention: int | None = None
    infer_flops: int | None = None
    cache_bytes: int | None = None
    usable: bool | None = None
    verdict: str = ""
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Layouts side by side.

    Attributes:
        rows: in the order asked for.
        layouts: likewise.
        totals: layout → tokens of each example, int64 ``[N]``, before any truncation; absent where there is an error.
        chunks, episodes: measured on.
        horizon: actions in a chunk.
        cameras: pictures counted for an example, at most: some episodes may lack a camera.
        size: of the model.
        text: name of the text tokenizer.
        state_normalizer: fitted on the state; None where there is none.
        notes: what a user should know, a sentence each.
    """

    rows: tuple[LayoutRow, ...]
    layouts: tuple[Layout, ...]
    totals: dict[str, NDArray[np.int64]]
    chunks: int
    episodes: int
    horizon: int
    cameras: int
    size: ModelSize
    text: str
    state_normalizer: Normalizer | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Sample:
    """What layouts are measured on: N chunks, tokenized; ``cameras`` ``[N]`` counts the pictures of each."""

    prompts: list[str]
    states: NDArray[np.float64] | None
    fast: list[NDArray[np.int32]]
    horizon: int
    cameras: NDArray[np.int64]
    vocab: int


def compare_layouts(
    tokenizer: ActionTokenizer, dataset: Dataset, options: LayoutOptions, *, progress: Progress | None = None
) -> Comparison:
    """Measure each layout on chunks of all episodes, cut as the tokenizer's were.

    Raises:
        UsageError: the data do not have the tokenizer's shape, or its ids do not fit into the text's vocabulary.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    report = progress or (lambda *_: None)
    replay = Replay.of(tokenizer, dataset, RoundTripOptions(part="all"))
    seen = Replay.of(tokenizer, dataset, RoundTripOptions(part="fitted"))
    chunks, known, notes = _sample(replay, options, report)
    normalizer = None
    if dataset.info.state_key is not None:
        normalizer = fit_state_normalizer(
            dataset, episodes=seen.episodes, progress=lambda done, total: report("statistics", done, total)
        )
    cameras, remark = _cameras(dataset, options, [known[index].cameras for index in chunks.episode.tolist()])
    fast = replay.tokenizer.encode(chunks.actions, previous=chunks.previous)
    sample = _Sample(
        prompts=[known[index].prompt for index in chunks.episode.tolist()],
        states=None if normalizer is None else normalizer.normalize(_states(dataset, chunks)),
        fast=fast,
        horizon=replay.spec.horizon,
        cameras=cameras,
        vocab=replay.tokenizer.vocab_size,
    )
    ids = FastIds.onto(options.text, sample.vocab, skip=options.skip, text_vocab=_vocab(options))
    rows, totals = [], {}
    for done, layout in enumerate(options.layouts, 1):
        row, lengths = _measured(layout, sample, ids, options)
        rows.append(row)
        if lengths is not None:
            totals[layout.name] = lengths
        report("layouts", done, len(options.layouts))
    return Comparison(
        tuple(rows),
        options.layouts,
        totals,
        chunks=len(chunks),
        episodes=len(np.unique(chunks.episode)),
        horizon=sample.horizon,
        cameras=int(cameras.max(initial=0)),
        size=options.size,
        text=options.text.name,
        state_normalizer=normalizer,
        notes=(*notes, *remark),
    )


def _vocab(options: LayoutOptions) -> int:
    """Rows of the embedding table: the model's, but never fewer than the tokenizer has ids."""
    return max(options.size.vocab or 0, options.text.vocab_size)


@dataclass(frozen=True)
class _Known:
    """What is kept of an episode: its prompt, and how many of the slots' cameras it has."""

    prompt: str
    cameras: int


def _sample(
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
    """The state at each chunk's first frame, ``[N, dims]``."""
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


def _measured(
    layout: Layout, sample: _Sample, ids: FastIds, options: LayoutOptions
) -> tuple[LayoutRow, NDArray[np.int64] | None]:
    """The row of a layout, and the tokens of each example before any truncation."""
    if layout.state_form != "none" and sample.states is None:
        why = "it shows the state, and the data have none: choose one with --state-key KEY"
        return LayoutRow(layout.name, layout.kinds, error=why), None
    try:
        wording = Wording(layout, options.text, ids)
        _, lengths = wording.encode(sample.prompts, sample.states, sample.fast)
    except FastkiError as error:
        return LayoutRow(layout.name, layout.kinds, error=str(error)), None
    pictures = sample.cameras * options.size.vision.tokens * (layout.find("images") is not None)
    row = _row(layout, lengths, wording.opening, pictures, sample.horizon, options)
    return row, pictures + lengths.sum(axis=1)


def _row(
    layout: Layout,
    lengths: NDArray[np.int64],
    opening: int,
    pictures: NDArray[np.int64],
    horizon: int,
    options: LayoutOptions,
) -> LayoutRow:
    text = lengths.sum(axis=1)
    needs = [_need(text, share) for share in CUTS]
    room = options.max_token_len or max(1, needs[0])
    slots = options.size.cameras if layout.find("images") is not None else 0
    padded = slots * options.size.vision.tokens + room
    totals = pictures + np.minimum(text, room)
    wanted, kept = _learnt(layout, lengths, opening, room)
    prefix = min(room, int(_before_fast(layout, lengths).max(initial=0)))
    usable, verdict = usability(layout)
    train, infer = _costs(layout, slots, room, prefix, horizon, options)
    return LayoutRow(
        layout.name,
        layout.kinds,
        total_mean=float(totals.mean()),
        total_p95=float(np.percentile(totals, 95)),
        total_max=int(totals.max()),
        padded=padded,
        padding=float(1 - totals.mean() / padded),
        loss_mean=float(kept.mean()),
        loss_share=float(kept.sum() / max(1, totals.sum())),
        text_mean=float(text.mean()),
        text_max=int(text.max()),
        max_token_len=room,
        truncated=float((text > room).mean()),
        fast_lost=float(1 - kept.sum() / wanted.sum()) if wanted.any() else 0.0,
        need_all=needs[0],
        need_999=needs[1],
        need_99=needs[2],
        prefix=slots * options.size.vision.tokens + prefix,
        train_attention=train.attention,
        train_flops=train.total,
        infer_attention=None if infer is None else infer.attention,
        infer_flops=None if infer is None else infer.total,
        cache_bytes=cache_bytes(options.size, slots * options.size.vision.tokens + prefix),
        usable=usable,
        verdict=verdict,
    )


def _need(lengths: NDArray[np.int64], share: float) -> int:
    """The smallest length that at most ``share`` of the examples exceed.

    >>> _need(np.array([5, 7, 9, 9]), 0.0), _need(np.array([5, 7, 9, 9]), 0.5), _need(np.array([5, 7, 9, 9]), 0.25)
    (9, 7, 9)
    """
    ordered = np.sort(lengths)
    may_exceed = int(np.floor(share * len(ordered) + 1e-9))
    return int(ordered[len(ordered) - 1 - may_exceed])


def _learnt(
    layout: Layout, lengths: NDArray[np.int64], opening: int, room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens to be predicted of each example, and how many of them truncation leaves."""
    kinds = [segment.kind for segment in layout.text]
    if "fast" not in kinds:
        none = np.zeros(len(lengths), np.int64)
        return none, none
    place = kinds.index("fast")
    end = lengths[:, : place + 1].sum(axis=1)
    start = np.minimum(end - lengths[:, place] + opening, end)
    return end - start, np.maximum(np.minimum(end, room) - start, 0)


def _before_fast(layout: Layout, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of text that the expert sees."""
    seen = [segment.kind in layout.prompts_expert() for segment in layout.text]
    counts: NDArray[np.int64] = lengths[:, seen].sum(axis=1)
    return counts


def _costs(
    layout: Layout, slots: int, room: int, prefix: int, horizon: int, options: LayoutOptions
) -> tuple[Cost, Cost | None]:
    acts = layout.find("actions") is not None
    logits = room if layout.find("fast") is not None else 0
    train = training_cost(
        options.size,
        images=slots,
        text=room,
        horizon=horizon if acts else 0,
        logits=logits,
        vocab=_vocab(options),
    )
    if not acts:
        return train, None
    return train, inference_cost(options.size, images=slots, text=prefix, horizon=horizon)


def usability(layout: Layout) -> tuple[bool, str]:
    """Whether the action expert can act by this layout as it stands, and why or how, in words.

    >>> usability(PRESETS["images-prompt-fast"])
    (True, 'yes')
    >>> usability(PRESETS["images-fast-prompt"])[0]
    False
    """
    if layout.find("actions") is None:
        return False, "no: it has no action expert; its FAST tokens can be decoded one by one"
    late = layout.after_fast
    if late:
        what = " and ".join(late)
        verb = "come" if len(late) > 1 else "comes"
        return False, f"no: the {what} {verb} after FAST, where the expert may not look, so nothing prompts it"
    lacks = [word for word, absent in _absences(layout) if absent]
    return True, "yes" + (f", but the expert gets no {' and no '.join(lacks)}" if lacks else "")


def _absences(layout: Layout) -> Sequence[tuple[str, bool]]:
    return (
        ("images", layout.find("images") is None),
        ("prompt", layout.find("prompt") is None),
        ("state", layout.state_form == "none"),
    )
