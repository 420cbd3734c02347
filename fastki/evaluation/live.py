"""A trained policy for whoever acts now, a robot or a simulator: one observation in, one chunk in native units out.

Axis letters: H horizon, A action dimensions of the robot, S state dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError, UsageError
from fastki.evaluation.acting import Frame, Head, Sampling
from fastki.evaluation.policy import Policy, find_policy, load_policy
from fastki.tokenizer.fast import FastTokenizer
from fastki.training.card import Arm

_BLANK = 48  # Pixels a side of the picture that is acted on once, to compile.


class LivePolicy:
    """One head of a policy, acting on what is seen now.

    Args:
        policy: loaded.
        head: that it acts by.

    Raises:
        UsageError: a head that it was not trained for.
    """

    def __init__(self, policy: Policy, head: Head = "flow") -> None:
        if head not in policy.heads:
            raise UsageError(
                f"this policy was trained with --mode {policy.card.mode}: it has no {head} head, use --head "
                f"{policy.heads[0]}"
            )
        self.policy, self.head = policy, head
        self.arm = arm_of(policy)

    @property
    def horizon(self) -> int:
        """H."""
        return self.policy.horizon

    @property
    def action_names(self) -> tuple[str, ...]:
        """A names."""
        return self.arm.action_names

    @property
    def fps(self) -> float | None:
        """Actions a second; None where the data did not say."""
        return self.arm.fps

    @property
    def slots(self) -> dict[str, str]:
        """Camera slot of the model → camera of the dataset that fills it, in order; masked ones are left out."""
        return {slot.name: slot.camera for slot in self.policy.card.slots if slot.camera is not None}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The dataset's cameras that it looks through, in order."""
        return tuple(self.slots.values())

    @property
    def state_dim(self) -> int:
        """S that it needs; 0: it looks at no state."""
        state = self.policy.assets.state_normalizer
        return 0 if state is None else state.action_dim

    @property
    def needs_prompt(self) -> bool:
        """Whether it looks at the instruction."""
        return "prompt" in self.policy.card.layout.kinds

    @property
    def room(self) -> int:
        """Text tokens that every observation is padded to, so that only one shape is compiled: all but FAST's."""
        card = self.policy.card
        return max(1, card.model.max_token_len - card.fast_tokens)

    @property
    def needs_previous(self) -> bool:
        """Whether it has to be told the action before, which its actions or tokens are relative to."""
        tokenizer = self.policy.assets.tokenizer
        if not isinstance(tokenizer, FastTokenizer):
            return False
        spec = None if tokenizer.source is None else tokenizer.source.spec
        relative = spec is not None and bool(spec.delta) and not spec.needs_state
        return relative or (self.head == "fast" and tokenizer.codec.reference != "none")

    def act(
        self,
        images: Mapping[str, NDArray[Any]],
        state: NDArray[Any] | None,
        prompt: str,
        *,
        previous: NDArray[Any] | None = None,
        draw: int = 0,
    ) -> NDArray[np.float32]:
        """The chunk of actions for what is seen, the first of them for now.

        Args:
            images: camera of the dataset, or slot of the model → one RGB picture of any size, in any form that
                :func:`fastki.data.pictures.as_picture` takes; others are not looked at.
            state: ``[S]``, native units; not looked at where :attr:`state_dim` is 0.
            prompt: the instruction.
            previous: ``[A]``, the action before, native units: where :attr:`needs_previous`.
            draw: the same observation gets the same actions; another number draws other noise.

        Returns:
            ``[H, A]``, native units, differences undone.

        Raises:
            DataError: a camera or numbers that are missing, do not fit, or are not finite; a prompt that is too long.
        """
        frame = self.frame(images, state, prompt, previous)
        return self.policy.act([frame], self.head, draw=draw, room=self.room).actions[0].astype(np.float32)

    def frame(
        self,
        images: Mapping[str, NDArray[Any]],
        state: NDArray[Any] | None,
        prompt: str,
        previous: NDArray[Any] | None = None,
    ) -> Frame:
        """The arguments of :meth:`act`, checked."""
        pictures = {}
        for slot, camera in self.slots.items():
            if camera not in images and slot not in images:
                raise DataError(f"there is no picture {camera}: the policy looks through {', '.join(self.cameras)}")
            pictures[slot] = images[camera] if camera in images else images[slot]
        told = _numbers(state, self.state_dim, self.arm.state_names, "state") if self.state_dim else None
        before = None
        if self.needs_previous:
            before = _numbers(previous, self.policy.action_dim, self.action_names, "previous action")
        return Frame(pictures, told, prompt, before)

    def warm_up(self) -> None:
        """Compile, so that the first real observation does not wait for it."""
        images = {camera: np.zeros((_BLANK, _BLANK, 3), np.uint8) for camera in self.cameras}
        self.act(images, np.zeros(self.state_dim), "", previous=np.zeros(self.policy.action_dim))


def live_policy(
    run: Path, *, head: Head = "flow", step: int | None = None, seed: int = 0, sampling: Sampling | None = None
) -> LivePolicy:
    """The policy of a run (its newest checkpoint, or that of ``step``) or of one checkpoint, to act with.

    Args:
        run: its folder.
        head: that it acts by.
        step: which checkpoint of the run.
        seed: of the noise and the tokens.
        sampling: all of how actions are drawn, in place of ``seed``.

    Raises:
        CheckpointError: there is none, or it is damaged.
        UsageError: a head that it was not trained for.
    """
    return LivePolicy(load_policy(find_policy(run, step), sampling or Sampling(seed=seed)), head)


def arm_of(policy: Policy) -> Arm:
    """The robot of a policy: its card's, else what its tokenizer knows of it, else dimensions by number."""
    if policy.card.arm is not None:
        return policy.card.arm
    tokenizer, state = policy.assets.tokenizer, policy.assets.state_normalizer
    names = tuple(f"state[{dim}]" for dim in range(0 if state is None else state.action_dim))
    unknown = (None,) * len(names)
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    if source is None or len(source.names) != policy.action_dim:
        numbered = tuple(f"action[{dim}]" for dim in range(policy.action_dim))
        return Arm(None, None, numbered, (None,) * policy.action_dim, None, names, unknown)
    key = source.opened.state_key if names else None
    return Arm(None, source.fps, source.names, source.units, key, names, unknown)


def _numbers(given: NDArray[Any] | None, width: int, names: Sequence[str], what: str) -> NDArray[np.float64]:
    """``[width]``, finite."""
    wanted = f"the policy needs {width} numbers ({', '.join(names)})"
    if given is None:
        raise DataError(f"there is no {what}: {wanted}")
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != (width,):
        raise DataError(f"the {what} has shape {list(array.shape)} and type {array.dtype}: {wanted}")
    numbers = array.astype(np.float64)
    if len(wrong := np.flatnonzero(~np.isfinite(numbers))):
        places = ", ".join(f"{names[place]} ({numbers[place]})" for place in wrong.tolist())
        raise DataError(f"the {what} is not finite: {places}")
    return numbers
