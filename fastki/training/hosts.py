"""Several processes, of one machine or many, that train one model together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fastki.errors import UsageError

AUTO = "auto"
COORDINATOR, PROCESSES, PROCESS = "FASTKI_COORDINATOR", "FASTKI_PROCESSES", "FASTKI_PROCESS"
"""Environment variables that stand in for the fields of :class:`Hosts`."""
_PATIENCE = 300


@dataclass(frozen=True)
class Hosts:
    """Which processes there are, and which one this is.

    Attributes:
        coordinator: ``host:port`` of the process 0, the same for all; ``auto`` where Slurm, Open MPI, Kubernetes or a
            TPU pod knows all three; None for one process alone.
        processes: how many, at least 1.
        process: this one's number from 0.

    Raises:
        UsageError: an address without a port, or a number that is missing, out of range or of no use.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def __post_init__(self) -> None:
        if self.coordinator in (None, AUTO):
            if self.processes is not None or self.process is not None:
                raise UsageError("processes and process go with a coordinator's host:port")
            return
        host, _, port = str(self.coordinator).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            raise UsageError(f"coordinator must be host:port or {AUTO}, not {self.coordinator!r}")
        if self.processes is None or self.process is None:
            raise UsageError(f"coordinator {self.coordinator} needs processes (how many) and process (which one) too")
        if not 0 <= self.process < self.processes:
            raise UsageError(f"process must be from 0 to below processes ({self.processes}), not {self.process}")


def hosts_of(given: Hosts, environment: Mapping[str, str] | None = None) -> Hosts:
    """``given``, with what it leaves open taken from the environment variables.

    Raises:
        UsageError: a variable is no number, or the whole does not make sense.
    """
    environment = os.environ if environment is None else environment
    coordinator = given.coordinator or environment.get(COORDINATOR) or None
    if coordinator in (None, AUTO):
        return Hosts(coordinator, given.processes, given.process)
    processes = _number(PROCESSES, environment) if given.processes is None else given.processes
    process = _number(PROCESS, environment) if given.process is None else given.process
    return Hosts(coordinator, processes, process)


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    value = environment.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise UsageError(f"{name} must be a number from 0, not {value!r}")
    return int(value)


def join(hosts: Hosts, patience: int = _PATIENCE) -> None:
    """Meet the other processes; all devices of all are visible from then on. Nothing happens to one alone.

    To be called before anything else asks JAX for its devices.

    Args:
        hosts: of :func:`hosts_of`.
        patience: seconds to wait for the others.

    Raises:
        UsageError: they did not come, or no cluster is known to ``auto``.
    """
    if hosts.coordinator is None:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # What processes on CPUs talk through.
    try:
        if hosts.coordinator == AUTO:
            jax.distributed.initialize(initialization_timeout=patience)
        else:
            jax.distributed.initialize(
                hosts.coordinator, hosts.processes, hosts.process, initialization_timeout=patience
            )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"the processes did not meet at coordinator {hosts.coordinator}: {reason}") from error


def first_process() -> bool:
    """Whether this one writes what all have in common."""
    import jax

    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Go on when every process has come to ``place``, a name; one process alone waits for nobody."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def leave() -> None:
    """Part from the other processes, when all are done."""
    import jax

    if jax.process_count() > 1:
        jax.distributed.shutdown()


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is true in any process: all get the same answer, and all must ask at the same step.

    It waits for the slowest, so a loop asks every so many steps. One process alone waits for nothing.
    """
    import jax

    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(flag).any())
