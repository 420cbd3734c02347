"""One page of the results of several commands: each folder is told by a file in it, and has sections by its kind.

A further kind of result is a further entry of :data:`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastki.errors import DataError
from fastki.report.closed_loop import NAME as PLAYED_RESULT
from fastki.report.compare_html import MADE_BY as COMPARED
from fastki.report.compare_html import RESULT as COMPARED_RESULT
from fastki.report.compare_html import comparison_sections
from fastki.report.fit_html import MADE_BY as FIT
from fastki.report.fit_html import MARK as TOKENIZER
from fastki.report.fit_html import fit_sections
from fastki.report.html import Facts, Picture, Section, environment, page
from fastki.report.layout_html import layout_sections
from fastki.report.layout_read import MADE_BY as LAYOUTS
from fastki.report.layout_read import RESULT as LAYOUTS_RESULT
from fastki.report.layout_read import read_layouts
from fastki.report.loop_html import MADE_BY as PLAYED
from fastki.report.loop_html import loop_sections
from fastki.report.roundtrip_html import MADE_BY as ROUNDTRIP
from fastki.report.roundtrip_html import RESULT as ROUNDTRIP_RESULT
from fastki.report.roundtrip_html import roundtrip_sections
from fastki.report.runs import RUN, read_object, run_section
from fastki.report.sweep_figures import sweep_figures, write_figures
from fastki.report.sweep_html import sweep_sections
from fastki.report.sweep_read import MADE_BY as SWEEP
from fastki.report.sweep_read import read_sweep
from fastki.report.train_html import MADE_BY as TRAIN
from fastki.report.train_html import MARK as TRAIN_MARK
from fastki.report.train_html import train_sections

Told = tuple[str, list[Section]]
"""What a folder's result is of, in words, and its sections."""


@dataclass(frozen=True)
class Kind:
    """A kind of result.

    Attributes:
        name: in words.
        mark: the file that tells a folder of it.
        made_by: the command that writes such a folder.
        told: the result in a folder; figures that have to be drawn are written into the second one.
    """

    name: str
    mark: str
    made_by: str
    told: Callable[[Path, Path], Told]


@dataclass(frozen=True)
class Found:
    """A folder and its kind."""

    folder: Path
    kind: Kind


def find_results(folders: Sequence[Path]) -> list[Found]:
    """What each folder holds; one that holds no result but folders that do stands for those, in the order of kinds.

    Raises:
        DataError: neither; the message says what is accepted.
    """
    found: list[Found] = []
    for folder in folders:
        within = sorted(folder.iterdir()) if folder.is_dir() else []
        children = [one for child in within if child.is_dir() for one in _kind_of(child)]
        here = _kind_of(folder) or sorted(children, key=lambda one: KINDS.index(one.kind))
        if not here:
            what = "holds no result" if folder.is_dir() else "is no folder"
            raise DataError(f"{folder} {what}: give folders that {_accepted()} wrote")
        found += [one for one in here if one not in found]
    return found


def bundle(found: Sequence[Found], scratch: Path) -> str:
    """The page, as HTML.

    Args:
        found: of :func:`find_results`.
        scratch: an empty folder for figures that are drawn anew; the page needs it no longer.

    Raises:
        DataError, TokenizerError: a result is damaged.
    """
    told = []
    for number, one in enumerate(found):
        drawn = scratch / str(number)
        drawn.mkdir()
        what, sections = one.kind.told(one.folder, drawn)
        told.append((one, what, [_apart(section, f"r{number}-") for section in sections]))
    contents = tuple((str(one.folder), f"{one.kind.name}: {what}") for one, what, _ in told)
    if len(told) == 1:
        title, whole = f"{told[0][0].kind.name}: {told[0][1]}", list(told[0][2])
    else:
        title = f"{len(told)} results"
        whole = [Section("What is here", (Facts(contents),))]
        for one, _, sections in told:
            whole += [replace(section, heading=f"{one.folder.name}: {section.heading}") for section in sections]
    return page(title, [*whole, Section("This page was made with", (environment(),))])


def _kind_of(folder: Path) -> list[Found]:
    return [Found(folder, kind) for kind in KINDS if (folder / kind.mark).is_file()][:1]


def _accepted() -> str:
    names = [f"`{kind.made_by}` ({kind.mark})" for kind in KINDS]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _apart(section: Section, prefix: str) -> Section:
    """The section, with ids in its figures that no other folder's have."""
    return replace(
        section,
        parts=tuple(replace(part, prefix=prefix) if isinstance(part, Picture) else part for part in section.parts),
    )


def _sweep(folder: Path, scratch: Path) -> Told:
    payload, result = read_sweep(folder / "sweep.json")
    drawn = sweep_figures(result, atol=payload["atol"])
    write_figures(drawn, scratch)
    first, *others = sweep_sections(payload, result, drawn, scratch)
    return str(payload["data"]), [first, run_section(payload, "Command"), *others]


def _layouts(folder: Path, scratch: Path) -> Told:
    payload, comparison, learnt = read_layouts(folder / LAYOUTS_RESULT)
    first, *others = layout_sections(payload, comparison, scratch, learnt=learnt)
    return str(payload["data"]), [first, run_section(payload, "Command"), *others]


def _compared(folder: Path, scratch: Path) -> Told:
    what, (first, *others) = comparison_sections(folder / COMPARED_RESULT, scratch)
    run = read_object(folder / RUN, COMPARED) if (folder / RUN).exists() else {}
    return what, [first, run_section(run, "Command"), *others]


def _with_run(told: Callable[[Path], Told], made_by: str) -> Callable[[Path, Path], Told]:
    """The result, with the command out of ``run.json`` after its first section."""

    def both(folder: Path, _: Path) -> Told:
        what, (first, *others) = told(folder)
        run = read_object(folder / RUN, made_by) if (folder / RUN).exists() else {}
        return what, [first, run_section(run, "Command"), *others]

    return both


KINDS: tuple[Kind, ...] = (
    Kind("Tokenizer", TOKENIZER, FIT, _with_run(fit_sections, FIT)),
    Kind("Round trip", ROUNDTRIP_RESULT, ROUNDTRIP, _with_run(roundtrip_sections, ROUNDTRIP)),
    Kind("Tokenizer sweep", "sweep.json", SWEEP, _sweep),
    Kind("Sequence layouts", LAYOUTS_RESULT, LAYOUTS, _layouts),
    Kind("Training", TRAIN_MARK, TRAIN, train_sections),
    Kind("Training compared", COMPARED_RESULT, COMPARED, _compared),
    Kind("In a simulator", PLAYED_RESULT, PLAYED, loop_sections),
)
