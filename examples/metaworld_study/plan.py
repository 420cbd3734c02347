"""What is compared: every mode with every tokenizer that it learns."""

from __future__ import annotations

from dataclasses import dataclass

from fastki.errors import UsageError
from fastki.model.config import MODES
from fastki.study.training_cells import Variant


@dataclass(frozen=True)
class Combination:
    """A mode and the tokenizer that it learns.

    Attributes:
        mode: of training.
        bins, vocab: of the tokenizer; None where the mode learns no tokens.
    """

    mode: str
    bins: int | None = None
    vocab: int | None = None

    @property
    def name(self) -> str:
        """Of its runs."""
        return self.mode if self.bins is None else f"{self.mode}-bins{self.bins}-vocab{self.vocab}"

    @property
    def variant(self) -> Variant:
        """As ``fastki train --set`` would have it."""
        tokenizer = () if self.bins is None or self.vocab is None else tokenizer_settings(self.bins, self.vocab)
        return Variant(self.name, (f"mode={self.mode}", *tokenizer))


@dataclass(frozen=True)
class Plan:
    """A study.

    Attributes:
        modes: of training.
        bins: quantisation steps over [-1, 1], of the tokenizers.
        vocab: their sizes.
        steps: of each training.
        seeds: trainings of each combination.
        rollouts: simulated episodes of each head of each training; 0 for none.
        task: of Meta-World.
        settings: ``a.b=c`` each, of every training.
    """

    modes: tuple[str, ...] = ("ki", "joint", "flow", "fast")
    bins: tuple[int, ...] = (8, 32)
    vocab: tuple[int, ...] = (128, 512)
    steps: int = 1600
    seeds: int = 1
    rollouts: int = 20
    task: str = "reach-v3"
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("--modes", self.modes), ("--bins", self.bins), ("--vocab", self.vocab)):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{name} {','.join(map(str, values))} names nothing, or something twice")
        if unknown := [mode for mode in self.modes if mode not in MODES]:
            raise UsageError(f"--modes {unknown[0]} is none: use {', '.join(MODES)}")
        if self.rollouts < 0:
            raise UsageError(f"--rollouts {self.rollouts} is out of range: 0 or more is needed")

    @property
    def env(self) -> str:
        """Where the policies act."""
        return f"metaworld:{self.task}"

    @property
    def tokenizers(self) -> list[tuple[int, int]]:
        """Bins and vocabulary of each."""
        return [(bins, vocab) for bins in self.bins for vocab in self.vocab]

    def combinations(self) -> list[Combination]:
        """In the order of the tables.

        >>> [one.name for one in Plan(modes=("ki", "flow"), bins=(8,)).combinations()]
        ['ki-bins8-vocab128', 'ki-bins8-vocab512', 'flow']
        """
        found = []
        for mode in self.modes:
            learnt = self.tokenizers if MODES[mode].fast else [(None, None)]
            found += [Combination(mode, bins, vocab) for bins, vocab in learnt]
        return found


def tokenizer_settings(bins: int, vocab: int) -> tuple[str, ...]:
    """As ``--set`` would have it."""
    return f"tokenizer.fit.tokenizer.bins={bins}", f"tokenizer.fit.tokenizer.vocab_size={vocab}"
