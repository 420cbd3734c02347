"""Tables of tokenizers and datasets for a terminal: results in, Rich renderables out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from fastki.data import DatasetInfo
from fastki.data.summary import STILL, DatasetSummary
from fastki.tokenizer import ActionTokenizer, CorruptionRow, FastTokenizer, MemberFit, RoundTrip
from fastki.tokenizer.anatomy import TokenEntry
from fastki.tokenizer.roundtrip import ATOL_SLACK

MAX_DIM_ROWS = 40


def key_values(pairs: Sequence[tuple[str, str]]) -> Table:
    """Two columns without a frame: what, and its value."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in pairs:
        table.add_row(key, escape(value))
    return table


def comparison(columns: Sequence[tuple[str, RoundTrip]]) -> Table:
    """Round trips side by side, the held-out one first."""
    table = Table(title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for title, _ in columns:
        table.add_column(title, justify="right")
    rows: list[tuple[str, Any]] = [
        ("episodes", lambda r: f"{r.episodes:,}"),
        ("chunks", lambda r: f"{r.chunks:,}"),
        ("tokens a chunk, mean", lambda r: f"{r.tokens_mean:.2f}"),
        ("tokens a chunk, p99", lambda r: f"{r.tokens_p99:.0f}"),
        ("compression (values / tokens)", lambda r: f"{r.compression:.2f}×" if r.compression else "–"),
        ("RMSE, normalised", lambda r: number(r.rmse)),
        ("p99 error, normalised", lambda r: number(r.p99_abs_error)),
        ("max error, normalised", lambda r: number(r.max_abs_error)),
        ("vocabulary in use", lambda r: f"{r.vocab_used:,} of {len(r.token_use):,}"),
    ]
    for name, show in rows:
        table.add_row(name, *(show(result) for _, result in columns))
    return table


def members(rows: Sequence[MemberFit]) -> Table:
    """One row a dataset of a mixture: its part in the fit, and its held-out figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("held out", overflow="fold")
    for header in ("share", "chunks\nfitted", "episodes", "chunks", "tokens\nmean", "tokens\np99", "RMSE", "max error"):
        table.add_column(header, justify="right")
    for row in rows:
        held = row.heldout
        figures = ["–"] * 5
        if held is not None:
            counts = [f"{held.chunks:,}", f"{held.tokens_mean:.2f}", f"{held.tokens_p99:.0f}"]
            figures = [*counts, number(held.rmse), number(held.max_abs_error)]
        table.add_row(escape(row.name), f"{row.share:.1%}", f"{row.drawn:,}", str(row.heldout_episodes), *figures)
    return table


def per_dimension(result: RoundTrip) -> Table:
    """One row a dimension: errors in normalised and native units; a miss of ``atol`` stands out."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("dimension\n\\[native unit]", overflow="fold")
    for header in ("max", "p99", "RMS", "max\nnative", "RMS\nnative", "outside\n±1"):
        table.add_column(header, justify="right", no_wrap=True)
    shown = sorted(result.per_dim, key=lambda dim: -dim.max_abs_error)[:MAX_DIM_ROWS]
    for dim in (dim for dim in result.per_dim if dim in shown):
        missed = result.atol is not None and dim.max_abs_error > result.atol * ATOL_SLACK
        table.add_row(
            _with_unit(dim.name, dim.unit),
            f"{dim.max_abs_error:.3g}",
            f"{dim.p99_abs_error:.3g}",
            f"{dim.rmse:.3g}",
            f"{dim.max_abs_error_native:.3g}",
            f"{dim.rmse_native:.3g}",
            f"{dim.outside:.2%}" if dim.outside else "0",
            style="bold red" if missed else None,
        )
    if len(result.per_dim) > len(shown):
        table.add_row(f"… and {len(result.per_dim) - len(shown)} with smaller errors")
    return table


def corruption(rows: Sequence[CorruptionRow]) -> Table:
    """One row a kind and rate of damage, the tokenizers side by side."""
    labels = list(dict.fromkeys(row.label for row in rows))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("damage")
    table.add_column("tokens", justify="right")
    for label in labels:
        table.add_column(f"{label}:\nRMS", justify="right")
        table.add_column("worse than\nzeros", justify="right")
    for damage, rate in dict.fromkeys((row.damage, row.rate) for row in rows):
        mine = [row for label in labels for row in rows if (row.label, row.damage, row.rate) == (label, damage, rate)]
        cells = [cell for row in mine for cell in (number(row.rmse), f"{row.lost:.1%}")]
        table.add_row(damage, f"{rate:.3g}", *cells)
    return table


def _with_unit(name: str, unit: str | None) -> str:
    return escape(name) + (f" \\[{escape(unit)}]" if unit else "")


def dataset_facts(summary: DatasetSummary) -> Table:
    """What the metadata of a dataset say, and how long its episodes are."""
    info = summary.info
    low, middle, high = np.percentile(info.lengths, [0, 50, 100])
    rate = f"{info.fps:g} Hz" if info.fps else "unknown"
    frames = f"{low:.0f} – {middle:.0f} – {high:.0f} frames"
    seconds = f" ({low / info.fps:.1f} – {middle / info.fps:.1f} – {high / info.fps:.1f} s)" if info.fps else ""
    prompts = [f"{len(summary.prompts)}: {prompt!r}" for prompt in summary.prompts[:1]] or ["none"]
    prompts += ["…"] if len(summary.prompts) > 1 else []
    absent = f" ({', '.join(info.missing_cameras)} absent)" if info.missing_cameras else ""
    return key_values(
        [
            ("data", f"{info.uri} ({info.format})"),
            ("robot", _robot(info)),
            ("rate", rate),
            ("episodes", f"{info.num_episodes:,}, {info.num_frames:,} frames"),
            ("lengths", f"{frames}{seconds} (shortest – median – longest)"),
            ("", sparkline(info.lengths)),
            ("actions", f"{info.action_key} [{info.action_dim}], {int(summary.still.sum())} never move"),
            ("idle", _idle(summary)),
            ("state", f"{info.state_key} [{info.state_dim}]" if info.state_key else "none"),
            ("cameras", (", ".join(info.cameras) or "none") + absent),
            ("prompts", ", ".join(prompts)),
        ]
    )


def _robot(info: DatasetInfo) -> str:
    named = f"{info.robot}; " if info.robot else ""
    return f"{named}preset {info.preset or 'none'} ({info.preset_reason or 'not looked for'})"


def _idle(summary: DatasetSummary) -> str:
    idle = summary.idle
    what = "only the gripper" if summary.info.grippers else "nothing"
    return (
        f"{summary.idle_share:.1%} of the frames lie in runs of {idle.min_idle} or more in which {what} changes by "
        f"{idle.threshold:g} a frame (--drop-idle {idle.threshold:g} leaves such starts of chunks out)"
    )


def dataset_keys(info: DatasetInfo) -> Table:
    """One row a key: what a frame holds under it, and what it is read as."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("key", "holds", "read as"):
        table.add_column(header, overflow="fold")
    uses = dict.fromkeys(info.action_key.split(","), "action")
    for name in (info.state_key or "").split(","):
        uses[name] = f"{uses[name]} and state" if name in uses else "state"
    uses |= {camera: slot for slot, camera in info.slots.items() if camera}
    shown = sorted(info.keys, key=lambda key: key.name not in uses)[:MAX_DIM_ROWS]
    for key in shown:
        shape = " × ".join("?" if size < 0 else str(size) for size in key.shape)
        use = uses.get(key.name, "absent" if key.name in info.missing_cameras else "")
        table.add_row(escape(key.name), f"{key.kind} {shape} {key.dtype}".replace("  ", " "), use)
    if len(info.keys) > len(shown):
        table.add_row(f"… and {len(info.keys) - len(shown)} more")
    return table


def dataset_dimensions(summary: DatasetSummary) -> Table:
    """One row an action dimension: its range and quantiles in native units."""
    info, actions = summary.info, summary.actions
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("#", no_wrap=True)
    table.add_column("dimension \\[unit]", overflow="fold")
    for header in ("min", "q01", "mean", "q99", "max", "std"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for dim in range(info.action_dim):
        columns = (actions.min, actions.q01, actions.mean, actions.q99, actions.max, actions.std)
        still, flat = summary.still[dim], actions.q99[dim] - actions.q01[dim] <= STILL
        table.add_row(
            str(dim),
            _with_unit(info.action_names[dim], info.action_units[dim]),
            *(number(values[dim]) for values in columns),
            "never moves" if still else "q01 = q99" if flat else "gripper" if dim in info.grippers else "",
            style="dim" if still else None,
        )
    return table


def tokenizer_facts(tokenizer: ActionTokenizer, folder: str, measured: RoundTrip | None) -> Table:
    """The parameters of a tokenizer, and its vocabulary's use where it was measured."""
    shape = f"{tokenizer.horizon or 'any'} × {tokenizer.action_dim or 'any'}"
    pairs = [("tokenizer", folder), ("method", tokenizer.method), ("chunk", shape)]
    if isinstance(tokenizer, FastTokenizer):
        pairs += codec_facts(tokenizer)
    else:
        pairs.append(("vocabulary", f"{tokenizer.vocab_size:,}"))
    if measured is not None:
        share = measured.vocab_used / len(measured.token_use)
        pairs.append(
            (
                "in use",
                f"{measured.vocab_used:,} ids ({share:.1%}) in {measured.chunks:,} chunks, "
                f"{measured.tokens_mean:.2f} tokens a chunk",
            )
        )
    return key_values(pairs)


def codec_facts(tokenizer: FastTokenizer) -> list[tuple[str, str]]:
    """What a fit chose, and on what."""
    codec, normalizer, source = tokenizer.codec, tokenizer.normalizer, tokenizer.source
    base = codec.alphabet.size
    bound = f", every value within {codec.atol:g}" if codec.atol else ""
    facts = [
        ("precision", f"{number(codec.bins)} bins (scale {number(codec.scale)}){bound}"),
        ("order", {"freq": "frequency-major, as FAST", "dim": "dimension-major"}[codec.order]),
        (
            "vocabulary",
            f"{tokenizer.vocab_size:,}: coefficients -{codec.literals} … {codec.literals} and "
            f"{base - codec.alphabet.radix} structural, {tokenizer.vocab_size - base:,} merges",
        ),
    ]
    if normalizer is not None:
        still = f", {len(normalizer.constant_dims)} of {codec.action_dim} constant" if normalizer.constant_dims else ""
        facts.append(("normaliser", f"{normalizer.method}{', clipped' if normalizer.clip else ''}{still}"))
    if source is not None:
        chunks = counted(source.chunks, "chunk")
        kept = "" if source.spec.dims is None else f", dimensions {', '.join(map(str, source.spec.dims))}"
        facts.append(("fitted on", f"{source.data}{kept}: {chunks} of {counted(source.episodes, 'episode')}"))
    if tokenizer.members:
        shares = ", ".join(f"{member.name} ({member.share:.0%})" for member in tokenizer.members)
        facts.append(("fitted on", f"a mixture, each dataset normalised by its own statistics: {shares}"))
    return facts


def token_entries(entries: Sequence[TokenEntry]) -> Table:
    """The longest tokens and the coefficients that they stand for, low frequencies first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("id", justify="right")
    table.add_column("symbols", justify="right")
    table.add_column("uses", justify="right")
    table.add_column("coefficients, in the order of the stream", overflow="ellipsis", no_wrap=True)
    for entry in entries:
        table.add_row(str(entry.id), str(entry.length), "?" if entry.uses is None else f"{entry.uses:,}", entry.text)
    return table


def sparkline(values: NDArray[np.integer[Any]], bins: int = 40) -> str:
    """A histogram in one line of block characters."""
    counts, _ = np.histogram(values, bins=min(bins, max(1, len(np.unique(values)))))
    heights = np.ceil(counts / max(1, counts.max()) * 8).astype(int)
    return "".join(" ▁▂▃▄▅▆▇█"[height] for height in heights)


def counted(count: int, noun: str) -> str:
    """``1 episode``, ``2,000 episodes``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
