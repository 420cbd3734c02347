"""What a recorded dataset says of the simulator it came from, so that a policy acts in the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fastki.config import from_plain
from fastki.data.files import read_json_object
from fastki.data.paths import AnyPath
from fastki.errors import DataError, UsageError
from fastki.sim.prompts import PROMPTS
from fastki.sim.world import Setting

NAME = "meta/fastki_sim.json"
_PREFIX = "observation.images."


@dataclass(frozen=True)
class Recording:
    """Where demonstrations came from.

    Attributes:
        prompts: task → its instruction.
        setting: how the tasks were seen and stepped.
        longest: frames of the longest episode.
        seeds: of the episodes, in order.
        simulator: its name.
    """

    prompts: Mapping[str, str]
    setting: Setting
    longest: int = 0
    seeds: tuple[int, ...] = field(default=())
    simulator: str = "metaworld"

    @classmethod
    def of(cls, tasks: Sequence[str], setting: Setting) -> Recording:
        """Of tasks of Meta-World."""
        return cls({task: PROMPTS[task] for task in tasks}, setting)

    @staticmethod
    def key(camera: str) -> str:
        """The dataset's key for a camera."""
        return f"{_PREFIX}{camera}"

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def read_recording(root: AnyPath) -> Recording:
    """What the dataset in folder ``root`` says.

    Raises:
        UsageError: it was not recorded by ``fastki sim record``.
        DataError: what it says is damaged.
    """
    path = root / NAME
    if not path.is_file():
        raise UsageError(f"{root} does not say which simulator it came from: it needs data of `fastki sim record`")
    plain = read_json_object(path)
    plain.pop("recorded_with", None)
    try:
        setting = from_plain(Setting, plain.pop("setting"))
        prompts = {str(task): str(prompt) for task, prompt in plain.pop("prompts").items()}
        seeds = tuple(int(seed) for seed in plain.pop("seeds"))
        return Recording(prompts, setting, int(plain["longest"]), seeds, str(plain["simulator"]))
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise DataError(f"{path} is damaged ({error}): record again") from error
