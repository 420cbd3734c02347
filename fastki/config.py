"""Frozen dataclasses ⇄ plain JSON values ⇄ TOML, and single settings by their dotted names.

It knows no concrete configuration.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from typing import Any, TypeVar

from fastki.errors import UsageError

T = TypeVar("T")
NONE = "none"
"""Stands for None where a field may be: TOML has no word for it."""


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
        if value in (None, NONE) and type(None) in arguments:
            return None
        return _convert(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise UsageError(f"{where} must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{where} must be a list, not {value!r}")
        kinds = [arguments[0]] * len(value) if len(arguments) < 2 or arguments[1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise UsageError(f"{where} must have {len(kinds)} items, not {len(value)}")
        pairs = zip(kinds, value, strict=True)
        return tuple(_convert(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(pairs))
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where} must be a {hint.__name__}, not {value!r}")
    return value


def to_toml(value: Any) -> str:
    """A dataclass, or what :func:`to_plain` makes of one, as TOML; None is written as ``"none"``.

    >>> print(to_toml({"steps": 3, "model": {"size": "tiny", "lora": None}}))
    steps = 3
    <BLANKLINE>
    [model]
    size = "tiny"
    lora = "none"
    <BLANKLINE>
    """
    lines: list[str] = []
    _write_table(to_plain(value), (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def from_toml(text: str, where: str) -> dict[str, Any]:
    """The plain values of a TOML text; ``where`` names it in the message.

    Raises:
        UsageError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is no TOML: {error}") from error


def merged(plain: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``plain`` with the values of ``changes``, table by table."""
    result = dict(plain)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def with_settings(plain: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """``plain`` with single values changed.

    >>> with_settings({"model": {"size": "tiny"}, "steps": 3}, ["model.size=small", "steps=5"])
    {'model': {'size': 'small'}, 'steps': 5}

    Args:
        plain: of :func:`to_plain`.
        settings: ``a.b=c`` each; c is a TOML value, or else a string as it stands.

    Raises:
        UsageError: a setting has no ``=``, or goes through a value that is no table.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {setting!r} must read NAME=VALUE, such as --set model.size=small")
        change: Any = _value_of(text.strip())
        path = name.strip().split(".")
        place: Any = plain
        for part in path[:-1]:
            place = place.get(part, {})
            place = {} if place in (None, NONE) else place
            if not isinstance(place, dict):
                raise UsageError(f"--set {setting}: {part} holds no further names")
        for part in reversed(path):
            change = {part: change}
        plain = merged(plain, change)
    return plain


def _value_of(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _write_table(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    simple = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if path and (simple or not table):
        lines += ["", f"[{'.'.join(path)}]"]
    lines += [f"{key} = {_written(value)}" for key, value in simple.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*path, key), lines)


def _written(value: Any) -> str:
    """One value of TOML; a JSON string is one of TOML's too."""
    match value:
        case None:
            return f'"{NONE}"'
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)
