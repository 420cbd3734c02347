"""Models and batches whose training step and sampling are timed.

Axis letters: B batch, P text tokens, H horizon, D action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data import open_dataset
from fastki.data.robots import SLOTS
from fastki.model.config import ModelConfig, small_config
from fastki.model.losses import FlowDraw
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.batch import Batch, Observation, pad_and_mask
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import DEFAULT, PRESETS
from fastki.sequence.sizes import ModelSize, StreamSize, VisionSize
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FastTokenizer, FitOptions, FitSettings, fit_on_dataset
from fastki.training.source import WindowSource, open_windows

LAYOUT = PRESETS[DEFAULT]
_LONGEST = 4096  # More text than any example here has.


@dataclass(frozen=True, eq=False)
class Cell:
    """What is timed.

    Attributes:
        name: in tables.
        config: of the model, whose ``max_token_len`` is that of ``full``.
        full: images, prompt and FAST tokens.
        prompt: the same examples without FAST tokens, padded to the longest prompt.
        draw: noise and times of the flow's loss.
        tokenizer: whose tokens are decoded under its grammar.
        ids: where they stand in the text.
        end_id: of a chunk's tokens.
    """

    name: str
    config: ModelConfig
    full: Batch
    prompt: Batch
    draw: FlowDraw
    tokenizer: FastTokenizer
    ids: FastIds
    end_id: int

    @property
    def lengths(self) -> dict[str, int]:
        """Tokens of all images, and of text with FAST and without, padding included."""
        images = len(self.full.observation.images) * self.config.size.vision.tokens
        texts = (batch.observation.tokenized_prompt.shape[1] for batch in (self.full, self.prompt))
        return {"images": images, **dict(zip(("full", "prompt"), texts, strict=True))}

    @property
    def learnt(self) -> int:
        """The most tokens with loss that an example has."""
        return int(self.full.observation.token_loss_mask.sum(axis=1).max())


@dataclass(frozen=True)
class TextLengths:
    """Tokens of random text: of the prompt and of FAST, each from three quarters of it to all."""

    prompt: int = 32
    fast: int = 32


def symmetric_cell(batch: int) -> Cell:
    """Backbone and expert of one small width over the 768 image tokens of three full-sized cameras."""
    stream = StreamSize(64, 4, 128, 8, 1, 16)
    size = ModelSize("pi05_sym", VisionSize(224, 14, 32, 2, 128, 2), stream, stream)
    config = ModelConfig(size, vocab=1024, action_dim=8, action_horizon=16, dtype="float32", remat="none")
    return random_cell(config, TextLengths(), batch, fast_vocab=512)


def random_cell(config: ModelConfig, lengths: TextLengths, batch: int, *, fast_vocab: int = 1024) -> Cell:
    """Random pictures, text and actions for a model of any size."""
    rng = np.random.default_rng(0)
    config = replace(config, max_token_len=lengths.prompt + lengths.fast)
    counts = np.stack([rng.integers(most * 3 // 4, most + 1, batch) for most in (lengths.prompt, lengths.fast)], axis=1)
    counts[0] = lengths.prompt, lengths.fast
    words = [rng.integers(3, config.vocab, count) for count in counts.reshape(-1)]
    side = config.size.vision.image_size
    images = {slot: rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8) for slot in SLOTS}
    masks = {slot: np.ones(batch, bool) for slot in SLOTS}
    state = rng.normal(size=(batch, config.action_dim)).astype(np.float32)
    shape = (batch, config.action_horizon, config.action_dim)
    actions = rng.normal(size=shape).astype(np.float32)

    def batch_of(parts: list[NDArray[np.int64]], counts: NDArray[np.int64], room: int) -> Batch:
        text = pad_and_mask(LAYOUT, np.concatenate(parts), counts, max_token_len=room)
        fields = (text.tokenized_prompt, text.tokenized_prompt_mask, text.token_ar_mask, text.token_loss_mask)
        return Batch(Observation(images, masks, state, *fields), actions, np.ones(shape, bool))

    full = batch_of(words, counts, config.max_token_len)
    prompt = batch_of(words[::2], counts * [1, 0], lengths.prompt)
    tokenizer = _fitted(config.action_horizon, fast_vocab)
    ids = FastIds(config.vocab, tokenizer.vocab_size)
    return Cell(config.size.name, config, full, prompt, _draw(actions), tokenizer, ids, end_id=1)


def tiny_cell(batch: int) -> Cell:
    """The ``tiny`` model on the built-in data, through the assembler; text has room for the longest there is."""
    dataset = open_dataset("synthetic:droid?episodes=8")
    text = open_text_tokenizer("byte:2048")
    tokenizer = _fitted(16, 1024)
    ids = FastIds.onto(text, tokenizer.vocab_size)
    base = small_config("tiny", vocab=text.vocab_size)
    full, prompt = (
        _first_batch(dataset, tokenizer, Wording(layout, text, ids), base, batch)
        for layout in (LAYOUT, LAYOUT.without_fast())
    )
    config = replace(base, max_token_len=full.observation.tokenized_prompt.shape[1])
    return Cell("tiny", config, full, prompt, _draw(full.actions), tokenizer, ids, text.eos_id)


CELLS: dict[str, Callable[[int], Cell]] = {"pi05_sym": symmetric_cell, "tiny": tiny_cell}


def _first_batch(dataset: Any, tokenizer: FastTokenizer, wording: Wording, config: ModelConfig, batch: int) -> Batch:
    assert tokenizer.source is not None
    size = config.size
    state = fit_state_normalizer(dataset)

    def windows(room: int, *, images: bool) -> WindowSource:
        shape = BatchShape(room, action_dim=config.action_dim, image_size=size.vision.image_size)
        slots = dict(zip(SLOTS, dataset.info.cameras, strict=False))
        assembler = Assembler(tokenizer, tokenizer.source.spec, wording, shape, state, slots)
        return open_windows(dataset, assembler, images=images)

    whole = windows(_LONGEST, images=False)
    text = whole.read(np.arange(len(whole))).batch.observation.tokenized_prompt_mask
    chosen = np.random.default_rng(0).permutation(len(whole))[:batch]
    return windows(int(text.sum(axis=1).max()), images=True).read(chosen).batch


def _fitted(horizon: int, vocab: int) -> FastTokenizer:
    sample = open_dataset("synthetic:droid?episodes=16")
    return fit_on_dataset(sample, FitOptions(FitSettings(vocab_size=vocab))).tokenizer


def _draw(actions: NDArray[np.float32]) -> FlowDraw:
    rng = np.random.default_rng(1)
    time = rng.uniform(size=len(actions)).astype(np.float32) ** (2 / 3) * 0.999 + 0.001
    return FlowDraw(rng.normal(size=actions.shape).astype(np.float32), time)  # type: ignore[arg-type]
