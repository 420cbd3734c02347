from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.data import NormStats, load_norm_stats, save_norm_stats
from fastki.data.norm_stats import json_float
from fastki.errors import DataError

TRANSFORMS = "golden/openpi/transforms"


@pytest.mark.parametrize("name", ["norm_stats_dir", "norm_stats_dir_float32"])
def test_load_then_save_is_byte_exact(shared, tmp_path, name):
    folder = shared / TRANSFORMS / name
    save_norm_stats(tmp_path, load_norm_stats(folder))
    assert (tmp_path / "norm_stats.json").read_bytes() == (folder / "norm_stats.json").read_bytes()


def test_openpi_input_gives_openpi_bytes(shared, tmp_path):
    folder = shared / TRANSFORMS
    given_input = json.loads((folder / "norm_stats_input.json").read_text())["input"]
    stats = {
        key: NormStats(**{k: None if v is None else np.array(v["data"], v["dtype"]) for k, v in one.items()})
        for key, one in given_input.items()
    }
    path = save_norm_stats(tmp_path / "new" / "folder", stats)
    assert path.read_bytes() == (folder / "norm_stats_dir/norm_stats.json").read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["norm_stats.json"]


def test_round_trip_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    saved = NormStats(*(rng.normal(size=9) * 10.0 ** rng.integers(-12, 12, size=9) for _ in range(4)))
    save_norm_stats(tmp_path, {"actions": saved})
    loaded = load_norm_stats(tmp_path)["actions"]
    for name in ("mean", "std", "q01", "q99"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e-4, "0.0001"),
        (1e-5, "0.00001"),
        (-1.25e-5, "-0.0000125"),
        (9.5e-6, "9.5e-6"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e16"),
        (-2.5e300, "-2.5e300"),
        (5e-324, "5e-324"),
    ],
)
def test_numbers_in_rusts_form(value, text):
    assert json_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value):
    assert json.loads(json_float(value)) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"norm_stats\.json is damaged"),
        ("{}", "no 'norm_stats'"),
        ('{"norm_stats": {"actions": 3}}', "actions is damaged"),
        ('{"norm_stats": {"actions": {"mean": [1.0]}}}', "std must be a list of numbers"),
        ('{"norm_stats": {"actions": {"mean": [1.0], "std": ["x"]}}}', "std must be a list of numbers"),
        ('{"norm_stats": {"actions": {"mean": [1.0], "std": [1.0, 2.0]}}}', "std must be finite numbers"),
        ('{"norm_stats": {"actions": {"mean": [NaN], "std": [1.0]}}}', "mean must be finite numbers"),
        ('{"norm_stats": {"actions": {"mean": [1.0], "std": [1.0], "q01": [0.0]}}}', "both q01 and q99"),
        ('{"norm_stats": {"actions": {"mean": [1' + "0" * 400 + '], "std": [1.0]}}}', "beyond float64"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "norm_stats.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_norm_stats(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"norm_stats\.json is missing"):
        load_norm_stats(tmp_path)
