"""Dataclasses from JSON, each value checked against its annotation."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
PLAIN: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}


class MismatchError(ValueError):
    """A value is not what its annotation says.

    Args:
        where: names the value, such as "weights.bytes".
        expected: what should be there.
        found: what is.
    """

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(f"{where}: expected {expected}, found {found}")
        self.where, self.expected, self.found = where, expected, found


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """Make a dataclass of what `json.loads` gave.

    Annotations may be str, bool, int, float (a whole number will do), Any, X | None, tuple[X, ...], dict[str, X] and
    dataclasses of such. Fields without default must be there; others than the fields must not.

    Args:
        kind: a dataclass.
        value: its content; keys are the names of the fields.
        where: names it in errors.

    Raises:
        MismatchError: a value is missing, unknown or of another kind.
    """
    return _read(kind, value, where)


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _read(inner, value, where)
    if origin is tuple:
        return tuple(_read(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(_of(list, value, where)))
    if origin is dict:
        return {name: _read(arguments[1], one, f"{where}.{name}") for name, one in _of(dict, value, where).items()}
    return _read_plain(kind, value, where)


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    content: Mapping[str, Any] = _of(dict, value, where)
    hints, fields = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    unknown = sorted(set(content) - set(fields))
    if unknown:
        raise MismatchError(f"{prefix}{unknown[0]}", f"one of {', '.join(fields)}", "another name")
    for name, field in fields.items():
        if name not in content and field.default is dataclasses.MISSING:
            raise MismatchError(f"{prefix}{name}", "a value", "none")
    return kind(**{name: _read(hints[name], one, f"{prefix}{name}") for name, one in content.items()})


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    right = is_number and math.isfinite(value) if kind is float else type(value) is kind
    if not right:
        raise MismatchError(where, PLAIN[kind], repr(value)[:80])
    return float(value) if kind is float else value


def _of(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise MismatchError(where or "the file", "an object" if kind is dict else "a list", repr(value)[:80])
    return value
