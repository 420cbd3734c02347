"""Meta-World's tasks: a Sawyer arm whose hand moves in space, seen through cameras.

Axis letters: none; an action is x, y, z and gripper, a state the hand's position (m) and how far the gripper is open.
"""

from __future__ import annotations

import difflib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.sim.graphics import Painter, choose_backend, require_cameras
from fastki.sim.prompts import PROMPTS
from fastki.sim.world import Seen, Setting

ACTION_NAMES = ("x", "y", "z", "gripper")
STATE_NAMES = ("x", "y", "z", "gripper")
ROBOT = "metaworld_sawyer"
_STATE = len(STATE_NAMES)  # The observation begins with them.


def require_task(task: str) -> None:
    """
    Raises:
        UsageError: there is no such task.
    """
    if task not in PROMPTS:
        near = difflib.get_close_matches(task, PROMPTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PROMPTS)}"
        raise UsageError(f"Meta-World has no task {task!r}: {hint}")


def require_metaworld() -> None:
    """Load the simulator.

    Raises:
        UsageError: it is not installed, or what it needs to draw is not.
    """
    choose_backend()
    try:
        import metaworld.env_dict  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) and str(error.name).partition(".")[0] not in (
            "metaworld",
            "mujoco",
            "gymnasium",
        ):
            raise UsageError(f"Meta-World can't be loaded ({error}): `pip install 'fastki[sim]'`") from error
        raise UsageError("this needs Meta-World: `pip install 'fastki[sim]'`") from error
    except (AttributeError, RuntimeError) as error:  # MuJoCo's way to say that the graphics library is missing.
        raise UsageError(
            f"MuJoCo can't draw here ({error}): install OSMesa (`apt-get install libosmesa6`) and set "
            "MUJOCO_GL=osmesa, or with a GPU's driver set MUJOCO_GL=egl"
        ) from error


class MetaWorld:
    """One task. The goal is hidden from the state and can be seen in the pictures alone.

    Use as a context manager; one at a time may be open in a process.

    Args:
        task: such as "reach-v3".
        setting: how it is seen and stepped.

    Raises:
        UsageError: no such task or camera, or Meta-World or what it needs to draw is missing.
    """

    def __init__(self, task: str, setting: Setting) -> None:
        require_task(task)
        require_cameras(setting.cameras)
        require_metaworld()
        import mujoco
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
        from metaworld.policies import ENV_POLICY_MAP

        self._mujoco: Any = mujoco
        self._setting = setting
        self.prompt = PROMPTS[task]
        self._env: Any = _free_env(ALL_V3_ENVIRONMENTS[task])
        self.limit = self._env.max_path_length // setting.every
        self.action_dim = len(ACTION_NAMES)
        expert: Any = ENV_POLICY_MAP[task]  # Typed as the class that all of them extend.
        self._expert = expert()
        self._observation: NDArray[np.float64] = np.zeros(0)
        self._painter = Painter(self._env.model, setting.cameras, setting.size)

    def __enter__(self) -> MetaWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self._painter.close()
        self._env.close()

    @property
    def target(self) -> NDArray[np.float64]:
        """Where the goal is, ``[3]``, m."""
        return np.array(self._env._target_pos)

    def reset(self, seed: int) -> None:
        """Begin the episode that belongs to ``seed``: where things and the goal are follows from it."""
        self._env.seed(seed)
        self._observation, _ = self._env.reset()
        # The reset moves the goal's mark in the model only: without this, pictures show the goal of before.
        self._mujoco.mj_forward(self._env.model, self._env.data)

    def step(self, action: NDArray[Any]) -> bool:
        """Hold ``action [4]`` for the control steps of a frame; whether the task was solved after any of them."""
        solved = False
        for _ in range(self._setting.every):
            self._observation, _, _, _, info = self._env.step(np.clip(np.asarray(action, np.float64), -1, 1))
            solved = solved or bool(info["success"])
        return solved

    def look(self) -> Seen:
        """The pictures, drawn now, and the state."""
        state = np.array(self._observation[:_STATE], np.float32)
        return Seen(self._painter.paint(self._env.data), state)

    def expert(self) -> NDArray[np.float32]:
        """What Meta-World's script for this task, which is told the goal, would do now: ``[4]``, -1 to 1."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # That it asks for more than 1, which is cut off here.
            action: NDArray[np.float32] = self._expert.get_action(self._observation).astype(np.float32)
        return np.clip(action, np.float32(-1), np.float32(1))


def _free_env(kind: Any) -> Any:
    """An environment whose episodes follow from the seed, and whose observation holds the goal, for the expert."""
    env = kind()
    env._partially_observable = False
    del env.sawyer_observation_space  # Cached while the goal was hidden; observations are clipped to it.
    env._freeze_rand_vec, env.seeded_rand_vec = False, True
    env._set_task_called = True
    return env
