from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.data import parse_dims, split_episodes
from fastki.errors import UsageError

NAMES = ("x", "y", "z", "twice", "twice", "gripper")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:3,5", (0, 1, 2, 5)),
        ("-1,0", (5, 0)),
        (":", (0, 1, 2, 3, 4, 5)),
        ("::2", (0, 2, 4)),
        ("-3:-1", (3, 4)),
        ("2::-1", (2, 1, 0)),
        ("gripper, x", (5, 0)),
        ("0:6", (0, 1, 2, 3, 4, 5)),
    ],
)
def test_parse_dims(text, expected):
    assert parse_dims(text, 6, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:7", "'0:7' reach past the end: valid are 0 to 5"),
        ("6", "no dimension 6: valid are 0 to 5"),
        ("-7", "no dimension -7: valid are 0 to 5"),
        ("0,1:3,2", "dimension 2 comes twice in '0,1:3,2'"),
        ("3:3", "'3:3' are none at all"),
        ("::0", "step of a slice cannot be 0"),
        ("", "empty part"),
        ("0,,1", "empty part"),
        ("griper", r"did you mean 'gripper'\?"),
        ("twice", r"not unique: use one of the indices \[3, 4\]"),
        ("1.5", "no dimension '1.5'"),
        ("9" * 5000, "no dimension"),
    ],
)
def test_parse_dims_errors(text, message):
    with pytest.raises(UsageError, match=message):
        parse_dims(text, 6, NAMES)


@given(st.integers(1, 9), st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([-2, -1, 1, 2, 3]))
def test_slices_are_pythons(size, start, stop, step):
    expected = tuple(range(size)[start:stop:step])
    if expected and abs(start) <= size and abs(stop) <= size:
        assert parse_dims(f"{start}:{stop}:{step}", size) == expected
    else:
        with pytest.raises(UsageError):
            parse_dims(f"{start}:{stop}:{step}", size)


@given(st.text(alphabet="0123456789:,-+ xyz", max_size=12), st.integers(1, 8))
def test_any_text_gives_valid_dims_or_a_usage_error(text, size):
    try:
        dims = parse_dims(text, size, ("x", "y", "z"))
    except UsageError:
        return
    assert len(set(dims)) == len(dims) > 0
    assert all(0 <= dim < size for dim in dims)


@given(st.integers(1, 200), st.floats(0, 0.999), st.integers(0, 9))
def test_split_is_a_partition(count, holdout, seed):
    fit, held = split_episodes(count, holdout=holdout, seed=seed)
    assert sorted([*fit, *held]) == list(range(count))
    assert (np.diff(fit) > 0).all()
    assert (np.diff(held) > 0).all()
    assert len(fit) >= 1
    assert len(held) == 0 if holdout == 0 or count == 1 else len(held) >= 1


def test_split_depends_on_the_seed_alone():
    first, again, other = (split_episodes(50, seed=seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again != other
    assert len(first) == 5


@pytest.mark.parametrize(
    ("count", "options"),
    [(0, {}), (5, {"holdout": 1.0}), (5, {"holdout": -0.1}), (5, {"holdout": np.nan}), (5, {"seed": -1})],
)
def test_split_errors(count, options):
    with pytest.raises(UsageError):
        split_episodes(count, **options)
