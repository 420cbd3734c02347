"""What acting needs to know of a run besides its parameters: written into the run's folder and every checkpoint.

assets/policy.json              the card
       tokenizer/               of the actions
       NAME/norm_stats.json     statistics of state and actions, where openpi looks for them
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fastki.config import from_plain, to_plain
from fastki.data.norm_stats import load_norm_stats, save_norm_stats
from fastki.data.normalize import Method, Normalizer
from fastki.errors import CheckpointError, UsageError
from fastki.files import write_text
from fastki.model.config import ModelConfig, ModeName
from fastki.sequence.layout import Layout
from fastki.tokenizer import ActionTokenizer, FastTokenizer, load_tokenizer
from fastki.training.prepare import Setup

FORMAT = 1
NAME, TOKENIZER = "policy.json", "tokenizer"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Slot:
    """A camera slot of the model, and the camera of the data that fills it; None: it is masked."""

    name: str
    camera: str | None


@dataclass(frozen=True)
class Arm:
    """The robot that a policy was trained on, as its data describe it.

    Attributes:
        robot: its name; None where unknown.
        fps: actions a second; None where unknown.
        action_names, action_units: of the A dimensions that the policy acts in.
        state_key: where the state was found, several keys joined by commas; None: there is none.
        state_names, state_units: of the S dimensions of the state.
    """

    robot: str | None = None
    fps: float | None = None
    action_names: tuple[str, ...] = ()
    action_units: tuple[str | None, ...] = ()
    state_key: str | None = None
    state_names: tuple[str, ...] = ()
    state_units: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class PolicyCard:
    """A trained model's surroundings.

    Attributes:
        format: of the file.
        model: its configuration.
        layout: of its sequences, FAST included.
        mode: that it was trained in.
        text: the text tokenizer, as a user names it.
        skip: ids at the top of the text's vocabulary that FAST leaves alone.
        slots: cameras that it is given, in order.
        fast_tokens: that a chunk may take.
        asset_id: folder of the statistics.
        action_norm, state_norm: methods of the normalisers; None: there is no state.
        published: the folder or id of a published FAST tokenizer, which is not copied; None: ours, under ``tokenizer``.
        data: that it was trained on.
        arm: that the data are of; None in cards that were written before it was noted.
    """

    model: ModelConfig
    layout: Layout
    mode: ModeName
    text: str
    skip: int
    slots: tuple[Slot, ...]
    fast_tokens: int
    asset_id: str
    action_norm: Method
    state_norm: Method | None
    data: str
    published: str | None = None
    arm: Arm | None = None
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class Assets:
    """What a card speaks of, loaded.

    Attributes:
        card: the card.
        tokenizer: with its normaliser.
        state_normalizer: of the state; None where there is none.
    """

    card: PolicyCard
    tokenizer: ActionTokenizer
    state_normalizer: Normalizer | None


def card_of(setup: Setup) -> PolicyCard:
    """The card of a run."""
    cameras = setup.dataset.info.slots
    state, actions = setup.assembler.state_normalizer, setup.tokenizer.normalizer
    assert actions is not None, "a run's tokenizer has a normaliser"
    return PolicyCard(
        model=setup.model,
        layout=setup.layout,
        mode=setup.config.mode,
        text=setup.config.sequence.text,
        skip=setup.config.sequence.skip,
        slots=tuple(Slot(name, cameras[name]) for name in setup.slots),
        fast_tokens=setup.fast_tokens,
        asset_id=setup.dataset.info.preset or "fastki",
        action_norm=actions.method,
        state_norm=None if state is None else state.method,
        data=setup.dataset.info.uri,
        published=None if isinstance(setup.tokenizer, FastTokenizer) else setup.config.tokenizer.path,
        arm=_arm(setup),
    )


def _arm(setup: Setup) -> Arm:
    info = setup.dataset.info
    kept = setup.assembler.spec.kept(info.action_dim)
    return Arm(
        robot=info.robot,
        fps=info.fps,
        action_names=tuple(info.action_names[dim] for dim in kept),
        action_units=tuple(info.action_units[dim] for dim in kept),
        state_key=info.state_key,
        state_names=info.state_names,
        state_units=info.state_units,
    )


def save_assets(folder: Path, setup: Setup) -> None:
    """Write the card and what it speaks of into ``folder``."""
    card = card_of(setup)
    if isinstance(setup.tokenizer, FastTokenizer):
        setup.tokenizer.save(folder / TOKENIZER)
    save_norm_stats(folder / card.asset_id, setup.assembler.norm_stats())
    write_text(folder / NAME, json.dumps(to_plain(card), indent=2, ensure_ascii=False) + "\n")


def load_assets(folder: Path) -> Assets:
    """What :func:`save_assets` wrote.

    Raises:
        CheckpointError: there is no card, or a damaged one, or one of another version.
        TokenizerError, DataError: a part of it is damaged.
    """
    card = _read_card(folder / NAME)
    stats = load_norm_stats(folder / card.asset_id)
    state = None
    if card.state_norm is not None:
        if "state" not in stats:
            raise CheckpointError(f"{folder / card.asset_id} lacks the statistics of the state: copy it again")
        state = Normalizer(card.state_norm, stats["state"])
    tokenizer = load_tokenizer(card.published or folder / TOKENIZER)
    if tokenizer.normalizer is None:
        if "actions" not in stats:
            raise CheckpointError(f"{folder / card.asset_id} lacks the statistics of the actions: copy it again")
        tokenizer = tokenizer.with_normalizer(Normalizer(card.action_norm, stats["actions"]))  # type: ignore[attr-defined]
    return Assets(card, tokenizer, state)


def _read_card(path: Path) -> PolicyCard:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: it is no card of a policy")
        document = json.loads(path.read_bytes())
        if isinstance(document, dict) and document.get("format") != FORMAT:
            raise CheckpointError(f"{path} is of format {document.get('format')}, and this fastki reads {FORMAT}")
        return from_plain(PolicyCard, document)
    except OSError as error:
        raise CheckpointError(f"{path.parent} is not of a run of fastki: it has no {path.name}") from error
    except (ValueError, RecursionError, UsageError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
