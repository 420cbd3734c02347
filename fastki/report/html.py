"""A report as one HTML file that needs nothing else: no network, no folder beside it.

A page is a title and sections, a section a heading and parts. It knows nothing of what is reported. All text is
escaped, and a content security policy lets no script run but the page's own and nothing be loaded. The same parts
give the same bytes.

>>> text = page("A <b> title", [Section("Words", (Words(("1 < 2",)),))])
>>> "<title>A &lt;b&gt; title</title>" in text, "<p>1 &lt; 2</p>" in text
(True, True)
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from fastki import __version__
from fastki.report.html_style import SCRIPT, STYLE

LARGEST_SVG = 500_000
"""Bytes above which a figure goes into the page as PNG."""
_LIBRARIES = ("numpy", "numba", "tokenizers", "matplotlib")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True)
class Words:
    """Paragraphs, or the items of a list."""

    lines: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True)
class Facts:
    """What, and its value."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """A line to copy."""

    text: str


@dataclass(frozen=True)
class Column:
    """The head of a column, and what stands below it.

    Attributes:
        head: of the column.
        meaning: shown with the head.
        words: whether it holds words rather than numbers.
        wraps: whether those are sentences, which may take several lines.
    """

    head: str
    meaning: str = ""
    words: bool = False
    wraps: bool = False

    @property
    def css(self) -> str:
        """The attribute ``class`` of its cells."""
        names = "words" * self.words + " wraps" * self.wraps
        return f' class="{names.strip()}"' if names else ""


@dataclass(frozen=True)
class Cell:
    """What stands in a table, and the number that it is sorted by; without one it is sorted as words.

    Attributes:
        text: shown. An empty one is shown as a dash and comes last in either direction.
        value: sorted by.
    """

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: a cell a column, or fewer where there is a ``reason``.
        best: whether it stands out.
        reason: why the rest of the columns is missing: such a row stays at the end.
    """

    cells: tuple[Cell, ...]
    best: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Table:
    """Sorted by any column, by mouse and keyboard; as it comes, by the first one."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Picture:
    """A figure that was written as PNG (or a film as GIF), and as SVG unless ``svg`` is None.

    Where figures of one name come from several folders, ``prefix`` tells the ids in them apart.
    """

    title: str
    caption: str
    svg: Path | None
    png: Path
    prefix: str = ""


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    heading: str
    parts: tuple[Words | Facts | Command | Table | Picture, ...]


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole document, UTF-8."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    whole = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="generator" content="fastki {__version__}">',
        '<link rel="icon" href="data:,">',  # Else a browser would ask the page's server for one.
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>",
        *(f"<section>\n<h2>{escape(section.heading)}</h2>\n{_parts(section)}\n</section>" for section in sections),
        f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(whole)


def environment() -> Facts:
    """With which versions, and on what, this process runs."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    machine = f"{platform.system()} {platform.machine()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Facts((("fastki", __version__), ("libraries", libraries), ("runs on", f"{python}, {machine}")))


def escape(text: str) -> str:
    """Text for an element or a quoted attribute; what HTML or UTF-8 can't hold is replaced."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", text))


@functools.singledispatch
def _part(part: object) -> str:
    raise TypeError(f"no part of a page: {type(part).__name__}")


def _parts(section: Section) -> str:
    return "\n".join(_part(part) for part in section.parts)


@_part.register
def _words(part: Words) -> str:
    if not part.listed:
        return "\n".join(f"<p>{escape(line)}</p>" for line in part.lines)
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in part.lines) + "\n</ul>"


@_part.register
def _facts(part: Facts) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in part.pairs)
    return "<dl>\n" + "\n".join(pairs) + "\n</dl>"


@_part.register
def _command(part: Command) -> str:
    button = '<button type="button" hidden>Copy</button>'
    return f'<div class="command"><pre><code>{escape(part.text)}</code></pre>{button}</div>'


@_part.register
def _table(part: Table) -> str:
    heads = []
    for place, column in enumerate(part.columns):
        sort = ' aria-sort="ascending"' if place == 0 else ""
        hint = f' title="{escape(column.meaning)}"' if column.meaning else ""
        button = f'<button type="button">{escape(column.head)}</button>'
        heads.append(f'<th scope="col"{column.css}{sort}{hint}>{button}</th>')
    rows = "\n".join(_row(row, part.columns) for row in sorted(part.rows, key=lambda row: row.reason is not None))
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(part.caption)}">\n<table class="sortable">\n'
        f"<caption>{escape(part.caption)}</caption>\n<thead><tr>{''.join(heads)}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = [_cell(cell, column, first=column is columns[0]) for cell, column in zip(row.cells, columns, strict=False)]
    if row.reason is not None:
        cells.append(f'<td colspan="{len(columns) - len(row.cells)}">{escape(row.reason)}</td>')
        return f'<tr class="off" data-last>{"".join(cells)}</tr>'
    kind = ' class="best"' if row.best else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _cell(cell: Cell, column: Column, *, first: bool) -> str:
    value = f' data-value="{cell.value!r}"' if cell.value is not None else "" if cell.text else " data-missing"
    text = escape(cell.text) or "–"
    return f'<th scope="row"{column.css}{value}>{text}</th>' if first else f"<td{column.css}{value}>{text}</td>"


@_part.register
def _picture(part: Picture) -> str:
    title = escape(part.title)
    if part.svg is None or part.svg.stat().st_size > LARGEST_SVG:
        data = base64.b64encode(part.png.read_bytes()).decode()
        kind = part.png.suffix.removeprefix(".")
        drawn = f'<img src="data:image/{kind};base64,{data}" alt="{title}">'
    else:
        drawn = inline_svg(part.svg.read_bytes(), prefix=f"{part.prefix}{part.svg.stem}-", label=part.title)
    caption = f"<figcaption>{escape(part.caption)}</figcaption>"
    return f'<figure>\n<h3>{title}</h3>\n<div class="sheet">{drawn}</div>\n{caption}\n</figure>'


def inline_svg(svg: bytes, *, prefix: str, label: str) -> str:
    """An SVG file as an element of an HTML page.

    Its ids get a prefix, as those of two figures are often the same; its metadata and style sheets, which would hold
    for the whole page, and its name spaces, which HTML knows by itself, are left out.

    Args:
        svg: the file.
        prefix: of its ids, other than every other figure's.
        label: what it shows, for those who can't see it.
    """
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style", "script"):
                parent.remove(child)
        parent.attrib = {name.rpartition("}")[2]: _prefixed(name, value, prefix) for name, value in parent.items()}
    root.attrib |= {"role": "img", "aria-label": _UNPRINTABLE.sub("\ufffd", label)}
    return ElementTree.tostring(root, encoding="unicode")


def _prefixed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name.endswith("href") and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}")
