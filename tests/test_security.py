"""What SECURITY.md promises, where the tests of a format don't show it already."""

from __future__ import annotations

import ast
import json
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastki
from fastki import FastTokenizer, open_dataset
from fastki.data.formats import numpy_files, parquet
from fastki.data.pictures import FORMATS, decode_picture
from fastki.errors import DataError, FastkiError, TokenizerError
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset, load_tokenizer
from fastki.tokenizer.hf_json import FIRST_CODE_POINT, from_tokenizer_json

ROOT = Path(fastki.__file__).parent
TREES = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
NEVER_IMPORTED = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "tarfile"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}
NEVER_METHODS = {"extract", "extractall"}
PIPES = {Path("training/pipes.py")}
"""The module that sends objects to processes that fastki itself started, and receives theirs."""
PROCESSES = {Path("report/doctor_machine.py"), Path("export/reference.py")}
"""The modules that start processes of their own."""


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", TREES, ids=str)
def test_no_module_unpickles_evaluates_or_extracts(path):
    tree = TREES[path]
    assert NEVER_IMPORTED & set(imported(tree)) == ({"pickle"} if path in PIPES else set())
    assert forbidden(tree) == set()
    assert ("subprocess" in set(imported(tree))) == (path in PROCESSES)
    for name, node in calls(tree):
        said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        assert said.get("shell", False) is False
        assert said.get("trust_remote_code", False) is False
        if name == "np.load":
            assert said["allow_pickle"] is False


def forbidden(tree):
    names = {name for name, _ in calls(tree)}
    return {name for name in names if name in NEVER_CALLED or name.rpartition(".")[2] in NEVER_METHODS}


def test_the_check_sees_what_it_is_for():
    tree = ast.parse("import yaml\nos.system('ls')\narchive.extractall()\neval(x)\nre.compile(y)")
    assert NEVER_IMPORTED & set(imported(tree)) == {"yaml"}
    assert forbidden(tree) == {"os.system", "archive.extractall", "eval"}


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "_BOMB_BYTES", 2**20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, action=np.zeros((2**18, 8)))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match=r"unpacks to 16,777,.* bytes, more than its .* can hold"):
        open_dataset(path)


def test_an_honest_archive_of_that_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "_BOMB_BYTES", 2**20)
    np.savez_compressed(tmp_path / "fine.npz", action=np.random.default_rng(0).normal(size=(2**15, 8)))
    assert open_dataset(tmp_path / "fine.npz").info.num_frames == 2**15


def test_a_header_that_claims_a_petabyte_takes_none(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 8), }" % 2**44
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive:
        archive.writestr("action.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    with pytest.raises(DataError, match=r"action\.npy claims 1,125,899,906,842,624 bytes of"):
        open_dataset(tmp_path / "claims.npz")


def test_pictures_that_run_a_program_are_none(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n"
    with pytest.raises(DataError, match="no picture of a known format"):
        decode_picture(eps, where="frame 1")
    assert "EPS" not in FORMATS


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_pictures_of_the_usual_formats_are_read(suffix):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), 90, np.uint8)).save(buffer, suffix)
    assert decode_picture(buffer.getvalue(), where="x").shape == (8, 6, 3)


def test_a_picture_that_claims_gigapixels_is_refused_by_its_header():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="9000 × 9000 is refused"):
        decode_picture(png, where="frame 1")


def test_a_list_that_is_a_bomb_is_refused_by_the_footer(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BOMB_BYTES", 2**20)
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"action": [np.zeros(10**6, np.float32)]}), path, compression="zstd")
    for read in (lambda: parquet.read_columns(path, ["action"]), lambda: parquet.numeric_columns(path)):
        with pytest.raises(DataError, match="more than its size can hold"):
            read()


def test_a_text_that_stands_in_every_row_is_counted_in_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_MOST_TEXT", 2**24)
    path = tmp_path / "text.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3000, np.int32)), pa.array(["x" * 2**16]))
    pq.write_table(pa.table({"task": texts.cast(pa.string())}), path)
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="its texts take more than 16 MiB"):
        parquet.read_values(path, ["task"])


