"""One fit serves all vocabularies: each is, bit for bit, what a fit of its own gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki import FastTokenizer
from fastki.data import Normalizer
from fastki.errors import TokenizerError
from fastki.tokenizer import FitSettings
from fastki.tokenizer.bpe import train_bpe
from fastki.tokenizer.dct import dct
from fastki.tokenizer.fit import family_of, fit_family, fit_tokenizer
from fastki.tokenizer.ragged import Ragged

PRECISIONS = [{"bins": 20}, {"bins": 256}, {"atol": 0.02}, {"scale": 40, "rdo": 0.1}]


@pytest.mark.parametrize("order", ["freq", "dim"])
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_a_member_is_a_fit_of_its_own(walks, order, precision):
    largest = FitSettings(4096, order=order, **precision)
    family = fit_family(walks, largest)
    vocabularies = [size for size in (256, 512, 1000, 4096) if family_of(size, order) == family_of(4096, order)]
    assert len(vocabularies) >= 3
    for vocab_size in vocabularies:
        alone = fit_tokenizer(walks, replace(largest, vocab_size=vocab_size))
        member = family.tokenizer(vocab_size)
        assert (member.codec, member.bpe) == (alone.codec, alone.bpe)
        for ours, theirs in zip(member.encode(walks[:50]), alone.encode(walks[:50]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_streams_are_those_of_the_fitted_chunks(walks):
    family = fit_family(walks, FitSettings(256, bins=40))
    tokens = family.bpe.encode(family.streams)
    assert [row.tolist() for row in tokens] == [row.tolist() for row in family.tokenizer(256).encode(walks)]


@pytest.mark.parametrize("precision", [{"bins": 64}, {"atol": 0.02}], ids=str)
def test_a_transform_that_is_there_already_changes_nothing(walks, precision):
    normalizer = Normalizer.fit(walks.reshape(-1, 4))
    transformed = dct(normalizer.normalize(walks))
    transformed.setflags(write=False)
    given_, plain = (
        fit_family(walks, FitSettings(512, **precision), normalizer=normalizer, transformed=known)
        for known in (transformed, None)
    )
    assert (given_.codec, given_.bpe) == (plain.codec, plain.bpe)
    np.testing.assert_array_equal(given_.streams.values, plain.streams.values)


def test_small_vocabularies_are_families_of_their_own():
    assert [family_of(size, "freq") for size in (64, 100, 255, 256, 1024, 65536)] == [64, 100, 255, 256, 256, 256]
    assert [family_of(size, "dim") for size in (256, 511, 512, 65536)] == [256, 511, 512, 512]


def test_every_alphabet_leaves_half_of_the_ids_to_merges(walks):
    for vocab_size in (64, 100, 256, 512):
        for order in ("freq", "dim"):
            codec = FastTokenizer.fit(walks, vocab_size=vocab_size, bins=512, order=order).codec
            assert codec.alphabet.size <= vocab_size // 2 + 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 3), max_size=40), min_size=1, max_size=12), st.integers(4, 30))
def test_a_larger_vocabulary_begins_where_a_smaller_one_has_ended(sequences, smaller):
    streams = Ragged.from_list([np.array(row, dtype=np.int32) for row in sequences])
    bpe = train_bpe(streams, num_symbols=4, vocab_size=40, min_count=1)
    others = Ragged.from_list([np.array(row[::-1], dtype=np.int32) for row in sequences])
    for text in (streams, others):
        ours, expected = bpe.encode_more(bpe.prefix(smaller).encode(text)), bpe.encode(text)
        np.testing.assert_array_equal(ours.values, expected.values)
        np.testing.assert_array_equal(ours.offsets, expected.offsets)


def test_more_of_an_id_that_is_not_there_is_refused():
    bpe = train_bpe(Ragged.from_list([[0, 1, 0, 1]]), num_symbols=2, vocab_size=3)
    with pytest.raises(TokenizerError, match=r"sequence 0, position 1 is 3, not an id .0 … 2"):
        bpe.encode_more(Ragged.from_list([[0, 3]]))
