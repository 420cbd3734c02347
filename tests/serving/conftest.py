"""The smallest trained policy, and a server of it on a free port."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("websockets")

from policy_server import serving

from fastki.evaluation.live import live_policy
from fastki.serving.answers import Answerer


@pytest.fixture(scope="session")
def live(trained_once):
    policy = live_policy(trained_once)
    policy.warm_up()
    return policy


@pytest.fixture(scope="session")
def server(live):
    with serving(Answerer(live, extra={"reset_pose": [0.0, 0.5]})) as running:
        yield running


@pytest.fixture(scope="session")
def observation():
    """Under openpi's names for DROID, without the prompt."""
    rng = np.random.default_rng(0)
    return {
        "observation/exterior_image_1_left": rng.integers(0, 256, (36, 64, 3), dtype=np.uint8),
        "observation/wrist_image_left": rng.integers(0, 256, (64, 36, 3), dtype=np.uint8),
        "observation/joint_position": np.linspace(-0.5, 0.5, 7),
        "observation/gripper_position": np.array([0.25]),
    }


@pytest.fixture(scope="session")
def expected(live, observation):
    """The chunk for it, from the policy itself."""
    images = {camera: observation[f"observation/{camera}"] for camera in live.cameras}
    state = np.append(observation["observation/joint_position"], observation["observation/gripper_position"])
    return live.act(images, state, "place the red cube")
