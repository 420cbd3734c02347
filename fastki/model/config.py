"""What a model is made of, and which of its losses are trained how. Nothing here needs JAX."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Literal

from fastki.errors import UsageError
from fastki.sequence.sizes import SIZES, ModelSize, StreamSize

Kind = Literal["pi05", "pi0", "pi0_fast"]
DType = Literal["float32", "bfloat16"]
Remat = Literal["none", "dots", "full"]
AttentionKernel = Literal["auto", "xla", "cudnn", "blocks"]
ModeName = Literal["ki", "joint", "flow", "fast"]


@dataclass(frozen=True)
class Mode:
    """Which losses a step has, and whether the flow's gradient is kept from the backbone.

    Attributes:
        name: on the command line.
        flow: the action expert learns continuous actions.
        fast: the backbone learns FAST tokens.
        insulate: the expert reads the backbone's keys and values without a gradient.
    """

    name: ModeName
    flow: bool
    fast: bool
    insulate: bool


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("ki", flow=True, fast=True, insulate=True),
        Mode("joint", flow=True, fast=True, insulate=False),
        Mode("flow", flow=True, fast=False, insulate=False),
        Mode("fast", flow=False, fast=True, insulate=False),
    )
}
"""``ki``: Driess et al., "Knowledge insulating vision-language-action models" (2025). ``joint``: the same without the
stop-gradient. ``flow``: what openpi trains as π0.5. ``fast``: what it trains as π0-FAST."""


def model_mode(name: str) -> Mode:
    """The mode of that name; UsageError with a near one if there is none."""
    if name in MODES:
        return MODES[name]
    near = difflib.get_close_matches(name, MODES, n=1)
    raise UsageError(f"there is no mode {name!r}: " + (f"did you mean {near[0]}?" if near else "use " + _either(MODES)))


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank additions ``a·b·alpha/rank`` to every attention and MLP weight of a stream.

    Hu et al., "LoRA: low-rank adaptation of large language models" (2021), equation 3; names and scaling are openpi's.

    Attributes:
        rank: of the additions.
        alpha: the numerator of their scale.

    Raises:
        UsageError: a rank below 1.
    """

    rank: int = 16
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError(f"a LoRA rank of {self.rank} is out of range: 1 or more is needed")

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class ModelConfig:
    """A π0.5-style model; names of fields are openpi's where it has them.

    Attributes:
        size: widths, depths and heads of its three networks.
        vocab: V, rows of the embedding table.
        kind: ``pi05``: adaptive norms on the flow time, state in the text. ``pi0``: a state token and a time MLP on the
            actions. ``pi0_fast``: the backbone alone.
        action_dim: D, padded.
        action_horizon: H.
        max_token_len: P.
        dtype: of computation; parameters, softmax and norms are float32 always.
        state_token: whether the text may hold the state as one continuous token, which then has a projection.
        knowledge_insulation: keep the flow's gradient from the backbone, where both losses are trained.
        ki_fast_loss_weight: weight of the cross-entropy beside the flow's loss.
        remat: what the backward pass recomputes: ``none``; ``dots`` keeps only products with weights; ``full`` keeps
            only each layer's input.
        attention: ``cudnn`` or ``xla`` kernels, or ``blocks`` of queries (:mod:`fastki.model.blocked`); ``auto`` takes
            cuDNN's where they run, and blocks on a processor.
        backbone_lora, expert_lora: low-rank additions, None for none.
        patch_gain: of the first values of a new image tower's patches: at 1, what small things look like is faint, and
            what its blocks add to every patch alike buries it for long; weights that are loaded don't have it.

    Raises:
        UsageError: a value out of range, or that does not go with another.
    """

    size: ModelSize
    vocab: int
    kind: Kind = "pi05"
    action_dim: int = 32
    action_horizon: int = 16
    max_token_len: int = 200
    dtype: DType = "bfloat16"
    state_token: bool = False
    knowledge_insulation: bool = True
    ki_fast_loss_weight: float = 1.0
    remat: Remat = "full"
    attention: AttentionKernel = "auto"
    backbone_lora: LoraConfig | None = None
    expert_lora: LoraConfig | None = None
    patch_gain: float = 4.0

    def __post_init__(self) -> None:
        for name in ("vocab", "action_dim", "action_horizon", "max_token_len"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} is out of range: 1 or more is needed")
        if self.ki_fast_loss_weight < 0:
            raise UsageError(f"ki_fast_loss_weight {self.ki_fast_loss_weight:g} is out of range: 0 or more is needed")
        if self.patch_gain <= 0:
            raise UsageError(f"patch_gain {self.patch_gain:g} is out of range: more than 0 is needed")
        heads, kv_heads = self.size.backbone.heads, self.size.backbone.kv_heads
        if heads % kv_heads:
            raise UsageError(f"{heads} heads can't share {kv_heads} key/value heads: their number must divide")
        if self.size.vocab is not None and self.vocab < self.size.vocab:
            raise UsageError(f"model {self.size.name} has a vocabulary of {self.size.vocab:,}, not {self.vocab:,}")
        if self.kind == "pi0_fast" and self.expert_lora is not None:
            raise UsageError("a pi0_fast model has no action expert: leave expert_lora out")

    @property
    def streams(self) -> tuple[StreamSize, ...]:
        """Backbone and, where there is one, expert."""
        return (self.size.backbone,) if self.kind == "pi0_fast" else (self.size.backbone, self.size.expert)

    @property
    def loras(self) -> tuple[LoraConfig | None, ...]:
        """Of each stream."""
        return (self.backbone_lora, self.expert_lora)[: len(self.streams)]

    @property
    def adaptive(self) -> bool:
        """Whether the expert's norms depend on the flow time."""
        return self.kind == "pi05"

    @property
    def suffix_len(self) -> int:
        """Tokens of the expert: the actions, and π0's state."""
        return self.action_horizon + (self.kind == "pi0")

    @property
    def mode(self) -> Mode:
        """What training does unless told otherwise."""
        if self.kind == "pi0_fast":
            return MODES["fast"]
        return MODES["ki" if self.knowledge_insulation else "joint"]


def small_config(name: str = "dummy", **changes: object) -> ModelConfig:
    """A model for tests and examples: the size of that name, the byte tokenizer's vocabulary, float32, no remat.

    Raises:
        UsageError: a field's value is out of range.
    """
    base = ModelConfig(SIZES[name], vocab=2048, dtype="float32", remat="none", max_token_len=SIZES[name].max_token_len)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def _either(words: dict[str, Mode]) -> str:
    return ", ".join(list(words)[:-1]) + " or " + list(words)[-1]
