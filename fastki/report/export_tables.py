"""What an export is of, and what was compared, for people."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from fastki.export.check import Compared
from fastki.export.run import Exported
from fastki.export.source import Source
from fastki.report.checkpoint_tables import amount_of_bytes
from fastki.report.tables import key_values


def export_facts(source: Source, system: str, done: Exported) -> Table:
    """What was exported."""
    pairs = [("exported", f"{source.name} for {system}, {amount_of_bytes(done.nbytes)}")]
    if source.card is not None:
        model = source.card.model
        step = "" if source.step is None else f"step {source.step:,}, "
        shape = f"action_dim {model.action_dim}, action_horizon {model.action_horizon}"
        pairs.append(("policy", f"{step}{model.size.name}, kind {model.kind}, --mode {source.card.mode}, {shape}"))
    if source.tokenizer is not None:
        codec = source.tokenizer.codec
        chunks = f"chunks of {codec.horizon} × {codec.action_dim}, vocabulary {source.tokenizer.vocab_size:,}"
        pairs.append(("tokenizer", chunks))
    else:
        pairs.append(("tokenizer", f"{source.published} (published: not copied)"))
    pairs.append(("statistics", ", ".join(f"{asset} ({' and '.join(f) or 'none'})" for asset, f in _assets(source))))
    return key_values(pairs)


def compared_table(rows: tuple[Compared, ...]) -> Table:
    """One row for each thing that was read again."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("compared", "amount", "found", ""):
        table.add_column(header, overflow="fold")
    for row in rows:
        verdict = "[green]same[/green]" if row.same else "[red]differs[/red]"
        table.add_row(escape(row.what), escape(row.amount), escape(row.found), verdict)
    return table


def _assets(source: Source) -> list[tuple[str, tuple[str, ...]]]:
    return [(asset, tuple(found)) for asset, found in source.normalizers.items()]
