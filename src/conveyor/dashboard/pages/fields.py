"""The fields of a form, made of a task's parameters: for each type the control that people know for it."""

from __future__ import annotations

import datetime as dt
import enum
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from conveyor.monitor.typed_input import item_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.monitor.typed_input import Parameter

#: Characters of a default from which on a field has several lines.
LONG = 60
_MOMENTS = {dt.date: "date", dt.time: "time", dt.datetime: "datetime-local"}


class Field(NamedTuple):
    """One field of the form."""

    name: str
    kind: str
    """number, checkbox, select, lines, long, date, time, datetime-local, secret or text."""
    takes: str
    """In words."""
    help: str
    required: bool
    default: str
    """As it would be typed; what is left so is not sent."""
    value: str
    """What the job that is taken as a model has; the default without one."""
    step: str
    """Of numbers: 1, or any; of times: 1, a second."""
    choices: tuple[str, ...]

    @property
    def lines(self) -> str:
        """The value of a list, one item a line."""
        return in_lines(self.value) or ""

    @property
    def default_lines(self) -> str:
        """The default likewise."""
        return in_lines(self.default) or ""


def field_of(one: Parameter, typed: Mapping[str, str]) -> Field:
    """Return the field of a parameter; `typed` are initial values, by name."""
    otherwise = "" if one.hidden else one.default_text  # a secret that is left empty is not sent
    value = typed.get(one.name, otherwise)
    kind, step, choices = ("secret", "", ()) if one.hidden else _kind(one, value)
    return Field(
        name=one.name,
        kind=kind,
        takes=one.type_text,
        help=one.words,
        required=one.required,
        default=otherwise,
        value=value,
        step=step,
        choices=choices,
    )


def in_lines(value: str) -> str | None:
    """Return a list in JSON with one item a line, or None if it is not a list, or an item has several lines."""
    if not value:
        return ""
    try:
        items = msgspec.json.decode(value, type=list[str | int | float])
    except msgspec.MsgspecError:
        return None
    lines = list(map(str, items))
    return "\n".join(lines) if all(line.strip() and len(line.splitlines()) == 1 for line in lines) else None


def _kind(one: Parameter, value: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the kind of field for a type, the step of its numbers, and its choices."""
    hint = _plain(one.hint)
    if hint is bool and hint is one.hint:
        return "checkbox", "", ()
    if hint in {int, float}:
        return "number", "1" if hint is int else "any", ()
    choices = _choices(hint)
    if choices:
        nothing = ("null",) if hint is not one.hint and one.default_text else ()
        return "select", "", choices + nothing
    if hint in _MOMENTS and getattr(one.default, "tzinfo", None) is None and "+" not in value:
        return _MOMENTS[hint], "" if hint is dt.date else "1", ()
    if _is_several(hint) and in_lines(value) is not None:
        return "lines", "", ()
    is_long = hint is not str and not (isinstance(hint, type) and issubclass(hint, str))
    return "long" if is_long or len(one.default_text) > LONG else "text", "", ()


def _choices(hint: Any) -> tuple[str, ...]:
    if hint is bool:
        return ("yes", "no")
    if typing.get_origin(hint) is Literal:
        return tuple("null" if one is None else str(one) for one in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(member.value) for member in hint)
    return ()


def _is_several(hint: Any) -> bool:
    """Return True for the type of a list of words or numbers."""
    return item_of(hint) in {str, int, float}


def _plain(hint: Any) -> Any:
    """Return the type itself, of one that may also be None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint
