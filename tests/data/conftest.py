"""Made datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot_maker import Clips, LeRobotFactory
from numpy.typing import NDArray


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> Clips:
    monkeypatch.setenv("SVT_LOG", "0")  # The AV1 encoder writes to standard error otherwise.
    return Clips()


@pytest.fixture
def make_lerobot(tmp_path: Path, clips: Clips) -> LeRobotFactory:
    return LeRobotFactory(tmp_path, clips)


@pytest.fixture
def some_episodes() -> list[dict[str, NDArray[Any]]]:
    """Five episodes of 9, 4, 12, 7 and 20 frames: 3 actions, 4 states."""
    rng = np.random.default_rng(1)
    return [
        {
            "action": rng.normal(size=(frames, 3)).astype(np.float32),
            "observation.state": rng.normal(size=(frames, 4)).astype(np.float32),
        }
        for frames in (9, 4, 12, 7, 20)
    ]
