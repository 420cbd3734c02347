"""The comparison of layouts for a terminal: results in, Rich renderables and sentences out."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from fastki.report.tables import counted
from fastki.sequence.sizes import STEPS
from fastki.study.layouts import Comparison, LayoutRow


def lengths_table(comparison: Comparison) -> Table:
    """One row a layout: how long its sequences are, what of them is padding and what carries loss."""
    table = _table("layout")
    for header in (
        "tokens\nmean",
        "\np95",
        "\nmax",
        "\npadded",
        "\npadding",
        "with loss\nmean",
        "\nshare",
        "room for\ntext",
        "\ntruncated",
        "least room\nfor 0 %",
        "truncated\n0.1 %",
        "\n1 %",
    ):
        table.add_column(header, justify="right")
    for row in _measured(comparison):
        table.add_row(
            escape(row.layout),
            f"{row.total_mean:.1f}",
            f"{row.total_p95:.0f}",
            f"{row.total_max}",
            f"{row.padded}",
            f"{row.padding:.0%}",
            f"{row.loss_mean:.1f}",
            f"{row.loss_share:.1%}",
            f"{row.max_token_len}",
            f"{row.truncated:.2%}" if row.truncated else "0",
            f"{row.need_all}",
            f"{row.need_999}",
            f"{row.need_99}",
            style="yellow" if row.truncated else None,
        )
    return table


def costs_table(comparison: Comparison) -> Table:
    """One row a layout: FLOPs and memory per example, and whether it can act as it stands."""
    table = _table(f"{comparison.size.name}, per example")
    headers = ("training\nFLOPs", "attention\n", "inference\nFLOPs", "attention\n", "prefix\ntokens", "KV cache\n")
    for header in headers:
        table.add_column(header, justify="right")
    table.add_column("acts as it stands\n", overflow="fold")
    for row in _measured(comparison):
        table.add_row(
            escape(row.layout),
            amount(row.train_flops),
            amount(row.train_attention),
            amount(row.infer_flops),
            amount(row.infer_attention),
            "–" if row.prefix is None else f"{row.prefix}",
            memory(row.cache_bytes),
            row.verdict if row.usable else f"[bold red]{escape(row.verdict)}[/bold red]",
        )
    return table


def cost_words(comparison: Comparison) -> str:
    """What the table of costs counts."""
    return (
        f"training: forward and backward; inference: a chunk of {comparison.horizon} actions, the prefix once and "
        f"{STEPS} steps of the expert; attention: its own products, part of the FLOPs before it"
    )


def layout_errors(comparison: Comparison) -> list[str]:
    """A sentence for each layout that could not be measured."""
    return [f"{row.layout}: {row.error}" for row in comparison.rows if row.error is not None]


def measured_on(comparison: Comparison, tokenizer: str, data: str) -> str:
    """What the figures are of, in a line."""
    pictures = counted(comparison.cameras, "camera")
    each = f"{pictures} × {comparison.size.vision.tokens} tokens" if comparison.cameras else "no camera"
    return (
        f"{tokenizer} on {data}: {counted(comparison.chunks, 'chunk')} of {comparison.horizon} actions from "
        f"{counted(comparison.episodes, 'episode')}; {each} of {comparison.size.cameras} slots; text tokenizer "
        f"{comparison.text}"
    )


def truncation_words(comparison: Comparison) -> list[str]:
    """What truncation costs where there is any, a sentence a layout."""
    return [
        f"{row.layout}: {row.truncated:.2%} of the examples are longer than {row.max_token_len} text tokens and would "
        + (f"lose {row.fast_lost:.2%} of all FAST tokens" if row.fast_lost else "lose text, but no FAST token")
        + f"; --max-token-len {row.need_all} keeps everything"
        for row in _measured(comparison)
        if row.truncated
    ]


def amount(value: int | None) -> str:
    """FLOPs to three digits.

    >>> amount(14_273_070_809_088), amount(950), amount(None)
    ('14.3 T', '950', '–')
    """
    if value is None:
        return "–"
    for exponent, letter in ((12, "T"), (9, "G"), (6, "M")):
        if value >= 10**exponent:
            return f"{value / 10**exponent:.3g} {letter}"
    return f"{value:,}"


def memory(size: int | None) -> str:
    """Bytes in words.

    >>> memory(15_943_680), memory(24_576), memory(None)
    ('15.2 MiB', '24 KiB', '–')
    """
    if size is None:
        return "–"
    return f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB"


def _measured(comparison: Comparison) -> list[LayoutRow]:
    return [row for row in comparison.rows if row.error is None]


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{escape(first)}\n", overflow="fold")
    return table
