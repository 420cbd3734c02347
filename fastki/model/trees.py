"""Parameters as nested dicts of arrays, and as flat dicts by ``/``-joined path.

>>> flatten({"a": {"kernel": 1, "bias": 2}, "b": 3})
{'a/kernel': 1, 'a/bias': 2, 'b': 3}
>>> merge({"a": {"kernel": 1}}, {"a": {"bias": 2}})
{'a': {'kernel': 1, 'bias': 2}}
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

Tree = dict[str, Any]
"""Nested dicts whose leaves are arrays; a name never holds a ``/``, and no dict is empty but the outermost."""


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leaf by path, in the tree's order. Empty dicts leave no trace."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{path}": leaf for path, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def nest(flat: Mapping[str, Any]) -> Tree:
    """The tree that :func:`flatten` makes ``flat`` of.

    Raises:
        ValueError: a path goes through another's leaf.
    """
    tree: Tree = {}
    for path, leaf in flat.items():
        *folders, name = path.split("/")
        place: Any = tree
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path} goes through a leaf")
        if name in place:
            raise ValueError(f"{path} is a leaf and a folder")
        place[name] = leaf
    return tree


def merge(*trees: Mapping[str, Any]) -> Tree:
    """One tree with the leaves of all.

    Raises:
        ValueError: two of them have a leaf in one place.
    """
    flat: dict[str, Any] = {}
    for tree in trees:
        leaves = flatten(tree)
        if both := flat.keys() & leaves.keys():
            raise ValueError(f"{min(both)} is in two trees")
        flat |= leaves
    return nest(flat)


def split(tree: Mapping[str, Any], paths: Container[str]) -> tuple[Tree, Tree]:
    """The leaves at ``paths``, and the rest."""
    flat = flatten(tree)
    inside = {path: leaf for path, leaf in flat.items() if path in paths}
    return nest(inside), nest({path: leaf for path, leaf in flat.items() if path not in paths})


def map_paths(function: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> Tree:
    """The tree with ``function(path, leaf)`` for every leaf."""
    return nest({path: function(path, leaf) for path, leaf in flatten(tree).items()})
