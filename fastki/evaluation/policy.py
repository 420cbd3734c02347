"""A trained model that acts: frames in, chunks of actions in the robot's own units out, by either head.

Axis letters: B frames, H horizon, A action dimensions of the robot, D those of the model, S state dimensions.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from fastki.data.pictures import as_picture
from fastki.errors import CheckpointError, DataError, UsageError
from fastki.model.checkpoint import load_openpi
from fastki.model.fast_sampling import TokenHead, Written, write_tokens
from fastki.model.flow_sampling import draw_noise, sample_actions
from fastki.model.params import Definition, Params, abstract_model
from fastki.sequence.batch import Observation, pad_and_mask
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Layout
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.sizes import STEPS
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.rules import rules_of
from fastki.tokenizer.stream import Repairs
from fastki.training.card import NAME, Assets, load_assets
from fastki.training.steps import ASSETS, find_steps

Head = Literal["flow", "fast"]
HEADS: tuple[Head, ...] = ("flow", "fast")
_WIDTH = 32  # The text's width is a multiple: few shapes, so that little is compiled.


@dataclass(frozen=True, eq=False)
class Frame:
    """What a policy looks at.

    Attributes:
        images: camera slot → RGB picture in any form that :func:`fastki.data.pictures.as_picture` takes.
        state: ``[S]`` native units; None where there is none.
        prompt: the instruction.
        previous: ``[A]``, the action before, native units: only for tokenizers and data that refer to it.
    """

    images: Mapping[str, NDArray[Any]]
    state: NDArray[Any] | None
    prompt: str = ""
    previous: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Acted:
    """What a policy did with B frames.

    Attributes:
        actions: float64 ``[B, H, A]``, native units, differences undone.
        normalized: float64 ``[B, H, A]``, as the model has them.
        tokens: int64 ``[B]``, FAST tokens written; None of the flow.
        malformed: of B, sequences that had to be repaired; 0 of the flow.
        seconds: that the model took.
    """

    actions: NDArray[np.float64]
    normalized: NDArray[np.float64]
    tokens: NDArray[np.int64] | None
    malformed: int
    seconds: float


@dataclass(frozen=True)
class Sampling:
    """How actions are drawn.

    Attributes:
        num_steps: Euler steps of the flow.
        temperature: of FAST tokens; 0 takes the likeliest.
        seed: of noise and tokens.

    Raises:
        UsageError: a number out of range.
    """

    num_steps: int = STEPS
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UsageError(f"--num-steps {self.num_steps} is out of range: 1 or more is needed")
        if not self.temperature >= 0:
            raise UsageError(f"--temperature {self.temperature} is out of range: 0 or more is needed")


class Policy:
    """A model with all that stands around it.

    Args:
        assets: card, tokenizer and normalisers.
        params: nested, as of :func:`fastki.model.params.init_model`.
        sampling: how actions are drawn.
    """

    def __init__(self, assets: Assets, params: Params, sampling: Sampling | None = None) -> None:
        self.assets, self.params = assets, params
        self.card = assets.card
        self.sampling = Sampling() if sampling is None else sampling
        self.definition: Definition = abstract_model(self.card.model, layout=self.card.layout)[0]
        self._text = open_text_tokenizer(self.card.text)

    @property
    def heads(self) -> tuple[Head, ...]:
        """What it was trained to act by."""
        learnt = {"ki": HEADS, "joint": HEADS, "flow": HEADS[:1], "fast": HEADS[1:]}
        return learnt[self.card.mode]

    @property
    def horizon(self) -> int:
        """H."""
        return self.card.model.action_horizon

    @property
    def action_dim(self) -> int:
        """A."""
        normalizer = self.assets.tokenizer.normalizer
        assert normalizer is not None, "assets have one"
        return normalizer.action_dim

    def act(self, frames: Sequence[Frame], head: Head = "flow", *, draw: int = 0) -> Acted:
        """A chunk of actions for each frame.

        Args:
            frames: B of them.
            head: of the model.
            draw: another number draws other noise.

        Raises:
            UsageError: a head that it was not trained for.
            DataError: a frame that does not fit: state, cameras or pictures.
        """
        if head not in self.heads:
            raise UsageError(f"this policy was trained with --mode {self.card.mode}: it has no {head} head")
        observation = self.observe(frames, head)
        key = jax.random.fold_in(jax.random.key(self.sampling.seed), draw)
        start = time.perf_counter()
        if head == "flow":
            normalized = np.asarray(self._flow(self.params, observation, key), np.float64)[..., : self.action_dim]
            return self._acted(frames, normalized, None, 0, time.perf_counter() - start)
        written: Written = jax.block_until_ready(self._fast(self.params, observation, key))
        seconds = time.perf_counter() - start
        rows = [row[:n] for row, n in zip(np.asarray(written.tokens), np.asarray(written.lengths), strict=True)]
        decoded = self.assets.tokenizer.decode_normalized_report(
            rows, horizon=self.horizon, action_dim=self.action_dim, previous=self._previous(frames)
        )
        lengths = np.asarray(written.lengths, np.int64)
        return self._acted(frames, decoded.actions, lengths, _mended(decoded.repairs), seconds)

    def observe(self, frames: Sequence[Frame], head: Head) -> Observation:
        """The frames as the model takes them, the text up to where the head begins."""
        wording = self.wording(head)
        states = self._states(frames)
        ids, lengths = wording.encode([frame.prompt for frame in frames], states, None)
        room = min(
            self.card.model.max_token_len, -(-max(1, int(lengths.sum(axis=1).max(initial=1))) // _WIDTH) * _WIDTH
        )
        text = pad_and_mask(
            wording.layout, ids, lengths, max_token_len=room, pad_id=self._text.pad_id, opening=wording.opening
        )
        width = self.card.model.action_dim
        state = np.zeros((len(frames), width), np.float32)
        if states is not None:
            state[:, : states.shape[1]] = states
        images, masks = self._pictures(frames)
        return Observation(
            images,
            masks,
            state,
            text.tokenized_prompt,
            text.tokenized_prompt_mask,
            text.token_ar_mask,
            np.zeros_like(text.token_loss_mask),
        )

    def wording(self, head: Head) -> Wording:
        """How the text of a head reads."""
        layout: Layout = self.card.layout
        return Wording(layout.for_flow() if head == "flow" else layout.for_fast(), self._text, self.fast_ids)

    @functools.cached_property
    def fast_ids(self) -> FastIds:
        """Where FAST's ids stand."""
        vocab = self.assets.tokenizer.vocab_size
        return FastIds.onto(self._text, vocab, skip=self.card.skip, text_vocab=self.card.model.vocab)

    @functools.cached_property
    def _flow(self) -> Callable[..., Any]:
        def sample(params: Params, observation: Observation, key: jax.Array) -> jax.Array:
            model = self.definition.merge(params)
            noise = draw_noise(model, key, observation.state.shape[0])
            return sample_actions(model, observation, noise, num_steps=self.sampling.num_steps, dims=self.action_dim)

        return jax.jit(sample)

    @functools.cached_property
    def _fast(self) -> Callable[..., Any]:
        end = self.wording("fast").tail[0]
        head = TokenHead.of(rules_of(self.assets.tokenizer), self.fast_ids, end)

        def sample(params: Params, observation: Observation, key: jax.Array) -> Written:
            model, most = self.definition.merge(params), self.card.fast_tokens
            return write_tokens(model, observation, key, head, max_tokens=most, temperature=self.sampling.temperature)

        return jax.jit(sample)

    def _acted(
        self,
        frames: Sequence[Frame],
        normalized: NDArray[np.float64],
        tokens: NDArray[np.int64] | None,
        malformed: int,
        seconds: float,
    ) -> Acted:
        normalizer = self.assets.tokenizer.normalizer
        assert normalizer is not None, "assets have one"
        actions = normalizer.unnormalize(normalized) + self.reference(frames)[:, None]
        return Acted(actions, normalized, tokens, malformed, seconds)

    def _states(self, frames: Sequence[Frame]) -> NDArray[np.float64] | None:
        normalizer = self.assets.state_normalizer
        if normalizer is None:
            return None
        width = normalizer.action_dim
        for frame in frames:
            shape = None if frame.state is None else np.shape(frame.state)
            if shape != (width,):
                raise DataError(f"the policy needs a state of {width} numbers, and the frame has {shape or 'none'}")
        return normalizer.normalize(np.stack([np.asarray(frame.state, np.float64) for frame in frames]))

    def _pictures(self, frames: Sequence[Frame]) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]]]:
        size = self.card.model.size.vision.image_size
        images = {slot.name: np.zeros((len(frames), size, size, 3), np.uint8) for slot in self.card.slots}
        masks = {slot.name: np.zeros(len(frames), bool) for slot in self.card.slots}
        for place, frame in enumerate(frames):
            found = [slot.name for slot in self.card.slots if slot.name in frame.images]
            if self.card.slots and not found:
                wanted = ", ".join(slot.name for slot in self.card.slots)
                raise DataError(f"the policy needs a picture for at least one of {wanted}, and the frame has none")
            for name in found:
                images[name][place] = resize_with_pad(
                    as_picture(np.asarray(frame.images[name]), where=name), size, size
                )
                masks[name][place] = True
        return images, masks

    def reference(self, frames: Sequence[Frame]) -> NDArray[np.float64]:
        """``[B, A]``, what the model's actions are relative to; 0 where they are not."""
        source = self.assets.tokenizer.source if isinstance(self.assets.tokenizer, FastTokenizer) else None
        spec = None if source is None else source.spec
        reference = np.zeros((len(frames), self.action_dim))
        if spec is None or not spec.delta:
            return reference
        dims = list(range(self.action_dim)) if spec.dims is None else list(spec.dims)
        for place, frame in enumerate(frames):
            origin = frame.state if spec.needs_state else frame.previous
            if origin is None:
                raise DataError(f"the policy's actions are relative to the {spec.delta_from}, and the frame has none")
            for dim in spec.delta:
                reference[place, dims.index(dim)] = np.asarray(origin)[dim if spec.needs_state else dims.index(dim)]
        return reference

    def _previous(self, frames: Sequence[Frame]) -> NDArray[np.float64] | None:
        tokenizer = self.assets.tokenizer
        if not isinstance(tokenizer, FastTokenizer) or tokenizer.codec.reference == "none":
            return None
        if any(frame.previous is None for frame in frames):
            raise DataError("the tokenizer writes chunks relative to the action before: give each frame its previous")
        assert tokenizer.normalizer is not None, "assets have one"
        before = np.stack([np.asarray(frame.previous, np.float64) for frame in frames])
        return tokenizer.normalizer.normalize(before - self.reference(frames))


