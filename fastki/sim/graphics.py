"""Pictures of a MuJoCo scene, drawn without a screen."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError

_SHADOWS = 1024  # Pixels a side of their map: Meta-World's 4096 take half of the time of a picture.
_VARIABLE = "MUJOCO_GL"
_MEND = (
    "install OSMesa (`apt-get install libosmesa6`) and set MUJOCO_GL=osmesa, or with a GPU's driver set MUJOCO_GL=egl"
)
_VIEWS: Mapping[str, tuple[tuple[float, float, float], float, float, float]] = {
    "front": ((0.0, 0.75, 0.15), 0.85, 270.0, -35.0),
    "side": ((0.0, 0.75, 0.15), 0.85, 180.0, -20.0),
}
"""Views of fastki's own: the point looked at (m), how far from it (m), azimuth and elevation (degrees)."""
OWN = ("topview", "corner", "corner2", "corner3", "corner4", "gripperPOV", "behindGripper")
"""Meta-World's cameras; the corners hang upside down there."""
CAMERAS = (*_VIEWS, *OWN)


def require_cameras(cameras: tuple[str, ...]) -> None:
    """
    Raises:
        UsageError: there is no such camera; the message lists those there are.
    """
    for name in cameras:
        if name not in CAMERAS:
            raise UsageError(f"--camera {name!r} is unknown: use {', '.join(CAMERAS)}")


def choose_backend() -> None:
    """Let MuJoCo, before it is loaded, draw in memory, where no one said how: it reads this of the environment only.

    Raises:
        UsageError: no library for that is installed.
    """
    if _VARIABLE in os.environ or not sys.platform.startswith("linux"):
        return
    for library, name in (("OSMesa", "osmesa"), ("EGL", "egl")):
        if ctypes.util.find_library(library):
            os.environ[_VARIABLE] = name
            return
    raise UsageError(f"no library is here that draws without a screen: {_MEND}")


class Painter:
    """Draws what cameras see; one at a time may be open in a process, as they share the graphics library's state.

    Args:
        model: of MuJoCo.
        cameras: their names.
        size: height and width, pixels.

    Raises:
        UsageError: nothing can be drawn here.
    """

    def __init__(self, model: Any, cameras: tuple[str, ...], size: int) -> None:
        import mujoco

        if _needs_a_screen(mujoco):
            raise UsageError(f"MuJoCo was loaded to draw on a screen, and there is none: {_MEND}")
        model.vis.quality.shadowsize = _SHADOWS
        try:
            self._renderer = mujoco.Renderer(model, size, size)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            # What is raised depends on the library that is missing.
            raise UsageError(f"MuJoCo can't draw here ({_first_line(error)}): {_MEND}") from error
        self._cameras = {name: _camera(mujoco, name) for name in cameras}

    def paint(self, data: Any) -> dict[str, NDArray[np.uint8]]:
        """Camera → uint8 RGB ``[size, size, 3]`` of the simulation's state ``data``."""
        pictures = {}
        for name, camera in self._cameras.items():
            self._renderer.update_scene(data, camera=camera)
            pictures[name] = np.array(self._renderer.render())
        return pictures

    def close(self) -> None:
        """Give the graphics library back."""
        self._renderer.close()


def _needs_a_screen(mujoco: Any) -> bool:
    """Whether MuJoCo would look for a screen that is not there."""
    kind = getattr(mujoco.gl_context, "GLContext", None)
    return (
        "glfw" in getattr(kind, "__module__", "") and sys.platform.startswith("linux") and not os.environ.get("DISPLAY")
    )


def _camera(mujoco: Any, name: str) -> Any:
    if name not in _VIEWS:
        return name
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = _VIEWS[name]
    return camera


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
