"""The arm of ``synthetic:droid``: 7 revolute joints, their axes z, y, z, y, z, y, z from the base up.

Metres and radians; the base stands at the origin, z points up. At zero the arm points straight up.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

SHOULDER = 0.45
UPPER_ARM = 0.32
FOREARM = 0.36
TOOL = 0.20
SWIVEL = 0.35
"""How far the elbow leans to the side, radians about the line from shoulder to wrist."""


def forward(joints: Vector) -> tuple[Vector, Vector]:
    """Base, shoulder, elbow, wrist and tool tip ``[5, 3]``, and the tool's axes as columns ``[3, 3]``."""
    points = [np.zeros(3), np.array([0.0, 0.0, SHOULDER])]
    axes = np.eye(3)
    for turn, tilt, length in ((0, 1, UPPER_ARM), (2, 3, FOREARM), (4, 5, TOOL)):
        axes = axes @ _turn(joints[turn]) @ _tilt(joints[tilt])
        points.append(points[-1] + axes[:, 2] * length)
    return np.stack(points), axes @ _turn(joints[6])


def inverse(tip: Vector, yaw: float) -> Vector:
    """Joints ``[7]`` that put the tool tip at ``tip`` pointing down, the fingers turned by ``yaw``.

    In closed form: the elbow's place on its circle, then each joint from the direction of its link.
    """
    shoulder, wrist = np.array([0.0, 0.0, SHOULDER]), tip + np.array([0.0, 0.0, TOOL])
    reach = min(float(np.linalg.norm(wrist - shoulder)), (UPPER_ARM + FOREARM) * 0.999)
    line = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    along = (UPPER_ARM**2 - FOREARM**2 + reach**2) / (2 * reach)
    across = math.sqrt(max(UPPER_ARM**2 - along**2, 0.0))
    up = np.array([0.0, 0.0, 1.0]) - line[2] * line
    up /= np.linalg.norm(up)
    side = np.cross(line, up)
    elbow = shoulder + along * line + across * (math.cos(SWIVEL) * up + math.sin(SWIVEL) * side)
    joints = np.zeros(7)
    axes = np.eye(3)
    targets = ((elbow - shoulder), (shoulder + reach * line - elbow), np.array([0.0, 0.0, -1.0]))
    for i, target in enumerate(targets):
        x, y, z = axes.T @ target / np.linalg.norm(target)
        joints[2 * i] = math.atan2(y, x)
        joints[2 * i + 1] = math.acos(max(-1.0, min(1.0, z)))
        axes = axes @ _turn(joints[2 * i]) @ _tilt(joints[2 * i + 1])
    x, y, _ = axes.T @ np.array([-math.cos(yaw), -math.sin(yaw), 0.0])
    joints[6] = math.atan2(y, x)
    return joints


def _turn(angle: float) -> Vector:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _tilt(angle: float) -> Vector:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
