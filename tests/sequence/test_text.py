"""Text tokenizers: round trips, PaliGemma's layout of ids, and files that are none."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece_maker as maker
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from fastki.data import hub
from fastki.errors import DataError, FastkiError, TokenizerError, UsageError
from fastki.sequence.ids import FastIds
from fastki.sequence.prompts import pi05_prefix
from fastki.sequence.text import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    TextTokenizer,
    open_text_tokenizer,
)

PROMPT = pi05_prefix("Pick_up the blue cup", np.array([-2.0, 0.3, 1.0]))


@pytest.fixture(scope="module")
def trained() -> bytes:
    return maker.with_pieces(maker.train(), maker.MARKERS, maker.USER_DEFINED)


@pytest.fixture(scope="module")
def model_file(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sentencepiece") / "small.model"
    path.write_bytes(trained)
    return path


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory) -> SentencePieceTokenizer:
    """A model of PaliGemma's size and order: learnt pieces, then lone characters to id 255,999, then the markers."""
    small = maker.train()
    learnt = SentencePieceTokenizer(_written(tmp_path_factory.mktemp("small") / "small.model", small)).vocab_size
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 15_000)]
    words = [f"▁word{index}x" for index in range(256_000 - learnt - len(characters))]
    model = maker.with_pieces(small, [*words, *characters], maker.NORMAL)
    model = maker.with_pieces(model, maker.MARKERS, maker.USER_DEFINED)
    return SentencePieceTokenizer(_written(tmp_path_factory.mktemp("large") / "paligemma.model", model))


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory) -> Path:
    """A byte-level BPE in Hugging Face's layout with markers in its vocabulary, and one above it."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(maker.sentences(), trainer)
    text = json.loads(bpe.to_str())
    for marker in maker.MARKERS:
        text["model"]["vocab"][marker] = len(text["model"]["vocab"])
    bpe = tokenizers.Tokenizer.from_str(json.dumps(text))
    bpe.add_tokens([tokenizers.AddedToken(marker, normalized=False) for marker in maker.MARKERS])
    bpe.add_special_tokens(["<image>"])
    folder = tmp_path_factory.mktemp("hf") / "bpe"
    folder.mkdir()
    bpe.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 10**6}
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | names))
    return folder


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module", params=["byte", "sentencepiece", "hugging face"])
def tokenizer(request, model_file, hf_folder) -> TextTokenizer:
    names = {"byte": "byte:1500", "sentencepiece": str(model_file), "hugging face": str(hf_folder)}
    return open_text_tokenizer(names[request.param])


@given(st.text())
def test_the_byte_tokenizer_gives_any_text_back(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text, add_bos=True)
    assert tokenizer.decode([*ids, tokenizer.eos_id, tokenizer.pad_id, tokenizer.pad_id]) == text
    assert set(ids) <= set(tokenizer.ordinary_ids.tolist())


@given(st.text())
def test_every_tokenizer_gives_any_text_back(tokenizer, text):
    if "<" in text:
        return  # Markers are none of the text's letters.
    ids = tokenizer.encode(text)
    assert all(type(index) is int for index in ids)
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id, tokenizer.pad_id]) == text
    assert tokenizer.encode(text, add_bos=True) == [tokenizer.bos_id, *ids]


def test_pi05s_prefix_comes_back_and_uses_ordinary_ids_only(tokenizer):
    ids = tokenizer.encode(PROMPT, add_bos=True)
    assert tokenizer.decode(ids) == PROMPT
    assert set(ids) <= set(tokenizer.ordinary_ids.tolist())
    assert {tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id} <= set(tokenizer.ordinary_ids.tolist())
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id) == (0, 1, 2)


def test_ordinary_ids_ascend_within_the_vocabulary(tokenizer):
    ids = tokenizer.ordinary_ids
    assert ids.dtype == np.int64
    assert (np.diff(ids) > 0).all()
    assert ids[0] >= 0
    assert ids[-1] < tokenizer.vocab_size


def test_half_a_surrogate_pair_is_refused_in_one_line(tokenizer):
    with pytest.raises(TokenizerError, match=r"^the text 'a\\ud800b' is not Unicode at character 1: [^\n]+$"):
        tokenizer.encode("a\ud800b")


@pytest.mark.parametrize("beyond", [-1, None, 2**70])
def test_an_id_outside_the_vocabulary_does_not_decode(tokenizer, beyond):
    beyond = tokenizer.vocab_size if beyond is None else beyond
    with pytest.raises(TokenizerError, match=rf"^id {beyond} is outside the vocabulary of [^\n]+$"):
        tokenizer.decode([5, beyond])


def test_numpys_ids_decode(tokenizer):
    assert tokenizer.decode(np.array(tokenizer.encode("red cup"), dtype=np.int32)) == "red cup"


def test_markers_of_a_vocabulary_are_one_id_each_and_free(tokenizer):
    if isinstance(tokenizer, ByteTokenizer):
        return
    first, last = tokenizer.encode("<loc0000>"), tokenizer.encode("<seg127>")
    assert (first, last) == ([tokenizer.vocab_size - 1152], [tokenizer.vocab_size - 1])
    assert FastIds.onto(tokenizer, 1024).to_text([1023]).tolist() == first
    with pytest.raises(UsageError, match=rf"{tokenizer.vocab_size - 1153} of them for ordinary text \(1\)"):
        FastIds.onto(tokenizer, 1025)


def test_paligemmas_vocabulary_has_room_for_pi0_fasts_ids(paligemma):
    assert paligemma.vocab_size == 257_152
    assert paligemma.encode("<loc0000><loc1023><seg127>") == [256_000, 257_023, 257_151]
    for size, lowest in ((1024, 256_000), (2048, 254_976)):
        ids = FastIds.onto(paligemma, size)
        assert (ids.lowest, ids.highest) == (lowest, 257_023)
        assert all(row.what != "FAST over ordinary text" for row in ids.rows(paligemma))


def test_paligemmas_vocabulary_has_none_for_8192(paligemma):
    # Of the 255,997 pieces but padding, beginning and end, half per cent is 1,279: ids 254,721 … 255,999.
    with pytest.raises(UsageError) as refusal:
        FastIds.onto(paligemma, 8192)
    words = str(refusal.value)
    assert "text ids 248832–257023" in words
    assert "uses 248832–254720 of them for ordinary text (5,889)" in words
    assert "a FAST vocabulary of at most 2,303, a text vocabulary of at least 263,041, or allow" in words
    assert FastIds.onto(paligemma, 2303).lowest == 254_721
    assert FastIds.onto(paligemma, 8192, text_vocab=263_041).lowest == 254_721
    assert len(FastIds.onto(paligemma, 8192, allow_overlap=True).overlap(paligemma)) == 5889


def test_hugging_faces_vocabulary_is_the_base_one(hf_folder):
    tokenizer = HuggingFaceTokenizer(hf_folder)
    assert tokenizer.vocab_size == 500 + 1152
    with pytest.raises(TokenizerError, match=r"^the text 'see <image>' has the marker <image> .* id 1652 [^\n]+$"):
        tokenizer.encode("see <image>")


def test_an_end_above_the_base_vocabulary_widens_it(hf_folder, tmp_path):
    folder = shutil.copytree(hf_folder, tmp_path / "chat")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": "<image>"}))
    tokenizer = open_text_tokenizer(str(folder))
    assert (tokenizer.eos_id, tokenizer.vocab_size) == (1652, 1653)


def test_hugging_face_and_sentencepiece_read_one_model_alike(trained, tmp_path):
    pytest.importorskip("google.protobuf")
    (tmp_path / "tokenizer.model").write_bytes(trained)
    config = {"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours, theirs = SentencePieceTokenizer(tmp_path / "tokenizer.model"), HuggingFaceTokenizer(tmp_path)
    assert theirs.encode(PROMPT, add_bos=True) == ours.encode(PROMPT, add_bos=True)
    np.testing.assert_array_equal(theirs.ordinary_ids, ours.ordinary_ids)


def test_a_vocabulary_without_beginning_or_padding_will_do_but_not_one_without_end(tmp_path):
    bare = maker.train(pad_id=-1, bos_id=-1, eos_id=0, unk_id=1)
    tokenizer = SentencePieceTokenizer(_written(tmp_path / "bare.model", bare))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, 0, 0)
    assert tokenizer.encode("cup", add_bos=True) == tokenizer.encode("cup")
    endless = maker.train(pad_id=0, bos_id=-1, eos_id=-1, unk_id=1)
    with pytest.raises(TokenizerError, match=r"^.*endless.model has no id for the end of a text: [^\n]+$"):
        SentencePieceTokenizer(_written(tmp_path / "endless.model", endless))


def test_names_open_what_they_say(model_file, hf_folder):
    assert open_text_tokenizer("byte") == ByteTokenizer()
    assert open_text_tokenizer("byte:4096").vocab_size == 4096
    for name in ("byte", "byte:4096", str(model_file), str(hf_folder)):
        assert open_text_tokenizer(name).name == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("byte:258", "byte:259"),
        ("byte:many", "byte:4096"),
        ("", "byte:4096"),
        ("gpt2", "user/name"),
        ("./no/folder", "user/name"),
        ("/no/such.model", "cannot be read"),
        ("byte:" + "9" * 30, "user/name"),
        ("~nobody-of-this-name/folder", "user/name"),
        ("~nobody-of-this-name/some.model", "cannot be read"),
        ("x" * 5000, "user/name"),
        ("x" * 5000 + ".model", "cannot be read"),
        ("a\0b.model", "cannot be read"),
        ("a\0/b", "user/name"),
    ],
)
def test_other_names_are_refused_in_one_line_with_a_mend(name, word):
    with pytest.raises(FastkiError, match=rf"^[^\n]*{word}[^\n]*$"):
        open_text_tokenizer(name)


def test_without_a_network_an_id_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"^hf://google/paligemma-3b-pt-224: [^\n]*hf download google/paligemma[^\n]*$"):
        open_text_tokenizer("google/paligemma-3b-pt-224")


def test_of_a_repository_only_the_tokenizers_files_are_fetched(hf_folder, monkeypatch):
    asked = []

    def snapshot(name, allow, *, kind):
        asked.append((str(name), kind))
        assert not [pattern for pattern in allow if Path("model-00001-of-00003.safetensors").match(pattern)]
        return hf_folder

    monkeypatch.setattr("fastki.sequence.text_files.snapshot", snapshot)
    tokenizer = open_text_tokenizer("user/name@v1")
    assert (tokenizer.name, asked) == ("user/name@v1", [("hf://user/name@v1", "model")])
    assert hub.parse_hub_name(tokenizer.name) is not None


def test_code_in_a_folder_is_never_run(hf_folder, tmp_path):
    folder = shutil.copytree(hf_folder, tmp_path / "code")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(TokenizerError, match=r"^[^\n]*no code of its own$"):
        open_text_tokenizer(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"{}", b'{"model": 3}', b"\xff" * 50])
def test_damaged_files_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    for name in (str(tmp_path), str(_written(tmp_path / "bad.model", content))):
        with pytest.raises(TokenizerError, match=r"\A[^\n]+\Z"):
            open_text_tokenizer(name)


def test_an_empty_folder_and_a_folder_that_ends_in_model_are_refused(tmp_path):
    (tmp_path / "dir.model").mkdir()
    for name in (str(tmp_path), str(tmp_path / "dir.model")):
        with pytest.raises(TokenizerError, match=r"\A[^\n]+\Z"):
            open_text_tokenizer(name)


def test_the_extra_is_named_where_its_libraries_are_absent(model_file, hf_folder, monkeypatch):
    for library, name in (("sentencepiece", model_file), ("transformers", hf_folder)):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(DataError, match=rf"^reading .* needs {library}: `pip install 'fastki\[text\]'`$"):
            open_text_tokenizer(str(name))


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, taken out or put in; most often one changed, which leaves the lengths of parts alone."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        place = rng.randrange(len(changed))
        match rng.choice(["flip", "flip", "flip", "delete", "insert", "cut"]):
            case "flip":
                changed[place] ^= 1 << rng.randrange(8)
            case "delete":
                del changed[place : place + rng.randint(1, 20)]
            case "insert":
                changed[place:place] = rng.randbytes(rng.randint(1, 20))
            case "cut":
                del changed[max(place, 1) :]
    return bytes(changed)


def _use(name: str) -> bool:
    """Whether a damaged tokenizer opens; if so it must also work, and if not say so in one line."""
    words = ""
    try:
        tokenizer = open_text_tokenizer(name)
        tokenizer.decode(tokenizer.encode(PROMPT, add_bos=True))
        assert (np.diff(tokenizer.ordinary_ids) > 0).all()
    except FastkiError as error:
        words = str(error)
    assert "\n" not in words
    return not words


def test_a_mutated_model_is_refused_or_works(trained, tmp_path):
    rng = random.Random(0)
    outcomes = [_use(str(_written(tmp_path / "bad.model", _mutated(rng, trained)))) for _ in range(300)]
    assert set(outcomes) == {True, False}


def test_a_mutated_folder_is_refused_or_works(hf_folder, tmp_path):
    rng = random.Random(0)
    outcomes = []
    for index in range(300):
        folder = shutil.copytree(hf_folder, tmp_path / str(index))
        for file in folder.iterdir():
            _written(file, _mutated(rng, file.read_bytes()))
        outcomes.append(_use(str(folder)))
    assert set(outcomes) == {True, False}
