"""What the tokens stand for."""

from __future__ import annotations

import numpy as np
import pytest

from fastki import FastTokenizer
from fastki.tokenizer import load_tokenizer
from fastki.tokenizer.anatomy import describe_symbols, longest_tokens


def test_runs_are_shortened():
    assert describe_symbols([3, -1, 0, 0, 0, 3, 3], str) == "3 -1 0×3 3×2"
    assert describe_symbols([], str) == ""


@pytest.fixture(scope="module")
def tokenizer(walks):
    return FastTokenizer.fit(walks, vocab_size=128, bins=30)


def test_the_longest_come_first_with_their_expansions(tokenizer):
    entries = longest_tokens(tokenizer, 1000)
    assert len(entries) == tokenizer.vocab_size
    assert sorted(entry.id for entry in entries) == list(range(tokenizer.vocab_size))
    lengths = [entry.length for entry in entries]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 1
    assert lengths[-1] == 1
    for entry in entries[:10]:
        assert len(tokenizer.bpe.expansions[entry.id]) == entry.length
        written = sum(int(word.partition("×")[2] or 1) for word in entry.text.split())
        assert written == entry.length


def test_uses_are_those_of_the_ids(tokenizer):
    uses = np.arange(tokenizer.vocab_size, dtype=np.int64) * 3
    assert all(entry.uses == 3 * entry.id for entry in longest_tokens(tokenizer, 5, uses=uses))
    assert all(entry.uses is None for entry in longest_tokens(tokenizer, 5))


def test_a_published_tokenizer(shared):
    published = next(path.parent for path in (shared / "golden" / "fast").rglob("processor_config.json"))
    entries = longest_tokens(load_tokenizer(published), 5)
    assert len(entries) == 5
    assert entries[0].length >= entries[-1].length > 1
    assert all(word.lstrip("-").partition("×")[0].isdigit() for word in entries[0].text.split())
