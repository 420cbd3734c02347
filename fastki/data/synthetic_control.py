"""The scripted controller of ``synthetic:droid``. Axes: T frames, P waypoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.synthetic_arm import forward, inverse
from fastki.data.synthetic_scene import OBJECT_RADIUS, Item, Scene

FPS = 15.0
_GRID = 2.0**16
"""Positions and velocities are multiples of 1 / _GRID, so that no machine's rounding can add up."""
_GAIN = 4.0
_SMOOTHING = 0.55
_MAX_SPEED = 1.0
_NOISE = 0.004
_HOVER = 0.14
_LIFT = 0.20

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rollout:
    """One episode as it happened.

    Attributes:
        actions: ``[T, 8]`` float32: 7 joint velocities in rad/s, -1 to 1, and the gripper, 0 (open) to 1.
        state: ``[T, 8]`` float32: 7 joint positions in rad, gripper position, before the action.
        grasp, release: frames at which the object is taken and let go; T where it never is.
    """

    actions: NDArray[np.float32]
    state: NDArray[np.float32]
    grasp: int
    release: int


def simulate(scene: Scene, noise: np.random.Generator) -> Rollout:
    """Drive the arm to the object that the prompt names, take it, and put it where the prompt says."""
    waypoints, shares, closed = _plan(scene)
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * scene.frames).astype(int)
    goals = _interpolate(waypoints, ends)
    wishes = np.repeat(closed, np.diff(ends, prepend=0))
    velocities, positions = _track(goals, waypoints[0], noise)
    commands, grips = _close(wishes)
    holding = np.flatnonzero(closed)
    return Rollout(
        actions=np.column_stack([velocities, commands]).astype(np.float32),
        state=np.column_stack([positions, grips]).astype(np.float32),
        grasp=int(ends[holding[0]]),
        release=int(ends[holding[-1]]) if holding[-1] < len(closed) - 1 else scene.frames,
    )


def place_of(scene: Scene, rollout: Rollout, frame: int) -> Floats:
    """Centre ``[3]`` of the task's object at ``frame``, in metres."""
    thing = scene.objects[scene.task.object]
    if frame < rollout.grasp:
        return np.array([thing.x, thing.y, OBJECT_RADIUS])
    held = min(frame, rollout.release, scene.frames - 1)
    tip = forward(rollout.state[held, :7].astype(np.float64))[0][-1]
    return np.array([tip[0], tip[1], OBJECT_RADIUS if frame > rollout.release else tip[2]])


def _plan(scene: Scene) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Joint waypoints ``[P + 1, 7]`` from the start, the share of time of each leg, and whether it grips."""
    thing = scene.objects[scene.task.object]
    legs = [(_over(thing, _HOVER), 0.27, False), (_over(thing, OBJECT_RADIUS), 0.14, False)]
    legs += [(_over(thing, OBJECT_RADIUS), 0.10, True), (_over(thing, _LIFT), 0.15, True)]
    if scene.task.target is None:
        legs += [(_over(thing, _LIFT), 0.10, True)]
    else:
        target = scene.targets[scene.task.target]
        low = 2 * OBJECT_RADIUS
        legs += [(_over(target, _LIFT), 0.22, True), (_over(target, low), 0.14, True)]
        legs += [(_over(target, low), 0.08, False), (_over(target, _HOVER), 0.13, False)]
    waypoints = [np.array(scene.joints)]
    for joints, _, _ in legs:
        turns = np.rint((waypoints[-1] - joints) / (2 * np.pi))
        waypoints.append(joints + turns * 2 * np.pi)
    return np.stack(waypoints), np.array([leg[1] for leg in legs]), np.array([leg[2] for leg in legs])


def _over(item: Item, height: float) -> Floats:
    return inverse(np.array([item.x, item.y, height]), item.yaw)


def _interpolate(waypoints: Floats, ends: NDArray[np.int64]) -> Floats:
    """Goals ``[T + 1, 7]``: from waypoint to waypoint with smooth start and stop, then a moment's rest."""
    goals = [waypoints[:1]]
    for i, frames in enumerate(np.diff(ends, prepend=0)):
        s = np.minimum(np.arange(1, frames + 1) / (0.85 * frames), 1.0)[:, None]
        goals.append(waypoints[i] + (waypoints[i + 1] - waypoints[i]) * (s * s * (3.0 - 2.0 * s)))
    return np.concatenate(goals)


def _track(goals: Floats, start: Floats, noise: np.random.Generator) -> tuple[Floats, Floats]:
    """Joint velocities and positions ``[T, 7]`` of a smoothed proportional controller."""
    frames = len(goals) - 1
    jitter = (noise.random((frames, 7)) + noise.random((frames, 7)) - 1.0) * (_NOISE * np.sqrt(6.0))
    ahead = np.diff(goals, axis=0) * FPS
    velocities, positions = np.empty((frames, 7)), np.empty((frames, 7))
    position, velocity = np.rint(start * _GRID) / _GRID, np.zeros(7)
    for t in range(frames):
        positions[t] = position
        wish = np.minimum(np.maximum(ahead[t] + _GAIN * (goals[t] - position), -_MAX_SPEED), _MAX_SPEED)
        velocity = velocity + _SMOOTHING * (wish - velocity) + jitter[t]
        velocity = np.rint(np.minimum(np.maximum(velocity, -_MAX_SPEED), _MAX_SPEED) * _GRID) / _GRID
        velocities[t] = velocity
        position = np.rint((position + velocity / FPS) * _GRID) / _GRID
    return velocities, positions


def _close(wishes: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Gripper commands and positions ``[T]``, 0 open to 1 closed, for what is wished at each frame."""
    commands, grips = np.empty(len(wishes)), np.empty(len(wishes))
    command = grip = 0.0
    for t, wish in enumerate(wishes.tolist()):
        command = round((command + 0.45 * (float(wish) - command)) * _GRID) / _GRID
        commands[t], grips[t] = command, grip
        grip = round((grip + 0.6 * (command - grip)) * _GRID) / _GRID
    return commands, grips
