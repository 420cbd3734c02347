"""A comparison of layouts as ``report.html``: costs in words, the command, every figure in tables, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastki.files import write_text
from fastki.report.compare_html import STEM, learning, learnt_section
from fastki.report.drawn import write_drawn
from fastki.report.html import Cell, Column, Command, Facts, Row, Section, Table, Words, environment, page
from fastki.report.html_table import Entry, Field, numbered_table, pictures
from fastki.report.layout_figures import STEMS, layout_figures, segment_words
from fastki.report.layout_ranking import ranking
from fastki.report.layout_tables import amount, cost_words, measured_on, memory, truncation_words
from fastki.report.tables import counted
from fastki.sequence.layout import PRESETS, Layout, Segment
from fastki.study.layouts import Comparison, LayoutRow
from fastki.study.training import TrainingComparison

REPORT = "report.html"
_ORDER = "in the order asked for"
_ALL_STEMS = (*STEMS, STEM)


def write_report(
    payload: dict[str, Any],
    comparison: Comparison,
    command: str,
    folder: Path,
    *,
    learnt: TrainingComparison | None = None,
) -> list[Path]:
    """Write ``report.html``, and beside it its figures as PNG and SVG.

    Args:
        payload: of :func:`fastki.report.layout_files.layouts_payload`.
        comparison: of the layouts.
        command: that was given.
        folder: to write into.
        learnt: what each layout learnt, where they were trained.

    Raises:
        UsageError: the folder can't be written to.
    """
    first, *others = layout_sections(payload, comparison, folder, learnt=learnt)
    sections = [first, Section("Command", (Command(command),)), *others, Section("Made with", (environment(),))]
    write_text(folder / REPORT, page(f"Sequence layouts on {payload['data']}", sections))
    figures = [folder / f"{stem}.{kind}" for stem in _ALL_STEMS for kind in ("png", "svg")]
    return [folder / REPORT, *(path for path in figures if path.exists())]


def layout_sections(
    payload: dict[str, Any], comparison: Comparison, folder: Path, *, learnt: TrainingComparison | None = None
) -> list[Section]:
    """What a page has of a comparison: first in words, then tables and figures, which are written into ``folder``."""
    drawn = layout_figures(comparison)
    if learnt is not None:
        drawn = [*drawn, learning(learnt)]
    write_drawn(drawn, folder, stems=_ALL_STEMS)
    return [
        Section(
            "What each costs" if learnt is None else "What each learns and costs",
            (*_costs_in_words(comparison, learnt), _facts(payload, comparison)),
        ),
        *([] if learnt is None else [learnt_section(learnt)]),
        Section("Lengths", (_table("tokens of pictures and text an example", _LENGTHS, comparison),)),
        Section("Costs", (_table(f"{comparison.size.name}, an example", _COSTS, comparison), _counted(comparison))),
        Section("Figures", pictures(drawn, folder)),
        Section("The layouts themselves", (_segments(comparison), *_own(comparison))),
    ]


def _costs_in_words(comparison: Comparison, learnt: TrainingComparison | None) -> tuple[Words, ...]:
    lines = (*ranking(comparison, learnt), *truncation_words(comparison))
    if not comparison.totals:
        lines = ("No layout could be measured: the tables say why.",)
    return (Words(lines, listed=len(lines) > 1),) if lines else ()


def _facts(payload: dict[str, Any], comparison: Comparison) -> Facts:
    size, options = comparison.size, payload["options"]
    room, skip, text_vocab = options["max_token_len"], options["skip"], options["text_vocab"]
    top = text_vocab - 1 - skip
    pairs = (
        ("measured on", measured_on(comparison, payload["tokenizer"], payload["data"])),
        (
            "model",
            f"{size.name}: {counted(size.cameras, 'camera slot')} × {size.vision.tokens} tokens, a backbone of "
            f"{size.backbone.depth} layers × {size.backbone.width}, an expert of {size.expert.width}",
        ),
        (
            "FAST ids",
            f"FAST id i is text id {top:,} − i, of {text_vocab:,} ids of which the last {skip:,} are skipped",
        ),
        ("room for text", "what each layout needs" if room is None else f"{counted(room, 'token')} (--max-token-len)"),
        ("chunks", f"at most {options['max_chunks']:,}, drawn with seed {options['seed']}"),
    )
    return Facts((*pairs, *(("note", note) for note in comparison.notes)))


def _table(what: str, fields: Sequence[Field[LayoutRow]], comparison: Comparison) -> Table:
    entries = [
        Entry(row, reason=None if row.error is None else f"not measured: {row.error}") for row in comparison.rows
    ]
    return numbered_table(f"{counted(len(entries), 'layout')}: {what}", fields, entries, named=1, hint=_ORDER)


def _counted(comparison: Comparison) -> Words:
    return Words((cost_words(comparison),))


def _segments(comparison: Comparison) -> Table:
    heads = (Column("#", _ORDER), Column("layout", words=True), *_LONG)
    rows = []
    for index, layout in enumerate(comparison.layouts):
        names = " → ".join(_in_words(segment) for segment in layout.segments)
        rows.append(Row((Cell(str(index), index), Cell(layout.name), Cell(names), Cell(layout.about))))
    return Table("Segments, how each attends, and its loss", heads, tuple(rows))


def _in_words(segment: Segment) -> str:
    what, how, loss = segment_words(segment)
    return f"{what} ({', '.join(filter(None, (how, 'a block of its own' * segment.own_block, loss)))})"


def _own(comparison: Comparison) -> list[Words | Command]:
    """Layouts that are no presets, as the file that would give them again."""
    own = [layout for layout in comparison.layouts if PRESETS.get(layout.name) != layout]
    parts: list[Words | Command] = []
    for layout in own:
        parts += [Words((f"{layout.name}, as a file:",)), Command(segments_toml(layout))]
    return parts


def segments_toml(layout: Layout) -> str:
    """The segments as :func:`fastki.sequence.layout.load_layout` reads them; the name is then the file's.

    >>> print(segments_toml(PRESETS["images-fast"]).partition("[[segments]]\\nkind = \\"actions\\"")[0].strip())
    [[segments]]
    kind = "images"
    [[segments]]
    kind = "fast"
    attends = "causal"
    loss = "tokens"
    """
    lines = []
    for segment in layout.segments:
        lines += ["[[segments]]", f'kind = "{segment.kind}"']
        lines += [f'attends = "{segment.attends}"'] if segment.causal else []
        lines += [f'loss = "{segment.loss}"'] if segment.loss != "none" else []
        lines += [f'state = "{segment.state}"'] if segment.state != "none" else []
        lines += ["own_block = true"] if segment.own_block else []
    return "\n".join(lines)


_LONG = tuple(Column(head, words=True, wraps=True) for head in ("segments in order", "about"))
_NAME = Field[LayoutRow]("layout", "its preset, or its file", lambda row: row.layout, text=lambda row: row.layout)
_LENGTHS: tuple[Field[LayoutRow], ...] = (
    _NAME,
    Field("mean", "of pictures and text, padding not counted, after any truncation", lambda row: row.total_mean, ".1f"),
    Field("p95", "95 of 100 examples keep within", lambda row: row.total_p95, ".0f"),
    Field("max", "of the longest example", lambda row: row.total_max, ","),
    Field("padded", "with every camera slot, and the room for text", lambda row: row.padded, ","),
    Field("padding", "share of those, on average", lambda row: row.padding, ".0%"),
    Field("with loss", "to be predicted, mean", lambda row: row.loss_mean, ".1f"),
    Field("share", "of an example's tokens that are to be predicted", lambda row: row.loss_share, ".1%"),
    Field("text mean", "of text, before any truncation", lambda row: row.text_mean, ".1f"),
    Field("room", "max_token_len: text tokens that an example has room for", lambda row: row.max_token_len, ","),
    Field("truncated", "share of the examples that are longer", lambda row: row.truncated, ".2%"),
    Field(
        "FAST lost",
        "share of the tokens to be predicted that this costs",
        lambda row: row.fast_lost if row.truncated else None,
        ".2%",
    ),
    Field("needs for 0 %", "smallest max_token_len that truncates none", lambda row: row.need_all, ","),
    Field("0.1 %", "smallest max_token_len that truncates 0.1 %", lambda row: row.need_999, ","),
    Field("1 %", "smallest max_token_len that truncates 1 %", lambda row: row.need_99, ","),
)
_COSTS: tuple[Field[LayoutRow], ...] = (
    _NAME,
    Field("training", "FLOPs of a step, forward and backward", lambda row: row.train_flops, number=amount),
    Field("its attention", "FLOPs, part of the former", lambda row: row.train_attention, number=amount),
    Field("inference", "FLOPs of a chunk by the flow", lambda row: row.infer_flops, number=amount),
    Field("its attention", "FLOPs, part of the former", lambda row: row.infer_attention, number=amount),
    Field("prefix", "tokens at inference, padded: pictures and the text before FAST", lambda row: row.prefix, ","),
    Field("KV cache", "keys and values of the prefix, bfloat16", lambda row: row.cache_bytes, number=memory),
    Field(
        "acts as it stands",
        "whether the action expert can act by this layout",
        lambda row: row.verdict or None,
        text=lambda row: row.verdict,
        wraps=True,
    ),
)
