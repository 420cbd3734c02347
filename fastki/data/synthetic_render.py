"""The cameras of ``synthetic:droid``: rays against a table, boxes, discs and rods; the nearest hit wins.

Axes: P pixels, V pixels that may see a thing. Metres; colours 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.synthetic_arm import forward
from fastki.data.synthetic_scene import COLORS, OBJECT_RADIUS, TARGET_RADIUS, Item

Floats = NDArray[np.float64]
Color = tuple[int, int, int]
_LIGHT = np.array([0.35, -0.45, 0.82])
_METAL = (205, 208, 214)
_DARK = (75, 80, 92)
_FAR = 1e9


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: ``position [3]``, ``axes [3, 3]`` (columns right, down, forward), tan(fov / 2)."""

    position: Floats
    axes: Floats
    spread: float

    def rays(self, size: int) -> Floats:
        """Unit directions ``[size * size, 3]``, row by row."""
        grid = ((np.arange(size) + 0.5) / size * 2.0 - 1.0) * self.spread
        x, y = np.meshgrid(grid, grid)
        rays = np.column_stack([x.ravel(), y.ravel(), np.ones(size * size)]) @ self.axes.T
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def exterior_camera() -> Camera:
    """Across the table from the arm, to its left, looking at the middle of the work area."""
    position = np.array([1.05, 0.42, 0.66])
    ahead = np.array([0.40, 0.0, 0.10]) - position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return Camera(position, np.column_stack([right, np.cross(ahead, right), ahead]), 0.46)


def wrist_camera(joints: Floats) -> Camera:
    """Beside the fingers, looking along the tool."""
    points, axes = forward(joints)
    return Camera(points[-1] - 0.17 * axes[:, 2] + 0.09 * axes[:, 0], axes, 0.75)


def render(camera: Camera, items: list[tuple[Item, Floats]], state: Floats, *, size: int) -> NDArray[np.uint8]:
    """What ``camera`` sees, uint8 ``[size, size, 3]``.

    ``items`` are things with their centres ``[3]``; ``state`` ``[8]`` is the arm's joints and gripper.
    """
    canvas = _Canvas(camera.position, camera.rays(size))
    for item, center in items:
        _draw_item(canvas, item, center)
    points, axes = forward(state[:7])
    palm = points[3] + 0.7 * (points[4] - points[3])
    for ends, radius, color in (
        ((points[0], points[1]), 0.06, _DARK),
        ((points[1], points[2]), 0.05, _METAL),
        ((points[2], points[3]), 0.045, _METAL),
        ((points[3], palm), 0.035, _METAL),
    ):
        _draw_rod(canvas, ends, radius, color)
    opening = (0.012 + 0.03 * (1.0 - float(state[7]))) * axes[:, 1]
    for side in (-opening, opening):
        _draw_rod(canvas, (palm + side, points[4] + side), 0.009, _DARK)
    return np.clip(np.rint(canvas.color), 0, 255).astype(np.uint8).reshape(size, size, 3)


class _Canvas:
    """The picture as it grows: ``color [P, 3]`` at ``depth [P]`` along ``rays [P, 3]`` from ``eye [3]``."""

    def __init__(self, eye: Floats, rays: Floats) -> None:
        self.eye, self.rays = eye, rays
        down = rays[:, 2] < -1e-3
        self.depth = np.where(down, -eye[2] / np.where(down, rays[:, 2], -1.0), _FAR)
        x, y = eye[0] + self.depth * rays[:, 0], eye[1] + self.depth * rays[:, 1]
        on_table = down & (x > -0.25) & (x < 0.85) & (np.abs(y) < 0.6)
        checks = (np.floor(x / 0.1) + np.floor(y / 0.1)) % 2
        wood = np.array([196.0, 170.0, 138.0]) - 7.0 * checks[:, None]
        wall = np.array([112.0, 120.0, 130.0]) + 25.0 * rays[:, 2:3]
        self.color = np.where(on_table[:, None], wood, wall)

    def view(self, center: Floats, radius: float) -> NDArray[np.intp]:
        """The pixels ``[V]`` whose rays come within ``radius`` of ``center``."""
        offset = center - self.eye
        along = np.maximum(self.rays @ offset, 0.0)
        return np.flatnonzero(float(offset @ offset) - along**2 < radius**2 + 1e-9)

    def paint(self, pixels: NDArray[np.intp], t: Floats, hit: NDArray[np.bool_], shade: Floats, color: Color) -> None:
        """Colour those of ``pixels [V]`` that are hit at ``t [V]``, nearer than what was there."""
        seen = hit & (t > 0) & (t < self.depth[pixels])
        self.depth[pixels[seen]] = t[seen]
        self.color[pixels[seen]] = shade[seen, None] * np.array(color, dtype=np.float64)


