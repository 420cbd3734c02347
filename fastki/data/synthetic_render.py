"""The cameras of ``synthetic:droid``: rays against a table, boxes, discs and rods; the nearest hit wins.

Axes: P pixels, V pixels that may see a thing. Metres; colours 0 to 255.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
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
_WOOD = np.array([[196.0, 170.0, 138.0], [189.0, 163.0, 131.0]])
_FAR = 1e9
_PARTS = 4


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: ``position [3]``, ``axes [3, 3]`` (columns right, down, forward), tan(fov / 2)."""

    position: Floats
    axes: Floats
    spread: float

    def rays(self, size: int) -> Floats:
        """Unit directions ``[size * size, 3]``, row by row."""
        return _unit_rays(size, self.spread) @ self.axes.T


@functools.lru_cache(maxsize=8)
def _unit_rays(size: int, spread: float) -> Floats:
    """The rays of a camera whose axes are those of the room."""
    grid = ((np.arange(size) + 0.5) / size * 2.0 - 1.0) * spread
    x, y = np.meshgrid(grid, grid)
    rays = np.column_stack([x.ravel(), y.ravel(), np.ones(size * size)])
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


def paint_still(camera: Camera, items: Iterable[tuple[Item, Floats]], *, size: int) -> Canvas:
    """What ``camera`` sees of the room and of ``items``, things with their centres ``[3]``."""
    eye, rays = camera.position, camera.rays(size)
    canvas = Canvas(eye, rays, *_room(eye, rays))
    for item, center in items:
        _draw_item(canvas, item, center)
    return canvas


def render(still: Canvas, items: Iterable[tuple[Item, Floats]], state: Floats) -> NDArray[np.uint8]:
    """``still`` with more ``items`` and the arm before it, uint8 ``[size, size, 3]``.

    ``state`` ``[8]`` is the arm's joints and gripper; ``still`` stays as it is.
    """
    canvas = Canvas(still.eye, still.rays, still.depth.copy(), still.color.copy())
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
    size = round(len(canvas.color) ** 0.5)
    return np.clip(np.rint(canvas.color), 0, 255).astype(np.uint8).reshape(size, size, 3)


def _room(eye: Floats, rays: Floats) -> tuple[Floats, Floats]:
    """How far the table is along each of ``rays [P, 3]``, and the colour of it or of the wall, ``[P, 3]``."""
    down = rays[:, 2] < -1e-3
    depth = np.where(down, -eye[2] / np.where(down, rays[:, 2], -1.0), _FAR)
    x, y = eye[0] + depth * rays[:, 0], eye[1] + depth * rays[:, 1]
    on_table = down & (x > -0.25) & (x < 0.85) & (np.abs(y) < 0.6)
    color = np.array([112.0, 120.0, 130.0]) + 25.0 * rays[:, 2:3]
    checks = (np.floor(x[on_table] / 0.1) + np.floor(y[on_table] / 0.1)).astype(np.int64) % 2
    color[on_table] = _WOOD[checks]
    return depth, color


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture as it grows: ``color [P, 3]`` at ``depth [P]`` along ``rays [P, 3]`` from ``eye [3]``."""

    eye: Floats
    rays: Floats
    depth: Floats
    color: Floats

    def view(self, centers: Floats, radius: float) -> NDArray[np.intp]:
        """The pixels ``[V]`` whose rays come within ``radius`` of any of ``centers [K, 3]``."""
        offsets = centers - self.eye
        along = np.maximum(offsets @ self.rays.T, 0.0)
        near = along**2 > (offsets**2).sum(axis=1)[:, None] - radius**2 - 1e-9
        return np.flatnonzero(near[0] if len(centers) == 1 else near.any(axis=0))

    def paint(self, pixels: NDArray[np.intp], t: Floats, hit: NDArray[np.bool_], shade: Floats, color: Color) -> None:
        """Colour those of ``pixels [V]`` that are hit at ``t [V]``, nearer than what was there."""
        seen = hit & (t > 0) & (t < self.depth[pixels])
        self.depth[pixels[seen]] = t[seen]
        self.color[pixels[seen]] = shade[seen, None] * np.array(color, dtype=np.float64)


def _draw_item(canvas: Canvas, item: Item, center: Floats) -> None:
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


def _draw_disc(canvas: Canvas, center: Floats, color: Color, *, hollow: bool) -> None:
    """A round plate; a bowl has a light rim and a dark inside."""
    pixels = canvas.view(center[None], TARGET_RADIUS * 1.2)
    rays, height = canvas.rays[pixels], 0.012
    t = (height - canvas.eye[2]) / np.where(np.abs(rays[:, 2]) < 1e-6, 1e-6, rays[:, 2])
    gap = canvas.eye[:2] + t[:, None] * rays[:, :2] - center[:2]
    radius = np.hypot(gap[:, 0], gap[:, 1]) / TARGET_RADIUS
    shade = np.where(radius > 0.8, 1.15, 0.55) if hollow else np.where(radius > 0.75, 0.85, 1.0)
    canvas.paint(pixels, t, radius < 1.0, shade, color)


def _draw_box(canvas: Canvas, center: Floats, yaw: float, half: Floats, color: Color) -> None:
    """A box of half sizes ``half [3]``, turned by ``yaw``."""
    pixels = canvas.view(center[None], float(np.linalg.norm(half)))
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    origin, rays = turn @ (canvas.eye - center), canvas.rays[pixels] @ turn.T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    enter, leave = (-half * np.sign(rays) - origin) / rays, (half * np.sign(rays) - origin) / rays
    axis, rows = np.argmax(enter, axis=1), np.arange(len(rays))
    t = enter[rows, axis]
    normal = -np.sign(rays[rows, axis])[:, None] * turn[axis]
    canvas.paint(pixels, t, t < leave.min(axis=1), _shade(normal), color)


def _draw_rod(canvas: Canvas, ends: tuple[Floats, Floats], radius: float, color: Color) -> None:
    """A rod with round ends; a ball where both ends are the same."""
    rod, start = ends[1] - ends[0], ends[0] - canvas.eye
    length = float(np.linalg.norm(rod))
    # A ball around a rod that has the eye in it would be the whole picture: several small ones then.
    parts = _PARTS if np.linalg.norm(start + rod / 2) < radius + length / 2 else 1
    middles = ends[0] + (np.arange(parts) + 0.5)[:, None] / parts * rod
    pixels = canvas.view(middles, radius + length / (2 * parts))
    if not len(pixels):
        return
    rays = canvas.rays[pixels]
    ray_start, ray_rod, length2 = rays @ start, rays @ rod, float(rod @ rod)
    along = (ray_start * ray_rod - start @ rod) / np.maximum(length2 - ray_rod**2, 1e-12)
    along = np.clip(along, 0.0, 1.0)  # where on the rod the ray passes nearest; t is where on the ray
    t = ray_start + along * ray_rod
    inside = radius**2 - (start @ start + 2 * along * (start @ rod) + along**2 * length2 - t**2)
    hit = np.flatnonzero(inside > 0)  # A long rod fills a small part of the disc that it was looked for in.
    pixels, along, t = pixels[hit], along[hit], t[hit] - np.sqrt(inside[hit])
    normal = (t[:, None] * rays[hit] - start - along[:, None] * rod) / radius
    canvas.paint(pixels, t, np.ones(len(hit), bool), _shade(normal), color)


def _shade(normal: Floats) -> Floats:
    return np.asarray(0.55 + 0.5 * np.clip(normal @ _LIGHT, 0.0, 1.0))
