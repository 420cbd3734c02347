"""Frozen dataclasses ⇄ plain JSON values. It knows no concrete configuration."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

from fastki.errors import UsageError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts, tuples lists, NumPy scalars and arrays Python numbers; the rest stays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def from_plain(kind: type[T], plain: Any) -> T:
    """The dataclass ``kind`` of a dict that :func:`to_plain` made.

    Raises:
        UsageError: a field is unknown (the nearest known one is named), missing, or of the wrong type.
    """
    if not isinstance(plain, dict):
        raise UsageError(f"{kind.__name__} must be a table of fields, not {plain!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in plain:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(fields)}"
            raise UsageError(f"{kind.__name__} has no field {name!r}{hint}")
    values = {name: _convert(hints[name], plain[name], f"{kind.__name__}.{name}") for name in plain}
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{kind.__name__} lacks {', '.join(missing)}")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type: the JSON types, tuples, unions with None, literals, dataclasses."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise UsageError(f"{where} must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{where} must be a list, not {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where} must be a {hint.__name__}, not {value!r}")
    return value
