"""What is in a checkpoint, told without reading it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_maker import params_of

from fastki.errors import DataError
from fastki.model.checkpoint_describe import describe
from fastki.model.checkpoint_save import save_openpi
from fastki.model.config import LoraConfig
from fastki.model.params import count, flatten


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "20"
    save_openpi(folder, params_of(state_token=True, expert_lora=LoraConfig(rank=2)))
    return folder


def test_names_shapes_and_dtypes_are_those_that_were_saved(saved):
    contents = describe(saved)
    params = params_of(state_token=True, expert_lora=LoraConfig(rank=2))
    assert {name: (array.shape, array.dtype) for name, array in contents.arrays.items()} == {
        name: (leaf.shape, str(leaf.dtype)) for name, leaf in flatten(params).items()
    }
    total = contents.total
    assert (total.arrays, total.parameters, total.nbytes) == (len(flatten(params)), count(params), 4 * count(params))
    assert sum(part.parameters for part in contents.parts) == total.parameters
    assert [part.name for part in contents.parts] == [
        "tower", "embedder", "backbone", "expert", "actions", "state_token", "lora",
    ]  # fmt: skip
    assert (contents.folder.step, contents.trailing_value, contents.traits.model) == (20, True, "dummy")


def test_no_array_is_read(saved, tmp_path):

    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    for file in folder.rglob("ocdbt.process_0/d/*"):
        file.write_bytes(b"")
    assert describe(folder).total.parameters == describe(saved).total.parameters


def test_looking_needs_no_jax(saved):
    code = f"from fastki.model.checkpoint_describe import describe; describe({str(saved)!r}); import sys; "
    code += "print([name for name in ('jax', 'flax', 'orbax') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("library", ["tensorstore", "orbax.checkpoint"])
def test_an_absent_library_is_named(saved, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"`pip install 'fastki\[train\]'`"):
        describe(saved) if library == "tensorstore" else save_openpi(tmp_path, params_of())
    assert list(tmp_path.iterdir()) == []
