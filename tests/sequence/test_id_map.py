"""Where FAST's ids stand among a text's: its ends, its runs, and what it takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastki.sequence.id_map import map_ids
from fastki.sequence.ids import FastIds
from fastki.sequence.sizes import SIZES
from fastki.sequence.text import ByteTokenizer

TINY, PI05 = SIZES["tiny"], SIZES["pi05"]


@pytest.mark.parametrize(("fast", "size", "skip"), [(2048, PI05, 128), (7, TINY, 0), (6, TINY, 3), (1, TINY, 128)])
def test_ends_and_rows_are_those_of_the_mapping(fast, size, skip):
    found = map_ids(fast, ByteTokenizer(), size, skip=skip)
    ids = FastIds.onto(ByteTokenizer(), fast, skip=skip, text_vocab=size.table_rows(2560))
    assert found.refusal is None
    assert found.rows == ids.rows(ByteTokenizer())
    assert (found.highest, found.lowest) == (ids.highest, ids.lowest)
    listed = [pair.fast for pair in found.ends]
    assert listed == (list(range(fast)) if fast <= 6 else [0, 1, 2, fast - 3, fast - 2, fast - 1])
    assert [pair.text for pair in found.ends] == ids.to_text(listed).tolist()


@pytest.mark.parametrize("vocab", [2560, 1400, 1152, 300])
def test_every_id_is_beyond_the_text_or_spare_or_ordinary(vocab):
    text = ByteTokenizer(vocab)
    for size in (TINY, PI05, dataclasses.replace(TINY, vocab=1500)):
        found = map_ids(1024, text, size)
        if found.highest is None:
            assert found.refusal
            assert (found.beyond, found.spare, found.ordinary, found.rows, found.ends) == (0, 0, 0, (), ())
            continue
        taken = np.arange(found.lowest, found.highest + 1)
        assert found.beyond == (taken >= vocab).sum()
        assert found.ordinary == np.isin(taken, text.ordinary_ids).sum()
        assert found.beyond + found.spare + found.ordinary == 1024
        assert bool(found.ordinary) == (found.refusal is not None)


@dataclasses.dataclass(frozen=True)
class Endless(ByteTokenizer):
    """A byte tokenizer without an id for the beginning."""

    @property
    def bos_id(self):
        return None


def test_a_tokenizer_without_a_beginning_has_none():
    assert map_ids(200, Endless(), TINY).specials == {"end": 1, "padding": 0}
