"""Published FAST folders give the reference's ids and decode, from their data files alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastki import FastTokenizer
from fastki.errors import DecodeError, TokenizerError, UsageError
from fastki.tokenizer import PublishedFast

CASES = ["h16_d8_scale10_vocab1024", "h50_d26_scale10_vocab2048", "h16_d8_scale40_vocab1024"]


@pytest.fixture(params=CASES)
def case(request, shared):
    folder = shared / "golden" / "fast" / request.param
    vectors = np.load(folder / "vectors.npz")
    ids = np.split(vectors["token_ids"], np.cumsum(vectors["token_lens"])[:-1])
    return folder, vectors["chunks"], ids, vectors["decoded"]


def test_ids_are_the_references(case):
    folder, chunks, expected, _ = case
    encoded = FastTokenizer.load(folder).encode_normalized(chunks)
    assert [row.tolist() for row in encoded] == [row.tolist() for row in expected]


def test_decode_is_the_references(case):
    folder, chunks, ids, decoded = case
    report = FastTokenizer.load(folder).decode_normalized_report(ids)
    np.testing.assert_allclose(report.actions, decoded, atol=1e-9, rtol=0)
    # Chunk 3 lies outside the fitted range: what the reference can't read back is reported, not silent.
    unreadable = np.abs(decoded[3] - chunks[3]).max() > 1
    assert np.flatnonzero(report.repairs.total).tolist() == ([3] if unreadable else [])


def test_the_sub_folder_layout_of_transformers_5_is_read(case, tmp_path):
    folder, chunks, expected, _ = case
    copy = tmp_path / "fast"
    (copy / "bpe_tokenizer").mkdir(parents=True)
    shutil.copy(folder / "processor_config.json", copy)
    shutil.copy(folder / "tokenizer.json", copy / "bpe_tokenizer")
    assert [row.tolist() for row in FastTokenizer.load(copy).encode_normalized(chunks[:4])] == [
        row.tolist() for row in expected[:4]
    ]


def test_a_processor_file_in_the_folder_is_not_executed(case, tmp_path):
    folder = case[0]
    copy = tmp_path / "fast"
    shutil.copytree(folder, copy)
    trap = tmp_path / "executed"
    (copy / "processing_action_tokenizer.py").write_text(f"open({str(trap)!r}, 'w')\n")
    FastTokenizer.load(copy)
    assert not trap.exists()


@pytest.fixture(scope="module")
def small(shared) -> PublishedFast:
    loaded = FastTokenizer.load(shared / "golden" / "fast" / CASES[0])
    assert isinstance(loaded, PublishedFast)
    return loaded


@given(ids=st.lists(st.integers(0, 1023), max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ids_decode(small, ids):
    actions = small.decode_normalized([ids])
    assert actions.shape == (1, 16, 8)
    assert np.isfinite(actions).all()


def test_repairs_are_reported(small):
    ids = small.encode_normalized(np.ones((1, 16, 8)))[0]
    doubled = np.concatenate([ids, ids])
    assert small.decode_normalized_report([doubled]).repairs.zeroed.tolist() == [1]
    with pytest.raises(DecodeError, match="chunk 0"):
        small.decode_normalized([doubled], strict=True)


def test_errors_name_the_mend(small, tmp_path):
    with pytest.raises(UsageError, match="with_normalizer"):
        small.encode(np.zeros((1, 16, 8)))
    with pytest.raises(TokenizerError, match="outside the vocabulary"):
        small.decode_normalized([[1024]])
    with pytest.raises(TokenizerError, match="chunk 0, frequency 0, dimension 0"):
        small.encode_normalized(np.full((1, 16, 8), 1e6))
    (tmp_path / "processor_config.json").write_text('{"scale": 10, "min_token": 0}')
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is damaged"):
        FastTokenizer.load(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"scale": "x"}')
    with pytest.raises(TokenizerError, match="does not describe"):
        FastTokenizer.load(tmp_path)


def test_a_hub_id_without_a_network_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TokenizerError, match="hf download physical-intelligence/no-such-tokenizer"):
        FastTokenizer.load("physical-intelligence/no-such-tokenizer")
