"""One message in, one answer out: what a server does for each request, apart from the network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastki import __version__
from fastki.errors import DataError
from fastki.evaluation.live import LivePolicy
from fastki.serving.messages import pack, unpack
from fastki.serving.observation import ObservationKeys


@dataclass(frozen=True)
class Answer:
    """What a client gets.

    Attributes:
        payload: of the answer without its times; None: the observation was refused.
        refusal: why it was, in one line.
        seconds: that the policy took.
    """

    payload: Mapping[str, Any] | None
    refusal: str = ""
    seconds: float = 0.0

    def packed(self, timing: Mapping[str, float]) -> bytes | str:
        """The message to send: text where it is a refusal, as openpi's client expects."""
        if self.payload is None:
            return self.refusal
        return pack({**self.payload, "server_timing": dict(timing)})


class Answerer:
    """A policy that answers messages.

    Args:
        policy: it acts.
        prompt: the instruction of observations without one.
        extra: that the metadata have besides.

    Raises:
        DataError: an extra name that the metadata have already, or a value that can't be sent.
    """

    def __init__(
        self, policy: LivePolicy, *, prompt: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        self.policy = policy
        self.keys = ObservationKeys(policy, prompt)
        own = metadata_of(policy, self.keys)
        if taken := sorted(set(own) & set(extra or {})):
            raise DataError(f"--metadata {taken[0]} is said by the server itself: choose another name")
        self.metadata = {**own, **(extra or {})}
        self.greeting = pack(self.metadata)

    def answer(self, message: bytes | str) -> Answer:
        """The chunk of actions for an observation, or why there is none; the same message gets the same."""
        try:
            if isinstance(message, str):
                raise DataError("the message is text: send an observation as msgpack, as openpi-client does")
            seen = self.keys.read(unpack(message))
            start = time.perf_counter()
            actions = self.policy.act(seen.images, seen.state, seen.prompt, previous=seen.previous)
            return Answer({"actions": actions}, seconds=time.perf_counter() - start)
        except DataError as error:
            return Answer(None, " ".join(str(error).split()))


def metadata_of(policy: LivePolicy, keys: ObservationKeys) -> dict[str, Any]:
    """What a client is told when it connects."""
    card, arm = policy.policy.card, policy.arm
    return {
        "server": f"fastki {__version__}",
        "fastki_version": __version__,
        "robot": arm.robot,
        "action_horizon": policy.horizon,
        "action_dim": policy.policy.action_dim,
        "action_names": list(arm.action_names),
        "action_units": list(arm.action_units),
        "fps": arm.fps,
        "state_dim": policy.state_dim,
        "state_names": list(arm.state_names) if policy.state_dim else [],
        "state_units": list(arm.state_units) if policy.state_dim else [],
        "cameras": list(policy.cameras),
        "image_size": card.model.size.vision.image_size,
        "prompt_needed": policy.needs_prompt and keys.prompt is None,
        "previous_action_needed": policy.needs_previous,
        "head": policy.head,
        "observation_keys": keys.plain(),
    }
