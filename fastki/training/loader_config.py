"""How the data of a training run are read: what a user may choose."""

from __future__ import annotations

from dataclasses import dataclass

from fastki.errors import UsageError


@dataclass(frozen=True)
class LoaderConfig:
    """How the data of a training run are read.

    Attributes:
        batch_size: B, examples of a step on all hosts together.
        seed: of the order.
        images: decode the pictures too.
        num_workers: processes that read; 0: threads of this one, which is enough for pictures that are quick to read.
        prefetch: batches read ahead; 0: each is read when it is asked for.
        cache_bytes: kept at most of what was read, on this host, shared out among the workers.
        cotrain: a JSONL file of pictures with questions and answers to learn beside the actions.
        cotrain_weight: its share of the examples, 0 to 1.

    Raises:
        UsageError: a number out of range.
    """

    batch_size: int = 32
    seed: int = 0
    images: bool = True
    num_workers: int = 0
    prefetch: int = 4
    cache_bytes: int = 2 << 30
    cotrain: str | None = None
    cotrain_weight: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0), ("num_workers", 0), ("prefetch", 0), ("cache_bytes", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(f"{name} {value} is out of range: {least} or more is needed")
        if not 0 <= self.cotrain_weight <= 1:
            raise UsageError(f"cotrain_weight {self.cotrain_weight} is out of range: a share from 0 to 1 is needed")

    @property
    def worker_bytes(self) -> int:
        """What each process that reads may keep."""
        return self.cache_bytes // max(1, self.num_workers)
