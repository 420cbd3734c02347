"""Where arrays lie: one mesh of devices, its axes ``data`` (copies of the model) and ``fsdp`` (shards of it).

A batch is cut over both axes, a parameter over ``fsdp`` alone; the compiler gathers a layer's parameters where it
needs them and scatters their gradients. One device is a mesh of 1 × 1, and no other code knows the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastki.errors import UsageError

DATA, FSDP = "data", "fsdp"

T = TypeVar("T")


@dataclass(frozen=True)
class MeshOptions:
    """How devices share the work.

    Attributes:
        fsdp: devices that share one copy of parameters and optimiser state, a divisor of all devices; openpi's
            ``fsdp_devices``, and as there 1: each has a whole copy.
        replicate_below: bytes under which an array is not cut but copied to all, since cutting it costs more than it
            saves; openpi: 4 MiB.

    Raises:
        UsageError: a value out of range.
    """

    fsdp: int = 1
    replicate_below: int = 4 * 2**20

    def __post_init__(self) -> None:
        if self.fsdp < 1:
            raise UsageError(f"fsdp must be at least 1, not {self.fsdp}")
        if self.replicate_below < 0:
            raise UsageError(f"replicate_below must be 0 or more bytes, not {self.replicate_below}")


def make_mesh(options: MeshOptions, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of all devices of all hosts, or of those given.

    Raises:
        UsageError: ``fsdp`` does not divide their number.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if count % options.fsdp:
        fitting = ", ".join(str(size) for size in range(1, count + 1) if count % size == 0)
        raise UsageError(f"fsdp {options.fsdp} does not divide the {count} devices: choose one of {fitting}")
    grid = mesh_utils.create_device_mesh((count // options.fsdp, options.fsdp), devices=devices)
    kinds = getattr(jax.sharding, "AxisType", None)  # JAX had one kind of axis, this one, before it had a name.
    return Mesh(grid, (DATA, FSDP), **({} if kinds is None else {"axis_types": (kinds.Auto, kinds.Auto)}))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis cut over all devices, the rest whole."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def array_sharding(shape: tuple[int, ...], dtype: Any, mesh: Mesh, options: MeshOptions) -> NamedSharding:
    """A parameter's: its largest axis that the shards divide is cut; of equal ones, the last.

    Whole copies where it is small, or no axis divides.
    """
    shards = mesh.shape[FSDP]
    axes = [axis for axis, length in enumerate(shape) if length and length % shards == 0]
    if shards == 1 or not axes or math.prod(shape) * np.dtype(dtype).itemsize < options.replicate_below:
        return replicated(mesh)
    cut = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*(FSDP if axis == cut else None for axis in range(len(shape)))))


def tree_shardings(tree: T, mesh: Mesh, options: MeshOptions) -> T:
    """The same tree with a :class:`NamedSharding` for each array or ``jax.ShapeDtypeStruct``.

    Parameters, their averages and the optimiser's moments of one shape lie alike, so that updates move nothing.
    """

    def one(leaf: Any) -> NamedSharding:
        return array_sharding(leaf.shape, leaf.dtype, mesh, options) if leaf.shape else replicated(mesh)

    return jax.tree.map(one, tree)  # type: ignore[no-any-return]


def abstract(tree: T, shardings: T) -> T:
    """Shapes, dtypes and places of a tree's arrays, without their values: what a checkpoint is restored to."""

    def one(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(one, tree, shardings)  # type: ignore[no-any-return]


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Fail before the first step rather than in its compiler.

    Raises:
        UsageError: ``accumulate`` micro-batches of equal size can't be shared evenly by the devices.
    """
    unit = accumulate * mesh.size
    if batch_size < 1 or batch_size % unit:
        below = batch_size // unit * unit
        near = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        raise UsageError(
            f"a batch of {batch_size} can't be cut evenly over {mesh.size} devices and {accumulate} micro-batches:"
            f" choose a multiple of {unit}, such as {near}"
        )


def place_batch(batch: T, mesh: Mesh) -> T:
    """This host's rows of a batch, put on its devices as part of the whole.

    Args:
        batch: a pytree of arrays with a leading axis of this host's rows (the batch size ÷ the number of hosts).
        mesh: of all hosts.

    Returns:
        The same tree of global arrays with the leading axis of the whole batch.
    """
    sharding = batch_sharding(mesh)

    def one(rows: Any) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(rows))  # type: ignore[no-any-return]

    return jax.tree.map(one, batch)  # type: ignore[no-any-return]
