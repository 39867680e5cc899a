"""Typed text converted to the arguments of an order, checked against the type hints before anything is put."""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from conveyor.errors import BadCall
from conveyor.wire import hints
from conveyor.wire.redaction import MASK, is_secret, redacted, redacted_text
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.tasks import Task

_YES_NO = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}
_SEVERAL = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_MANY = {int: "whole numbers", float: "numbers", str: "texts"}
_FIXED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter(NamedTuple):
    """One parameter of an order, as a prompt or form shows it."""

    name: str
    hint: Any
    default: Any
    """inspect.Parameter.empty if there is none."""
    words: str
    """Its description in the task, or empty."""
    by_name_only: bool
    hidden: bool
    """True if it is a secret."""

    @property
    def required(self) -> bool:
        """True if it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def default_text(self) -> str:
        """The default as a user would type it, without secrets; empty if there is none, or nothing to type."""
        if self.required or self.default is None:
            return ""
        return _typed(self.default_shown)

    @property
    def default_shown(self) -> Any:
        """The default itself, without secrets; None if there is none."""
        if self.required or self.default is None:
            return None
        is_empty = isinstance(self.default, str) and not self.default
        return MASK if self.hidden and not is_empty else redacted(self.default)

    @property
    def type_text(self) -> str:
        """The type in plain words."""
        return type_words(self.hint)


def parameters_of(task: Task[..., Any]) -> list[Parameter]:
    """Return the parameters of an order of this task, in order."""
    function = task.order_function
    signature = signature_of(function)
    words = _words(function)
    return [
        Parameter(
            one.name,
            signature.hints[one.name],
            one.default,
            words.get(one.name, ""),
            one.kind is inspect.Parameter.KEYWORD_ONLY,
            is_hidden(task, one.name),
        )
        for one in signature.parameters
        if one.kind not in _FIXED
    ]


def is_hidden(task: Task[..., Any], name: str) -> bool:
    """Return True if a parameter of this name is a secret."""
    return name in task.redact or is_secret(name)


def convert(task: Task[..., Any], parameter: Parameter, text: str) -> Any:
    """Return the value of a parameter from typed text. Raises BadCall if it does not match the type."""
    if parameter.hint is bool or parameter.hint == bool | None:
        text = _YES_NO.get(text.strip().lower(), text)
    try:
        return hints.convert_text(text, parameter.hint)
    except msgspec.MsgspecError:
        message = f"{task.name}: {_misfit(parameter, text)}"
        raise BadCall(message, hint=f"see `conveyor tasks {task.name}` for the parameters") from None


def _misfit(parameter: Parameter, text: str) -> str:
    """Return what does not match the type, in a list the first such item, without secrets."""
    if parameter.hidden:
        return f"{parameter.name} does not fit, it takes {parameter.type_text}"
    item_hint = item_of(parameter.hint)
    try:
        items = msgspec.json.decode(text, type=list[Any]) if item_hint is not None else []
    except msgspec.MsgspecError:
        items = []
    for place, item in enumerate(items, 1):
        try:
            hints.convert(item, item_hint, strict=False)
        except msgspec.ValidationError:
            return f"{parameter.name}, item {place}: {item!s:.80} is not {type_words(item_hint)}"
    return f"{parameter.name}={redacted_text(text)!r:.500} does not fit, it takes {parameter.type_text}"


def item_of(hint: Any) -> Any:
    """Return the item type of a list, a set or a tuple of any length, or None for another type."""
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rest = [one for one in items if one is not type(None)]
        return item_of(rest[0]) if len(rest) == 1 else None
    if origin is tuple:
        return items[0] if len(items) == 2 and items[1] is ... else None  # noqa: PLR2004 - tuple[X, ...]
    return items[0] if origin in _SEVERAL and items else None


def bind(task: Task[..., Any], texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of an order from words, some of them name=value.

    Raises BadCall, which names a parameter that is missing, unknown, repeated or of the wrong type.
    """
    parameters = parameters_of(task)
    by_name = {one.name: one for one in parameters}
    in_order = [one for one in parameters if not one.by_name_only]
    hint = f"it takes {usage(task)}"
    arguments: dict[str, Any] = {}
    place = 0
    for text in texts:
        name, is_named, value = text.partition("=")
        if is_named and name.isidentifier():
            parameter = by_name.get(name)
            if parameter is None:
                raise BadCall(f"{task.name} has no parameter {name!r}", hint=hint)
        elif place < len(in_order):
            parameter, value = in_order[place], text
            place += 1
        else:
            raise BadCall(f"{task.name}: {text!r} is one argument too many", hint=hint)
        if parameter.name in arguments:
            raise BadCall(f"{task.name}: {parameter.name} is given twice", hint=hint)
        arguments[parameter.name] = convert(task, parameter, value)
    missing = [one.name for one in parameters if one.required and one.name not in arguments]
    if missing:
        raise BadCall(
            f"{task.name}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", hint=hint
        )
    return arguments


def convert_value(task: Task[..., Any], parameter: Parameter, value: Any) -> Any:
    """Return the argument of a JSON value; a string counts as typed text. Raises BadCall for a wrong type."""
    if isinstance(value, str):
        return convert(task, parameter, value)
    try:
        return hints.convert(value, parameter.hint)
    except (msgspec.ValidationError, RecursionError):
        message = f"{task.name}: {parameter.name} does not fit, it takes {parameter.type_text}"
        raise BadCall(message) from None


def usage(task: Task[..., Any]) -> str:
    """Return the parameters of a task in one line, optional ones in brackets with their default."""
    return (
        " ".join(
            one.name if one.required else f"[{one.name}={one.default_text}]" for one in parameters_of(task)
        )
        or "nothing"
    )


def as_words(arguments: dict[str, Any], parameters: Sequence[Parameter]) -> list[str]:
    """Return these arguments as words of a command line, without defaults."""
    defaults = {one.name: one.default for one in parameters}
    return [f"{name}={_typed(value)}" for name, value in arguments.items() if value != defaults.get(name)]


def type_words(hint: Any) -> str:
    """Return a type hint in plain words: `a whole number`, `one of primes, pi`, `a number or nothing`."""
    plain = {int: "a whole number", float: "a number", str: "text", bool: "yes or no", type(None): "nothing"}
    if isinstance(hint, type) and hint in plain:
        return plain[hint]
    origin = typing.get_origin(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_words, typing.get_args(hint)))
    item = item_of(hint)
    if item is not None:
        return f"a list of {_MANY[item]}" if item in _MANY else f"a list, each item {type_words(item)}"
    if hint is Any:
        return "any value"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    if isinstance(value, list | tuple | dict | set | frozenset) or value is None:
        try:
            return msgspec.json.encode(value).decode()
        except (TypeError, ValueError, msgspec.MsgspecError):
            return str(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value.value if isinstance(value, enum.Enum) else value)


def _words(function: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions in the type hints, by parameter: Annotated[int, "number of jobs"]."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}
    return {
        name: next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)), "")
        for name, hint in hints.items()
    }
