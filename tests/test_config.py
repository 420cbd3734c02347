"""Frozen dataclasses to plain JSON values and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from fastki.config import from_plain, from_toml, to_plain, to_toml, with_settings
from fastki.errors import UsageError


@dataclass(frozen=True)
class Inner:
    name: str
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner
    horizon: int = 16
    atol: float | None = None
    order: Literal["freq", "dim"] = "freq"
    clip: bool = False
    parts: tuple[Inner, ...] = field(default_factory=tuple)


FULL = Outer(Inner("a", (1.0, 2.5)), horizon=8, atol=0.5, order="dim", clip=True, parts=(Inner("b"), Inner("c")))


@pytest.mark.parametrize("value", [Outer(Inner("a")), FULL])
def test_there_and_back_through_json(value):
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


def test_what_is_left_out_takes_its_default():
    assert from_plain(Outer, {"inner": {"name": "a"}}) == Outer(Inner("a"))


def test_arrays_and_scalars_of_numpy_become_lists_and_numbers():
    plain = to_plain({"a": np.float64(1.5), "b": np.arange(3), "c": (np.int32(7), None)})
    assert plain == {"a": 1.5, "b": [0, 1, 2], "c": [7, None]}
    assert json.dumps(plain)


def test_whole_numbers_serve_as_floats():
    atol = from_plain(Outer, {"inner": {"name": "a"}, "atol": 1}).atol
    assert (atol, type(atol)) == (1.0, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizn": 3}, "Outer has no field 'horizn'; did you mean 'horizon'?"),
        ({"zzz": 3}, "Outer has no field 'zzz'; it has inner, horizon"),
        ({"inner": {"nam": "a"}}, "Inner has no field 'nam'; did you mean 'name'?"),
        ({"inner": {}}, "Inner lacks name"),
        ({"inner": "a"}, "Inner must be a table of fields, not 'a'"),
        ({"horizon": "3"}, "Outer.horizon must be a int, not '3'"),
        ({"horizon": 3.0}, "Outer.horizon must be a int, not 3.0"),
        ({"horizon": True}, "Outer.horizon must be a int, not True"),
        ({"horizon": None}, "Outer.horizon must be a int, not None"),
        ({"atol": "small"}, "Outer.atol must be a float, not 'small'"),
        ({"atol": True}, "Outer.atol must be a float, not True"),
        ({"clip": 1}, "Outer.clip must be a bool, not 1"),
        ({"order": "time"}, "Outer.order must be one of freq, dim, not 'time'"),
        ({"inner": {"name": "a", "weights": 1}}, "Inner.weights must be a list, not 1"),
        ({"inner": {"name": "a", "weights": [1, "x"]}}, r"Inner.weights\[1\] must be a float, not 'x'"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        from_plain(Outer, {"inner": {"name": "a"}, **change})


def test_a_missing_field_is_named():
    with pytest.raises(UsageError, match="Outer lacks inner"):
        from_plain(Outer, {})


def test_the_dataclass_checks_itself():
    from fastki.tokenizer import FitSettings

    with pytest.raises(UsageError, match="64"):
        from_plain(FitSettings, {"vocab_size": 10})


@dataclass(frozen=True)
class Part:
    rate: float = 1e-8
    names: tuple[str, ...] = ("a", 'b"\n')
    limit: int | None = None


@dataclass(frozen=True)
class Whole:
    title: str = 'x = "y" [z]'
    on: bool = True
    inner: Part = Part()
    other: Part | None = None
    pair: tuple[int, str] = (1, "a")


@pytest.mark.parametrize(
    "value",
    [Whole(), Whole(other=Part(limit=3)), Whole("ü\\", False, Part(float("inf"), (), 0))],
)
def test_toml_gives_the_value_again(value):
    assert from_plain(Whole, from_toml(to_toml(value), "it")) == value


def test_settings_change_single_values():
    plain = with_settings(
        to_plain(Whole()), ["inner.limit=5", "title=plain words", "other.rate=2", "inner.names=['c']"]
    )
    assert from_plain(Whole, plain) == Whole("plain words", True, Part(1e-8, ("c",), 5), Part(2.0))
    assert from_plain(Whole, with_settings(plain, ["other=none"])).other is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [("inner", "must read NAME=VALUE"), ("=3", "must read NAME=VALUE"), ("title.x=3", "title holds no further names")],
)
def test_settings_that_are_none_are_refused(setting, words):
    with pytest.raises(UsageError, match=words):
        with_settings(to_plain(Whole()), [setting])


def test_what_is_no_toml_is_refused_by_its_name():
    with pytest.raises(UsageError, match=r"run\.toml is no TOML"):
        from_toml("a = ", "run.toml")


def test_a_tuple_of_kinds_has_as_many_items():
    with pytest.raises(UsageError, match="must have 2 items"):
        from_plain(Whole, {"pair": [1]})
