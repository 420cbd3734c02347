"""From a run's configuration to all that training needs but the parameters: data, tokenizer, sequence, model.

Axis letters: N windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSampler, Dataset, Normalizer, open_with
from fastki.data.gather import sample_of
from fastki.data.mixture import Mixture
from fastki.errors import UsageError
from fastki.model.config import MODES, Mode, ModelConfig
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Layout, open_layout
from fastki.sequence.sizes import ModelSize, model_size
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import TextTokenizer, open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import ActionTokenizer, RoundTripOptions, fit_on_dataset, load_tokenizer, parts_of
from fastki.tokenizer.pipeline import chunk_spec
from fastki.tokenizer.replay import Replay
from fastki.training.config import TrainConfig
from fastki.training.init_stats import GivenStats, given_stats

Progress = Callable[[str, int, int], None]
_MEASURED = 4096  # Windows whose text is measured, to know how much room an example needs.
_SPARE = 8  # One more for so many: windows that were not measured may be longer.


@dataclass(frozen=True, eq=False)
class Setup:
    """What a run is made of.

    Attributes:
        config: as resolved: nothing is left to be found out.
        dataset: opened.
        tokenizer: with the normaliser of the run.
        assembler: makes examples.
        model: the model's configuration; its layout is ``layout``.
        layout: as the model learns it: without FAST where the mode has no use for it.
        train, heldout: int64, indices of episodes long enough for a window.
        slots: names of the camera slots that the model is given.
        fast_tokens: that a chunk may take, its end included: the most of a sample, and an eighth more; 0 without FAST.
        fitted: whether the tokenizer was fitted now.
        notes: what a user should know, a sentence each.
    """

    config: TrainConfig
    dataset: Dataset
    tokenizer: ActionTokenizer
    assembler: Assembler
    model: ModelConfig
    layout: Layout
    train: NDArray[np.int64]
    heldout: NDArray[np.int64]
    slots: tuple[str, ...]
    fast_tokens: int
    fitted: bool
    notes: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        """Which losses."""
        return MODES[self.config.mode]


def prepare(
    config: TrainConfig, *, tokenizer: ActionTokenizer | None = None, progress: Progress | None = None
) -> Setup:
    """Open the data, load or fit the tokenizer, measure the text, and shape the model.

    Args:
        config: of the run.
        tokenizer: that the run has already; None: as the configuration says.
        progress: told of stages.

    Raises:
        UsageError: parts that do not go together; the message says which, and the mend.
        DataError, TokenizerError: the data or the tokenizer can't be read or used.
    """
    report: Progress = progress or (lambda *_: None)
    dataset = open_with(config.data.uri, config.data.opened)
    if isinstance(dataset, Mixture):
        names = ", ".join(member.name for member in dataset.members)
        raise UsageError(f"{config.data.uri} is a mixture ({names}): train on one of its datasets")
    given = given_stats(config, dataset)
    tokenizer = _tokenizer(config, dataset, given, report) if tokenizer is None else tokenizer
    seen, unseen = (_replay(tokenizer, dataset, config, part) for part in ("fitted", "heldout"))
    train = np.asarray(seen.episodes, np.int64)
    heldout = np.setdiff1d(unseen.episodes, train).astype(np.int64)
    tokenizer = seen.tokenizer
    layout = _layout(config)
    text = open_text_tokenizer(config.sequence.text)
    size = model_size(config.network.size)
    vocab = max(size.vocab or 0, text.vocab_size)
    state = _state(dataset, seen, report) if given is None else _given_state(dataset, config, given)
    fast = FastIds.onto(text, tokenizer.vocab_size, skip=config.sequence.skip, text_vocab=vocab)
    draft = Assembler(
        tokenizer,
        seen.spec,
        Wording(layout, text, fast),
        BatchShape(config.sequence.max_token_len or 1 << 16, action_dim=_action_dim(config, dataset, size)),
        state,
        dataset.info.slots,
    )
    needed = _room(draft, dataset, np.union1d(train, heldout), config.seed, report)
    room = config.sequence.max_token_len or needed.text
    shape = dataclasses.replace(
        draft.shape, max_token_len=room, image_size=size.vision.image_size, truncate=config.sequence.truncate
    )
    resolved = dataclasses.replace(
        config,
        sequence=dataclasses.replace(config.sequence, max_token_len=room),
        network=dataclasses.replace(config.network, action_dim=shape.action_dim),
        loader=dataclasses.replace(config.loader, images=config.data.images),
    )
    return Setup(
        resolved,
        dataset,
        tokenizer,
        dataclasses.replace(draft, shape=shape),
        _model(resolved, size, vocab, layout, seen.spec.horizon),
        layout,
        train,
        heldout,
        _slots(config, dataset),
        needed.fast,
        config.tokenizer.path is None,
        _notes(layout, text, heldout),
    )


def _tokenizer(config: TrainConfig, dataset: Dataset, given: GivenStats | None, report: Progress) -> ActionTokenizer:
    if config.tokenizer.path is not None:
        (part,) = parts_of(load_tokenizer(config.tokenizer.path), dataset)  # A mixture's has the dataset's normaliser.
        return part.tokenizer
    fit = config.tokenizer.fit
    dims = len(chunk_spec(dataset, fit).kept(dataset.info.action_dim))
    normalizer = None if given is None else given.normalizer("actions", dims, fit)
    return fit_on_dataset(dataset, fit, normalizer=normalizer, progress=report).tokenizer


def _replay(tokenizer: ActionTokenizer, dataset: Dataset, config: TrainConfig, part: str) -> Replay:
    """The episodes of one side: the tokenizer's own split on its own data, else that of the configuration."""
    fit = config.tokenizer.fit
    options = RoundTripOptions(part=part, stride=fit.stride, holdout=fit.holdout, seed=fit.seed)  # type: ignore[arg-type]
    return Replay.of(tokenizer, dataset, options, split_others=True)


