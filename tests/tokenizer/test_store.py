"""Saved tokenizers: the same ids from fastki and from AutoProcessor, damage named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from fastki import FastTokenizer
from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.hf_json import FIRST_CODE_POINT

# Run by Pythons that do not have fastki: everything it needs lies in the saved folder.
AUTO_PROCESSOR = """
import sys, json, numpy as np
from transformers import AutoProcessor
folder, chunks, copy = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
ids = processor(chunks)
assert type(ids) is list and type(ids[0]) is list and type(ids[0][0]) is int
assert processor(chunks[0]) == ids[:1]
processor.save_pretrained(copy)
assert AutoProcessor.from_pretrained(copy, trust_remote_code=True)(chunks) == ids
n, h, a = chunks.shape
decoded = processor.decode(ids, time_horizon=h, action_dim=a)
assert processor.decode(ids).tolist() == decoded.tolist()
broken = [ids[0] * 3, ids[1][:2], [0, 15, 15, 3, 15, 40], []]
# What LeRobot's policy does with the processor's parts.
from scipy.fft import idct
coefficients = [[ord(c) + processor.min_token for c in processor.bpe_tokenizer.decode(row)] for row in ids]
theirs = idct(np.reshape(coefficients, (n, h, a)) / processor.scale, axis=1, norm="ortho")
print(json.dumps({
    "ids": ids, "decoded": decoded.tolist(), "broken": processor.decode(broken).tolist(),
    "theirs": theirs.tolist(), "vocab_size": processor.vocab_size,
}))
"""
BROKEN = [[0, 15, 15, 3, 15, 40], []]


SETTINGS = {
    "freq": {"bins": 40},
    "dim": {"bins": 300, "order": "dim"},
    "bound": {"atol": 0.02},
    "bound, dim": {"atol": 0.005, "order": "dim"},
    "rdo": {"bins": 60, "rdo": 0.1},
    "rdo, dim": {"bins": 60, "rdo": 0.2, "order": "dim"},
    "dead zone": {"bins": 60, "deadzone": 0.2},
}


@pytest.fixture(scope="module", params=SETTINGS)
def fitted(request):
    rng = np.random.default_rng(0)
    chunks = np.cumsum(rng.normal(size=(300, 16, 3)), axis=1)
    return FastTokenizer.fit(chunks, vocab_size=300, **SETTINGS[request.param]), chunks


@pytest.fixture
def saved(fitted, tmp_path):
    return fitted[0].save(tmp_path / "tokenizer")


def test_save_and_load_are_identity(fitted, saved, tmp_path):
    tokenizer, chunks = fitted
    loaded = FastTokenizer.load(saved)
    assert loaded.codec == tokenizer.codec
    assert [row.tolist() for row in loaded.encode(chunks)] == [row.tolist() for row in tokenizer.encode(chunks)]
    np.testing.assert_array_equal(loaded.decode(loaded.encode(chunks)), tokenizer.decode(tokenizer.encode(chunks)))
    again = loaded.save(tmp_path / "again")
    for path in saved.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_tokenizer_json_is_hugging_faces_own(fitted, saved):
    tokenizer, chunks = fitted
    theirs = tokenizers.Tokenizer.from_file(str(saved / "tokenizer.json"))
    streams = tokenizer.codec.write(tokenizer.normalizer.normalize(chunks))
    texts = ["".join(chr(FIRST_CODE_POINT + symbol) for symbol in stream) for stream in streams]
    assert [encoding.ids for encoding in theirs.encode_batch_fast(texts)] == [
        row.tolist() for row in tokenizer.encode(chunks)
    ]
    assert theirs.decode_batch([row.tolist() for row in tokenizer.encode(chunks)]) == texts


def test_auto_processor_here(fitted, saved, tmp_path):
    pytest.importorskip("transformers")
    check_auto_processor(sys.executable, fitted, saved, tmp_path)


def test_auto_processor_in_the_environment_that_openpi_pins(fitted, saved, tmp_path):
    python = os.environ.get("FASTKI_OPENPI_PYTHON")
    if python is None:
        pytest.skip("FASTKI_OPENPI_PYTHON names no Python with transformers 4.53.2 (.ci/run makes one)")
    check_auto_processor(python, fitted, saved, tmp_path)


def check_auto_processor(python, fitted, saved, tmp_path):
    tokenizer, chunks = fitted
    normalized = tokenizer.normalizer.normalize(chunks[:40])
    normalized[3] *= 30  # escapes
    np.save(tmp_path / "chunks.npy", normalized)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": ""}
    arguments = [python, "-c", AUTO_PROCESSOR, str(saved), str(tmp_path / "chunks.npy"), str(tmp_path / "copy")]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    ids = [row.tolist() for row in tokenizer.encode_normalized(normalized)]
    assert answer["ids"] == ids
    assert answer["vocab_size"] == tokenizer.vocab_size
    decoded = tokenizer.decode_normalized(ids)
    np.testing.assert_allclose(answer["decoded"], decoded, atol=1e-12 * np.abs(decoded).max())
    # Refined dimensions too; values far out of the normalised range have to be representable only where none are.
    near = np.abs(normalized).max(axis=(1, 2)) < 4
    assert near.sum() == 39
    np.testing.assert_allclose(np.array(answer["theirs"])[near], decoded[near], atol=1e-12)
    if tokenizer.codec.atol is None:
        np.testing.assert_allclose(answer["theirs"][3], decoded[3], atol=1e-12 * np.abs(decoded).max())
    broken = tokenizer.decode_normalized([ids[0] * 3, ids[1][:2], *BROKEN])
    np.testing.assert_allclose(answer["broken"], broken, atol=1e-12 * np.abs(broken).max())


def damage(text):
    return lambda path: path.write_text(text(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("fastki.json", damage(lambda text: text[:-20]), r"fastki\.json can't be read"),
        ("fastki.json", damage(lambda text: "[]"), "no object at its top"),
        ("fastki.json", damage(lambda text: text.replace('"format_version": 1', '"format_version": 99')), "version 99"),
        ("fastki.json", damage(lambda text: text.replace('"horizon"', '"horizan"')), "did you mean 'horizon'"),
        ("fastki.json", damage(lambda text: text.replace('"codec"', '"kodec"')), "is damaged"),
        ("tokenizer.json", damage(lambda text: text.replace("[", "(", 1)), "check sum differs"),
        ("norm_stats.json", lambda path: path.unlink(), r"norm_stats\.json is missing"),
    ],
)
def test_damage_is_named(saved, name, change, match):
    change(saved / name)
    with pytest.raises(TokenizerError, match=match):
        FastTokenizer.load(saved)


def test_what_is_no_tokenizer_is_named(saved, tmp_path):
    with pytest.raises(TokenizerError, match="did you mean"):
        FastTokenizer.load(tmp_path / "tokenizr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokenizerError, match="is no tokenizer"):
        FastTokenizer.load(tmp_path / "empty")


def test_saving_never_replaces_something_else(fitted, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data.txt").write_text("mine")
    with pytest.raises(TokenizerError, match="choose another --out"):
        fitted[0].save(tmp_path / "precious")
    assert (tmp_path / "precious" / "data.txt").read_text() == "mine"


def test_a_failed_save_leaves_the_old_tokenizer(fitted, saved, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastki.tokenizer.store._readme", fail)
    with pytest.raises(UsageError, match="space"):
        fitted[0].save(saved)
    assert FastTokenizer.load(saved).vocab_size == fitted[0].vocab_size
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
