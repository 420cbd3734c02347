"""A trained model that acts: frames in, chunks of actions in the robot's own units out, by either head.

Axis letters: B frames, H horizon, A action dimensions of the robot, D those of the model, S state dimensions.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from fastki.data.pictures import as_picture
from fastki.errors import CheckpointError, DataError, UsageError
from fastki.evaluation.acting import HEADS, Acted, Frame, Head, Sampling
from fastki.model.checkpoint import load_openpi
from fastki.model.fast_sampling import TokenHead, Written, write_tokens
from fastki.model.flow_sampling import draw_noise, sample_actions
from fastki.model.params import Definition, Params, abstract_model
from fastki.sequence.batch import Observation, pad_and_mask
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Layout
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.rules import rules_of
from fastki.training.card import NAME, Assets, load_assets
from fastki.training.steps import ASSETS, PARAMS, find_steps

__all__ = ["HEADS", "Acted", "Frame", "Head", "Policy", "Sampling", "find_policy", "load_policy"]
_WIDTH = 32  # The text's width is a multiple: few shapes, so that little is compiled.


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

    def act(self, frames: Sequence[Frame], head: Head = "flow", *, draw: int = 0, room: int = 0) -> Acted:
        """A chunk of actions for each frame.

        Args:
            frames: B of them.
            head: of the model.
            draw: another number draws other noise.
            room: see :meth:`observe`.

        Raises:
            UsageError: a head that it was not trained for.
            DataError: a frame that does not fit: state, cameras or pictures.
        """
        if head not in self.heads:
            raise UsageError(f"this policy was trained with --mode {self.card.mode}: it has no {head} head")
        observation = self.observe(frames, head, room=room)
        key = jax.random.fold_in(jax.random.key(self.sampling.seed), draw)
        start = time.perf_counter()
        if head == "flow":
            normalized = np.asarray(self._flow(self.params, observation, key), np.float64)[..., : self.action_dim]
            seconds = time.perf_counter() - start
            return self._acted(frames, normalized, None, np.zeros(len(frames), bool), seconds)
        written: Written = jax.block_until_ready(self._fast(self.params, observation, key))
        seconds = time.perf_counter() - start
        rows = [row[:n] for row, n in zip(np.asarray(written.tokens), np.asarray(written.lengths), strict=True)]
        decoded = self.assets.tokenizer.decode_normalized_report(
            rows, horizon=self.horizon, action_dim=self.action_dim, previous=self._previous(frames)
        )
        lengths = np.asarray(written.lengths, np.int64)
        return self._acted(frames, decoded.actions, lengths, decoded.repairs.total > 0, seconds)

    def observe(self, frames: Sequence[Frame], head: Head, *, room: int = 0) -> Observation:
        """The frames as the model takes them, the text up to where the head begins.

        Args:
            frames: B of them.
            head: whose text.
            room: text tokens that are padded to at least, so that texts of many lengths have one shape.

        Raises:
            DataError: a frame that does not fit, or whose text is longer than any that the policy was trained on.
        """
        wording = self.wording(head)
        states = self._states(frames)
        ids, lengths = wording.encode([frame.prompt for frame in frames], states, None)
        needed, most = max(1, int(lengths.sum(axis=1).max(initial=1))), self.card.model.max_token_len
        if needed > most:
            raise DataError(f"the prompt takes {needed} text tokens, and the policy has room for {most}: shorten it")
        room = min(most, max(room, -(-needed // _WIDTH) * _WIDTH))
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
        repaired: NDArray[np.bool_],
        seconds: float,
    ) -> Acted:
        normalizer = self.assets.tokenizer.normalizer
        assert normalizer is not None, "assets have one"
        actions = normalizer.unnormalize(normalized) + self.reference(frames)[:, None]
        return Acted(actions, normalized, tokens, repaired, seconds)

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


def find_policy(path: Path, step: int | None = None) -> Path:
    """The folder of the checkpoint that ``path`` means.

    Args:
        path: a run's folder, or a checkpoint's.
        step: which of the run's; None: the newest.

    Raises:
        CheckpointError: there is none.
        UsageError: a step of what is one checkpoint.
    """
    # A run's folder has assets too.
    if (path / ASSETS / NAME).is_file() and (path / PARAMS).is_dir():
        if step is not None:
            raise UsageError(f"{path} is one checkpoint: leave --step out, or give the run's folder")
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if not folder.is_dir():
        raise CheckpointError(f"{path} does not exist: give the folder of a run or checkpoint")
    steps = find_steps(folder, training=False)
    if steps.latest is None:
        why = "; ".join(f"{name}: {reason}" for name, reason in steps.ignored.items())
        raise CheckpointError(f"{path} has no checkpoint of a run of fastki" + (f" ({why})" if why else ""))
    if step is not None and step not in steps.usable:
        why = steps.ignored.get(str(step), f"it has {', '.join(map(str, steps.usable))}")
        raise CheckpointError(f"{path} has no checkpoint of step {step}: {why}")
    return folder / str(steps.latest if step is None else step)
