"""Whether a dataset is one that a policy can be measured on, and how it is read for that."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fastki.data import ChunkSpec, Dataset, DatasetInfo
from fastki.errors import UsageError
from fastki.evaluation.policy import Policy
from fastki.tokenizer.fast import FastTokenizer


@dataclass(frozen=True)
class Fit:
    """How a dataset is read for a policy.

    Attributes:
        spec: whole chunks from every frame, cut as those that the policy was trained on.
        cameras: slot of the policy → camera of the data; None: it is masked.
        names, units: of the A dimensions that it acts in.
        notes: what a user should know, a sentence each.
    """

    spec: ChunkSpec
    cameras: dict[str, str | None]
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    notes: tuple[str, ...] = ()


def fit_of(policy: Policy, dataset: Dataset) -> Fit:
    """How ``dataset`` is read for ``policy``.

    Raises:
        UsageError: other dimensions of actions or state, or no camera that the policy looks through.
    """
    info = dataset.info
    spec = chunk_spec(policy)
    kept = _kept(policy, spec, info)
    state = policy.assets.state_normalizer
    if state is not None and state.action_dim != info.state_dim:
        has = f"a state of {info.state_dim} numbers" if info.state_dim else "no state"
        raise UsageError(
            f"{info.uri} has {has}, and the policy was trained on one of {state.action_dim}: choose another with "
            "--state-key, or give data of the policy's robot"
        )
    cameras = {slot.name: _camera(slot.name, slot.camera, info) for slot in policy.card.slots}
    if cameras and not any(cameras.values()):
        raise UsageError(
            f"{info.uri} has no camera for {', '.join(cameras)}, through which the policy looks: name the robot with "
            "--robot, or give data with its cameras"
        )
    lacking = [slot.name for slot in policy.card.slots if slot.camera is not None and cameras[slot.name] is None]
    notes = (f"{info.uri} has no camera for {', '.join(lacking)}: the policy is blind there",) if lacking else ()
    return Fit(
        spec,
        cameras,
        tuple(info.action_names[dim] for dim in kept),
        tuple(info.action_units[dim] for dim in kept),
        notes,
    )


def chunk_spec(policy: Policy) -> ChunkSpec:
    """Whole chunks from every frame, cut as those that the policy was trained on."""
    tokenizer = policy.assets.tokenizer
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    spec = ChunkSpec() if source is None else source.spec
    return dataclasses.replace(spec, horizon=policy.horizon, stride=1, pad_end="none", idle=None)


def _kept(policy: Policy, spec: ChunkSpec, info: DatasetInfo) -> tuple[int, ...]:
    wanted = range(policy.action_dim) if spec.dims is None else spec.dims
    if max((*wanted, *spec.delta)) >= info.action_dim or (spec.dims is None and len(wanted) != info.action_dim):
        which = "" if spec.dims is None else f", numbers {', '.join(map(str, spec.dims))} of its data"
        raise UsageError(
            f"{info.uri} has {info.action_dim} action dimensions, and the policy acts in {policy.action_dim}{which}: "
            "choose others with --action-key, or give data of the policy's robot"
        )
    return spec.kept(info.action_dim)


def _camera(slot: str, trained: str | None, info: DatasetInfo) -> str | None:
    """The camera for a slot: by the robot's preset, or the one of that name in training."""
    found = info.slots.get(slot)
    if found is None and trained in info.cameras:
        return trained
    return found