def _draw_item(canvas: _Canvas, item: Item, center: Floats) -> None:
    color, r = COLORS[item.color], OBJECT_RADIUS
    up = np.array([0.0, 0.0, r])
    if item.shape == "block":
        _draw_box(canvas, center, item.yaw, np.array([r, r, r]), color)
    elif item.shape == "ball":
        _draw_rod(canvas, (center, center), r, color)
    elif item.shape == "can":
        _draw_rod(canvas, (center - 0.4 * up, center + 0.9 * up), 0.8 * r, color)
    elif item.shape == "tray":
        _draw_box(canvas, center, item.yaw, np.array([TARGET_RADIUS, TARGET_RADIUS * 0.8, 0.004]), color)
    else:
        _draw_disc(canvas, center, color, hollow=item.shape == "bowl")


def _draw_disc(canvas: _Canvas, center: Floats, color: Color, *, hollow: bool) -> None:
    """A round plate; a bowl has a light rim and a dark inside."""
    pixels = canvas.view(center, TARGET_RADIUS * 1.2)
    rays, height = canvas.rays[pixels], 0.012
    t = (height - canvas.eye[2]) / np.where(np.abs(rays[:, 2]) < 1e-6, 1e-6, rays[:, 2])
    gap = canvas.eye[:2] + t[:, None] * rays[:, :2] - center[:2]
    radius = np.hypot(gap[:, 0], gap[:, 1]) / TARGET_RADIUS
    shade = np.where(radius > 0.8, 1.15, 0.55) if hollow else np.where(radius > 0.75, 0.85, 1.0)
    canvas.paint(pixels, t, radius < 1.0, shade, color)


def _draw_box(canvas: _Canvas, center: Floats, yaw: float, half: Floats, color: Color) -> None:
    """A box of half sizes ``half [3]``, turned by ``yaw``."""
    pixels = canvas.view(center, float(np.linalg.norm(half)))
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    origin, rays = turn @ (canvas.eye - center), canvas.rays[pixels] @ turn.T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    enter, leave = (-half * np.sign(rays) - origin) / rays, (half * np.sign(rays) - origin) / rays
    axis, rows = np.argmax(enter, axis=1), np.arange(len(rays))
    t = enter[rows, axis]
    normal = -np.sign(rays[rows, axis])[:, None] * turn[axis]
    canvas.paint(pixels, t, t < leave.min(axis=1), _shade(normal), color)


def _draw_rod(canvas: _Canvas, ends: tuple[Floats, Floats], radius: float, color: Color) -> None:
    """A rod with round ends; a ball where both ends are the same."""
    rod, start = ends[1] - ends[0], ends[0] - canvas.eye
    pixels = canvas.view(ends[0] + rod / 2, radius + float(np.linalg.norm(rod)) / 2)
    rays = canvas.rays[pixels]
    ray_start, ray_rod, length2 = rays @ start, rays @ rod, float(rod @ rod)
    along = (ray_start * ray_rod - start @ rod) / np.maximum(length2 - ray_rod**2, 1e-12)
    along = np.clip(along, 0.0, 1.0)  # where on the rod the ray passes nearest; t is where on the ray
    t = ray_start + along * ray_rod
    inside = radius**2 - (start @ start + 2 * along * (start @ rod) + along**2 * length2 - t**2)
    t = t - np.sqrt(np.maximum(inside, 0.0))
    normal = (t[:, None] * rays - start - along[:, None] * rod) / radius
    canvas.paint(pixels, t, inside > 0, _shade(normal), color)


def _shade(normal: Floats) -> Floats:
    return np.asarray(0.55 + 0.5 * np.clip(normal @ _LIGHT, 0.0, 1.0))