def _layout(config: TrainConfig) -> Layout:
    layout, mode = open_layout(config.sequence.layout), MODES[config.mode]
    if mode.fast and "fast" not in layout.kinds:
        raise UsageError(f"layout {layout.name} has no FAST tokens, which --mode {mode.name} learns: use --mode flow")
    if mode.flow and "actions" not in layout.kinds:
        raise UsageError(f"layout {layout.name} has no actions, which --mode {mode.name} learns: use --mode fast")
    if mode.flow and config.network.kind == "pi0_fast":
        raise UsageError(f"a pi0_fast model has no action expert, which --mode {mode.name} trains: use --mode fast")
    return layout if mode.fast else layout.without_fast()


def _state(dataset: Dataset, seen: Replay, report: Progress) -> Normalizer | None:
    if dataset.info.state_key is None:
        return None
    return fit_state_normalizer(
        dataset, episodes=seen.episodes, progress=lambda done, total: report("statistics", done, total)
    )


def _given_state(dataset: Dataset, config: TrainConfig, given: GivenStats) -> Normalizer | None:
    if dataset.info.state_key is None:
        return None
    return given.normalizer("state", dataset.info.state_dim, config.tokenizer.fit)


def _action_dim(config: TrainConfig, dataset: Dataset, size: ModelSize) -> int:
    if config.network.action_dim is not None:
        return config.network.action_dim
    return size.action_dim if size.name == "pi05" else max(dataset.info.action_dim, dataset.info.state_dim)


class _Room(NamedTuple):
    """Tokens that an example has room for: all of its text, and FAST's among them."""

    text: int
    fast: int


def _room(draft: Assembler, dataset: Dataset, episodes: NDArray[np.int64], seed: int, report: Progress) -> _Room:
    """What the longest need, in multiples of 8, with some to spare unless every window was looked at."""
    sampler = ChunkSampler(draft.spec, max_chunks=_MEASURED, seed=seed)
    for done, index in enumerate(episodes.tolist(), 1):
        sampler.add(dataset.read(index, state=draft.spec.needs_state))
        report("lengths", done, len(episodes))
    found = sample_of(sampler, dataset, episodes)
    kinds = [segment.kind for segment in draft.wording.layout.text]
    text = fast = 0
    for index in np.unique(found.chunks.episode).tolist():
        starts = np.sort(found.chunks.start[found.chunks.episode == index]).astype(np.int64)
        lengths = draft.examples(dataset.read(index), starts).lengths
        text = max(text, int(lengths.sum(axis=1).max()))
        if "fast" in kinds:
            fast = max(fast, int(lengths[:, kinds.index("fast")].max()))
    every = found.total_chunks <= _MEASURED
    return _Room(*(-(-max(1, most + (0 if every else most // _SPARE)) // 8) * 8 for most in (text, fast)))


def _slots(config: TrainConfig, dataset: Dataset) -> tuple[str, ...]:
    if not config.data.images:
        return ()
    slots = dataset.info.slots
    return tuple(slot for slot, camera in slots.items() if camera is not None or config.data.cameras == "all")


def _model(config: TrainConfig, size: ModelSize, vocab: int, layout: Layout, horizon: int) -> ModelConfig:
    network, mode = config.network, MODES[config.mode]
    assert network.action_dim is not None, "it is resolved"
    assert config.sequence.max_token_len is not None, "it is resolved"
    return ModelConfig(
        size,
        vocab,
        kind=network.kind,
        action_dim=network.action_dim,
        action_horizon=horizon,
        max_token_len=config.sequence.max_token_len,
        dtype=network.dtype,
        state_token=layout.state_form == "token",
        knowledge_insulation=mode.insulate,
        ki_fast_loss_weight=config.ki_fast_loss_weight,
        remat=network.remat,
        attention=network.attention,
        backbone_lora=network.backbone_lora,
        expert_lora=network.expert_lora,
        patch_gain=network.patch_gain,
    )


def _notes(layout: Layout, text: TextTokenizer, heldout: NDArray[np.int64]) -> tuple[str, ...]:
    notes = []
    if not len(heldout):
        notes.append("no episode is held out: what is measured is measured on training data")
    if layout.after_fast:
        late = " and ".join(layout.after_fast)
        notes.append(f"in layout {layout.name} the {late} stands after FAST, so that neither head can act on it")
    return tuple(notes)
