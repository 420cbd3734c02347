"""Where FAST's ids stand, for a terminal."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from fastki.report.id_tables import id_ends, id_facts, id_runs, unknown_words
from fastki.sequence.id_map import map_ids
from fastki.sequence.sizes import SIZES
from fastki.sequence.text import ByteTokenizer

TINY, PI05 = SIZES["tiny"], SIZES["pi05"]


@dataclasses.dataclass(frozen=True)
class Odd(ByteTokenizer):
    """A byte tokenizer without a beginning, that has id 700 in use."""

    @property
    def bos_id(self):
        return None

    @property
    def ordinary_ids(self):
        return np.array([0, 1, 700], dtype=np.int64)


def shown(*renderables) -> str:
    console = Console(width=160, file=io.StringIO())
    for renderable in renderables:
        console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(("fast", "gap"), [(6, False), (7, True)])
def test_what_lies_between_the_ends_is_a_dot(fast, gap):
    assert ("…" in shown(id_ends(map_ids(fast, ByteTokenizer(), TINY)))) == gap


def test_what_runs_into_ordinary_text_is_a_row_of_its_own():
    found = map_ids(200, Odd(1000), TINY)
    assert (found.ordinary, found.specials) == (1, {"end": 1, "padding": 0})
    text = shown(id_facts(found), id_runs(found))
    assert "FAST over ordinary text (1 ids)" in text
    assert "199 that its ordinary text does not use" in text
    assert "1 of ordinary text" in text
    assert "beginning" not in text
    assert found.refusal.startswith("200 FAST ids would take text ids 672–871, and byte:1000 uses 700 of them")


def test_what_the_text_tokenizer_reads_there_stays_text():
    found = map_ids(256, ByteTokenizer(400), TINY)
    odd = dataclasses.replace(found.ends[0], stands="[red]\\x1b\x1b")
    text = shown(id_ends(dataclasses.replace(found, ends=(odd, *found.ends[1:]))))
    assert "[red]" in text
    assert "\x1b" not in text
    assert "no text" in text
    assert "no such id" in shown(id_ends(map_ids(256, ByteTokenizer(), PI05)))


def test_a_table_larger_than_the_tokenizer_is_said():
    assert "2,560 of the 257,152 ids of pi05's table" in unknown_words(map_ids(256, ByteTokenizer(), PI05))
    assert unknown_words(map_ids(256, ByteTokenizer(), TINY)) is None
