"""All that a training run depends on, as one value that a run's folder records and that runs again from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastki.data.options import OpenOptions
from fastki.errors import UsageError
from fastki.model.config import AttentionKernel, DType, Kind, LoraConfig, ModeName, Remat
from fastki.sequence.layout import DEFAULT
from fastki.sequence.options import SKIP
from fastki.tokenizer import FitOptions
from fastki.training.augment import AugmentConfig
from fastki.training.hosts import Hosts
from fastki.training.loader_config import LoaderConfig
from fastki.training.mesh import MeshOptions
from fastki.training.recipe import Recipe


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how they are opened.

    Attributes:
        uri: a folder, file, hub id, or ``synthetic:droid``.
        opened: keys, robot, rate.
        images: give the model pictures.
        cameras: ``present``: those slots that a camera of the data fills; ``all``: openpi's three, empty ones masked.
    """

    uri: str = "synthetic:droid"
    opened: OpenOptions = field(default_factory=OpenOptions)
    images: bool = True
    cameras: Literal["present", "all"] = "present"


@dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer of actions; its normaliser is the run's.

    Attributes:
        path: a folder or hub id; None fits one on the run's data.
        norm_stats: where one is fitted, the statistics that actions and state are normalised by: ``init``: those
            beside the weights of ``init`` (``init/ID`` names one of several); or a folder with ``norm_stats.json``;
            None: those of the run's data.
        fit: how, where one is fitted; its split by episode is the run's.
    """

    path: str | None = None
    norm_stats: str | None = None
    fit: FitOptions = field(default_factory=FitOptions)


@dataclass(frozen=True)
class SequenceConfig:
    """How an example reads.

    Attributes:
        layout: a preset's name or a TOML file.
        text: the text tokenizer: ``byte``, a SentencePiece ``.model``, a Hugging Face folder or id.
        skip: ids at the top of the text's vocabulary that FAST leaves alone.
        max_token_len: P; None: what the longest example of a sample needs, and an eighth more.
        truncate: cut off text that is too long, and count it, instead of stopping.
    """

    layout: str = DEFAULT
    text: str = "byte"
    skip: int = SKIP
    max_token_len: int | None = None
    truncate: bool = False


@dataclass(frozen=True)
class NetworkConfig:
    """What the model is made of; the rest follows from the data.

    Attributes:
        size: ``dummy``, ``tiny``, ``small`` or ``pi05``.
        kind: ``pi05``, ``pi0`` or ``pi0_fast``.
        action_dim: D, dimensions of actions and state; None: as many as the data have, or openpi's 32 for ``pi05``.
        dtype: of computation.
        remat, attention: see :class:`fastki.model.config.ModelConfig`.
        backbone_lora, expert_lora: low-rank additions.
        patch_gain: of a new image tower; see the same.
    """

    size: str = "tiny"
    kind: Kind = "pi05"
    action_dim: int | None = None
    dtype: DType = "float32"
    remat: Remat = "none"
    attention: AttentionKernel = "auto"
    backbone_lora: LoraConfig | None = None
    expert_lora: LoraConfig | None = None
    patch_gain: float = 4.0


@dataclass(frozen=True)
class SaveConfig:
    """When the run is saved and told of.

    Attributes:
        every: steps between checkpoints; the last step is always saved.
        keep: newest checkpoints that stay.
        keep_period: those of steps that it divides stay for ever besides; None keeps no others.
        log_every: steps between lines of the log.
        eval_every: steps between measurements on held-out episodes; None: only at the end.
        eval_examples: held-out windows that each of them takes.
    """

    every: int = 1000
    keep: int = 2
    keep_period: int | None = None
    log_every: int = 10
    eval_every: int | None = None
    eval_examples: int = 128

    def __post_init__(self) -> None:
        for name in ("every", "keep", "keep_period", "log_every", "eval_every", "eval_examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"save.{name} {value} is out of range: 1 or more is needed")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        preset: the name that it began with.
        mode: which losses, and whether the expert is insulated: ``ki``, ``joint``, ``flow``, ``fast``.
        steps: updates in all.
        seed: of the parameters, the noise and the order of the data.
        init: weights to begin with: an openpi checkpoint, a run of fastki's, PaliGemma's ``.npz``; None: random ones.
        ki_fast_loss_weight: of the cross-entropy beside the flow's loss.
        data, tokenizer, sequence, network: what is learnt, and by what.
        loader, augment, recipe, mesh, hosts, save: how. Where ``loader.seed`` differs from ``seed``, it is the order's.

    Raises:
        UsageError: a value out of range.
    """

    preset: str = "tiny"
    mode: ModeName = "ki"
    steps: int = 1000
    seed: int = 0
    init: str | None = None
    ki_fast_loss_weight: float = 1.0
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    augment: AugmentConfig | None = None
    recipe: Recipe = field(default_factory=Recipe)
    mesh: MeshOptions = field(default_factory=MeshOptions)
    hosts: Hosts = field(default_factory=Hosts)
    save: SaveConfig = field(default_factory=SaveConfig)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"--steps {self.steps} is out of range: 1 or more is needed")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative: 0 or more is needed")