def _mended(repairs: Repairs) -> int:
    """Sequences that needed any repair."""
    counts = [getattr(repairs, field.name) for field in dataclasses.fields(repairs)]
    return int(np.count_nonzero(np.sum(counts, axis=0)))


def load_policy(path: Path, sampling: Sampling | None = None) -> Policy:
    """The policy of a run's folder (its newest checkpoint), or of one checkpoint of it.

    Raises:
        CheckpointError: there is none, or it is damaged.
        FastkiError: a part of it can't be used.
    """
    place = find_policy(path)
    assets = load_assets(place / ASSETS)
    definition = abstract_model(assets.card.model, layout=assets.card.layout)[0]
    return Policy(assets, load_openpi(place, definition).params, sampling)


def find_policy(path: Path) -> Path:
    """The folder of the checkpoint that ``path`` means.

    Raises:
        CheckpointError: there is none.
    """
    if (path / ASSETS / NAME).is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if not folder.is_dir():
        raise CheckpointError(f"{path} does not exist: give the folder of a run or checkpoint")
    steps = find_steps(folder, training=False)
    if steps.latest is None:
        why = "; ".join(f"{name}: {reason}" for name, reason in steps.ignored.items())
        raise CheckpointError(f"{path} has no checkpoint of a run of fastki" + (f" ({why})" if why else ""))
    return folder / str(steps.latest)