def test_metadata_that_go_on_for_ever_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("fastki.data.files._LARGEST_TEXT", 1000)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"x": "y" * 2000}))
    with pytest.raises(DataError, match=r"info\.json is larger"):
        open_dataset(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    options = FitOptions(FitSettings(vocab_size=256, bins=40), stride=4)
    fitted = fit_on_dataset(open_dataset("synthetic:droid?episodes=4"), options)
    return fitted.tokenizer.save(tmp_path_factory.mktemp("saved") / "tok")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tok"))


def edited(folder: Path, **fields) -> Path:
    path = folder / "fastki.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def test_no_code_in_a_tokenizer_s_folder_is_run(folder, tmp_path):
    mark = tmp_path / "ran"
    for name in ("processing_fastki.py", "__init__.py", "sitecustomize.py", "conftest.py"):
        (folder / name).write_text(f"open({str(mark)!r}, 'w')\nraise SystemExit")
    tokenizer = FastTokenizer.load(folder)
    tokenizer.decode(tokenizer.encode(np.zeros((1, tokenizer.horizon, tokenizer.action_dim))))
    assert not mark.exists()


def test_no_code_in_a_published_folder_is_run(folder, tmp_path):
    mark = tmp_path / "ran"
    published = tmp_path / "published"
    published.mkdir()
    shutil.copy(folder / "tokenizer.json", published)
    auto = {"AutoProcessor": "processing_action_tokenizer.UniversalActionProcessor"}
    (published / "processor_config.json").write_text(json.dumps({"scale": 10, "min_token": -5, "auto_map": auto}))
    (published / "processing_action_tokenizer.py").write_text(f"open({str(mark)!r}, 'w')")
    assert load_tokenizer(published).method == "published"
    assert not mark.exists()


def test_no_code_is_fetched_with_a_tokenizer(monkeypatch, folder):
    from fastki.tokenizer import hub

    asked = []
    monkeypatch.setattr(hub, "snapshot", lambda name, patterns, **_: asked.extend(patterns) or folder)
    hub.fetch_tokenizer("someone/fast")
    assert asked
    assert all(pattern.endswith(".json") for pattern in asked)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hostname", "a/../../secret.json", "C:\\secret.json"])
def test_check_sums_name_no_file_outside(folder, name):
    (folder.parent / "secret.json").write_text("{}")
    with pytest.raises(TokenizerError, match="leads out"):
        FastTokenizer.load(edited(folder, sha256={name: "0"}))


@pytest.mark.parametrize("field", ["horizon", "action_dim", "literals"])
def test_sizes_in_a_tokenizer_are_bounded_before_they_are_used(folder, field):
    codec = json.loads((folder / "fastki.json").read_text())["codec"]
    with pytest.raises(TokenizerError):
        FastTokenizer.load(edited(folder, codec={**codec, field: 10**12}))


@pytest.mark.parametrize(
    "fields", [{"time_horizon": 10**9}, {"action_dim": "many"}, {"scale": 1e999}, {"min_token": 10**20}, {"scale": 0}]
)
def test_sizes_in_a_published_tokenizer_too(folder, tmp_path, fields):
    published = tmp_path / "published"
    published.mkdir()
    shutil.copy(folder / "tokenizer.json", published)
    (published / "processor_config.json").write_text(json.dumps({"scale": 10, "min_token": -5, **fields}))
    with pytest.raises(TokenizerError, match="does not describe a FAST tokenizer"):
        load_tokenizer(published)


def test_tokens_that_double_for_ever_are_refused():
    """Each id stands for two of the one before it, and short names in the file hide that."""
    base = chr(FIRST_CODE_POINT)
    vocab, merges = {base: 0, base * 2: 1}, [[base, base]]
    for token in range(1, 60):
        name = chr(FIRST_CODE_POINT + 100 + token)
        vocab |= {name: token, name * 2: token + 1}
        merges.append([name, name])
    with pytest.raises(TokenizerError, match=r"more than .* symbols in all"):
        from_tokenizer_json(json.dumps({"model": {"vocab": vocab, "merges": merges}}), 1)


@pytest.mark.parametrize("data", ["/etc", "../../../secret.npz", "~/secret.npz", "file:///etc", "s3://other/data"])
def test_a_mixture_from_the_hub_names_nothing_of_this_machine(tmp_path, data):
    place = tmp_path / "datasets--someone--mix" / "snapshots" / "abc"
    place.mkdir(parents=True)
    (place / "mix.toml").write_text(f'[[dataset]]\ndata = "{data}"\n')
    np.savez(tmp_path / "secret.npz", action=np.zeros((50, 2)))
    with pytest.raises(FastkiError, match=r"leads out|lies elsewhere|no such file"):
        open_dataset(place / "mix.toml")


def test_a_mixture_from_the_hub_names_what_lies_beside_it(tmp_path):
    place = tmp_path / "datasets--someone--mix" / "snapshots" / "abc"
    place.mkdir(parents=True)
    actions = np.cumsum(np.random.default_rng(0).normal(size=(50, 2)), axis=0)
    np.savez(place / "beside.npz", action=actions)
    (place / "mix.toml").write_text('[[dataset]]\ndata = "beside.npz"\n')
    assert open_dataset(place / "mix.toml").info.num_frames == 50
