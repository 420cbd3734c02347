"""A checkup for a terminal: results in, Rich renderables and sentences out."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape
from rich.table import Table

from fastki.report.doctor import Checkup, Extra, Library
from fastki.report.doctor_machine import Accelerators, Folder
from fastki.report.tables import counted, key_values


def machine_facts(checkup: Checkup) -> Table:
    """Versions, processors, memory, disk and devices."""
    machine = checkup.machine
    held = "" if machine.cores == machine.machine_cores else f" of the machine's {machine.machine_cores}"
    free = "" if machine.memory_free is None else f", {size(machine.memory_free)} free"
    pairs = [
        ("fastki", checkup.fastki),
        ("Python", f"{machine.python}, {machine.executable}"),
        ("system", machine.system),
        ("processors", f"{machine.cores}{held}"),
        ("memory", "unknown" if machine.memory is None else f"{size(machine.memory)}{free}"),
        ("folder", f"{machine.folder}, {size(machine.disk_free)} free{'' if machine.writable else ', not writable'}"),
        *(("GPU", gpu) for gpu in machine.gpus),
        ("JAX", _jax(checkup.jax)),
        ("hub", "offline (HF_HUB_OFFLINE)" if _is_on(checkup.variables.get("HF_HUB_OFFLINE")) else "asked when needed"),
        ("kernels", _KERNELS[checkup.kernels_compiled]),
        *(("set", f"{name}={value}") for name, value in checkup.variables.items()),
    ]
    return key_values(pairs)


def libraries_table(libraries: tuple[Library, ...]) -> Table:
    """One row a required library."""
    table = _table("required", "version", "needed", "")
    for one in libraries:
        state = "[green]ok[/green]" if one.fault is None else f"[bold red]{escape(one.fault)}[/bold red]"
        table.add_row(escape(one.name), escape(one.version or "–"), escape(one.wanted or "any"), state)
    return table


def extras_table(extras: tuple[Extra, ...]) -> Table:
    """One row an optional part: what is missing of it, and the command that installs it."""
    table = _table("optional", "state", "libraries", "to install it")
    for one in extras:
        missing = [library for library in one.libraries if library.fault is not None]
        state = "[green]installed[/green]" if one.installed else "[yellow]missing[/yellow]"
        words = [f"{library.name} {library.version}" for library in one.libraries if library.fault is None]
        words += [f"{library.name}: {library.fault}" for library in missing]
        table.add_row(escape(one.name), state, escape(", ".join(words)), "" if one.installed else escape(one.command))
    return table


def folders_table(folders: tuple[Folder, ...]) -> Table:
    """One row a folder: its size, and whether it can be written to."""
    table = _table("kept", "size", "writable", "in")
    for one in folders:
        much = "not there yet" if one.size is None else f"{'' if one.whole else 'more than '}{size(one.size)}"
        writable = "yes" if one.writable else "[bold red]no[/bold red]"
        table.add_row(escape(one.what), much, writable, escape(one.path))
    return table


def problem_words(checkup: Checkup) -> list[str]:
    """A line a problem with its mend, and one that says how things stand; Rich's markup."""
    lines = [
        f"[{'bold red' if one.required else 'yellow'}]{'broken' if one.required else 'note'}[/] "
        f"{escape(one.what)}: {escape(one.mend)}"
        for one in checkup.problems
    ]
    broken = sum(one.required for one in checkup.problems)
    said = f"[bold red]{counted(broken, 'problem')} to mend[/]" if broken else "[green]all that is required is here[/]"
    return [*lines, said]


def size(count: int) -> str:
    """Bytes in words.

    >>> size(512), size(3 * 2**20), size(5_000_000_000)
    ('512 B', '3 MiB', '4.66 GiB')
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit}" if count < 1000 * 2**power else f"{count / 2**power:,.0f} {unit}"
    return f"{count} B"


_KERNELS = {
    True: "compiled",
    False: "not compiled yet: the first command takes half a minute more",
    None: "unknown, as a required library is broken",
}


def _jax(jax: Accelerators) -> str:
    if jax.version is None:
        return "not installed"
    if jax.error is not None:
        return f"{jax.version}, does not work: {jax.error}"
    devices = Counter((one.kind, one.memory) for one in jax.devices)
    words = [
        f"{number} × {kind}{'' if memory is None else f' with {size(memory)} for JAX'}"
        for (kind, memory), number in devices.items()
    ]
    return f"{jax.version}, jaxlib {jax.jaxlib}, backend {jax.backend}: {', '.join(words)}"


def _is_on(value: str | None) -> bool:
    return (value or "").upper() in ("1", "ON", "YES", "TRUE")


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table
