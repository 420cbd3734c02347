"""Nested dicts of parameters."""

from __future__ import annotations

import pytest

from fastki.model.trees import flatten, map_paths, merge, nest, split

TREE = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}


def test_flat_and_back():
    assert flatten(TREE) == {"a/b/c": 1, "a/d": 2, "e": 3}
    assert nest(flatten(TREE)) == TREE


def test_split_and_merged_again():
    inside, rest = split(TREE, {"a/d", "e"})
    assert (inside, rest) == ({"a": {"d": 2}, "e": 3}, {"a": {"b": {"c": 1}}})
    assert merge(inside, rest) == TREE


def test_all_of_a_tree_may_be_on_one_side():
    assert split(TREE, set(flatten(TREE))) == (TREE, {})


def test_functions_see_the_path():
    assert map_paths(lambda path, leaf: f"{path}={leaf}", TREE)["a"]["d"] == "a/d=2"


@pytest.mark.parametrize("flat", [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}])
def test_a_leaf_is_no_folder(flat):
    with pytest.raises(ValueError, match="leaf"):
        nest(flat)


def test_a_leaf_in_both_trees_is_refused():
    with pytest.raises(ValueError, match="a/d is in two trees"):
        merge(TREE, {"a": {"d": 5}})
