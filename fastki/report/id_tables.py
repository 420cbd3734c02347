"""Where FAST's ids stand among a text's, for a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from fastki.report.tables import counted, key_values
from fastki.sequence.id_map import IdMap


def id_facts(ids: IdMap) -> Table:
    """The rule, what FAST's ids take, and the ids that frame them."""
    specials = ", ".join(f"{name} {index:,}" for name, index in ids.specials.items())
    bar = ", ".join(f"{index:,}" for index in ids.closing[:-1])
    pairs = [
        ("text ids", f"{ids.text}, {ids.text_ids:,} ids, in {ids.model}'s table of {ids.text_vocab:,}"),
        ("special ids", f"{specials}; after FAST's come | ({bar}) and the end"),
    ]
    if ids.highest is not None:
        rule = f"FAST id i is text id {ids.highest:,} − i: {ids.text_vocab:,} − 1 − {ids.skip:,} skipped − i"
        pairs[1:1] = [("mapping", rule), ("takes", _taken(ids))]
    return key_values(pairs)


def id_runs(ids: IdMap) -> Table:
    """The vocabulary from its top to its bottom, a row a run; what runs into ordinary text in red."""
    table = _table(("text ids", "right"), ("FAST ids", "right"), ("count", "right"), ("what", "left"))
    for row in ids.rows:
        fast = "" if row.fast_first is None else _run(row.fast_first, row.fast_last or 0)
        style = "bold red" if "over" in row.what else None
        table.add_row(_run(row.first, row.last), fast, f"{row.count:,}", row.what, style=style)
    return table


def id_ends(ids: IdMap) -> Table:
    """The first and the last few FAST ids, and what the text tokenizer has where they stand."""
    table = _table(("FAST id", "right"), ("text id", "right"), ("the text tokenizer has there", "left"))
    before = -1
    for pair in ids.ends:
        if pair.fast != before + 1:
            table.add_row("…", "…", "")
        stands = "no such id" if pair.stands is None else repr(pair.stands) if pair.stands else "no text"
        table.add_row(f"{pair.fast:,}", f"{pair.text:,}", escape(stands))
        before = pair.fast
    return table


def unknown_words(ids: IdMap) -> str | None:
    """That the text of the model may use what this tokenizer leaves free, where it has fewer ids than the table."""
    if ids.text_ids >= ids.text_vocab:
        return None
    return (
        f"{ids.text} has {ids.text_ids:,} of the {ids.text_vocab:,} ids of {ids.model}'s table: "
        "--text with the tokenizer that the model reads shows what its text uses"
    )


def _taken(ids: IdMap) -> str:
    kinds = (
        (ids.beyond, f"that {ids.text} has not"),
        (ids.spare, "that its ordinary text does not use (free, markers, the rarest characters)"),
        (ids.ordinary, "of ordinary text"),
    )
    return f"{counted(ids.fast_vocab, 'id')}: " + ", ".join(f"{count:,} {what}" for count, what in kinds if count)


def _run(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} – {last:,}"


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head, side in columns:
        table.add_column(head, justify="right" if side == "right" else "left", overflow="fold")
    return table
