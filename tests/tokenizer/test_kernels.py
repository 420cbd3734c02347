"""What is compiled, and what no longer counts as compiled."""

from __future__ import annotations

import os
import sys
from types import FunctionType, SimpleNamespace

from fastki.tokenizer import kernels
from fastki.tokenizer.kernels import kernels_are_compiled, warm_up


def test_after_warm_up_the_kernels_are_on_disk():
    warm_up()
    assert kernels_are_compiled()


def test_a_kernel_counts_as_compiled_until_a_source_changes(tmp_path, monkeypatch):
    source, other = tmp_path / "code.py", tmp_path / "helper.py"
    source.write_text("def run(): pass\n")
    other.touch()
    function = FunctionType(compile("def run(): pass", str(source), "exec").co_consts[0], {}, "run")
    kernel = SimpleNamespace(py_func=function, stats=SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setattr(kernels, "_KERNELS", (kernel,))
    monkeypatch.setattr(kernels, "_SOURCES", (source, other))
    assert not kernels_are_compiled()
    index = tmp_path / f"code.run-1.py{sys.version_info.major}{sys.version_info.minor}.nbi"
    index.touch()
    for path, seconds in ((source, 1000), (other, 2000), (index, 2000)):
        os.utime(path, (seconds, seconds))
    kernels.forget_stale_kernels()
    assert kernels_are_compiled()
    os.utime(other, (3000, 3000))
    kernels.forget_stale_kernels()
    assert not kernels_are_compiled()


def test_without_jit_there_is_nothing_to_compile(monkeypatch):
    monkeypatch.setattr(kernels, "_KERNELS", (warm_up,))
    assert kernels_are_compiled()
    kernels.forget_stale_kernels()
