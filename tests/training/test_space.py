"""Room for checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fastki.errors import UsageError
from fastki.training.space import check_space, tree_bytes


def test_bytes_of_a_tree_are_those_of_its_arrays():
    tree = {
        "a": jnp.zeros((3, 5), jnp.bfloat16),
        "b": jax.ShapeDtypeStruct((7,), jnp.float32),
        "key": jax.random.key(0),
    }
    assert tree_bytes(tree) == 3 * 5 * 2 + 7 * 4


def test_enough_room_passes_in_folders_yet_to_be_made(tmp_path):
    check_space(tmp_path / "runs/one/checkpoints", 1000)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_told_in_both_figures(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(
        UsageError, match=r"has [\d.]+ [kMGT]B free, and the checkpoints to be kept need [\d.e+]+ [GT]B"
    ):
        check_space(tmp_path / "checkpoints", 2 * free)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_space(tmp_path / "file/checkpoints", 1)


def test_a_place_that_takes_no_files_is_refused_even_to_root():
    with pytest.raises(UsageError, match=r"can't be written|no permission to write"):
        check_space(Path("/proc/self/checkpoints"), 1)
