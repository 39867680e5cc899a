"""Signatures of tasks, read from type hints once, so that an invalid call fails at the caller's line."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import operator
import pathlib
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.errors import BadCall
from conveyor.wire import codec
from conveyor.wire.redaction import Labels, is_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_PLACE = re.compile(r"at `\$\[(\d+)\]")
#: Types that travel as they are.
_FLAT = frozenset({int, str, float, bool, bytes, type(None)})
#: Attributes of named tuples, dataclasses and structs.
_FIELD_MARKS = ("_fields", "__dataclass_fields__", "__struct_fields__")
_EMPTY_MAP = codec.encode({})
_DEFINE = "define it with def at module level"
_OWN = "a function of your own, defined with def at module level"
#: The modules of the program itself: the second in processes that multiprocessing has spawned.
_MAIN = ("__main__", "__mp_main__")


class Signature:
    """The parameters of a function, and how their values travel."""

    def __init__(self, function: Any) -> None:
        self.name: str = getattr(function, "__qualname__", repr(function))
        self.module: str | None = getattr(function, "__module__", None)
        try:
            self._plain: inspect.Signature | None = inspect.signature(function)
        except (TypeError, ValueError):  # some functions in C have none
            self._plain = None
        hints = _hints(function)
        parameters = list(self._plain.parameters.values()) if self._plain else []
        self.parameters = parameters
        self.hints = {one.name: _usable(hints.get(one.name, Any)) for one in parameters}
        self.result_hint = _usable(hints.get("return", Any))
        self._positional = [one.name for one in parameters if one.kind in _POSITIONAL]
        rest = {one.kind: one.name for one in parameters}
        self._rest = rest.get(inspect.Parameter.VAR_POSITIONAL)
        self._named_rest = rest.get(inspect.Parameter.VAR_KEYWORD, "")
        simple = all(one.kind in _POSITIONAL for one in parameters) and self._plain is not None
        self._required = sum(one.default is one.empty for one in parameters)
        self._most = len(self._positional) if simple else -1
        self._tuple = functools.cache(self._make_tuple)
        self._labels: dict[tuple[str, ...], Labels] = {}
        # In one step, if all values travel as they are and none can be left out.
        flat = simple and self._required == self._most and _FLAT.issuperset(self.hints.values())
        self._decode_flat = msgspec.msgpack.Decoder(self._tuple(self._most)).decode if flat else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the function's name: a task's function itself cannot be pickled, as the name is that of the task."""
        return _named, (self.module, self.name)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Check the arguments of a call and return their bytes, `[[positional …], {name: value}]` without the brackets.

        Raises BadCall, with the name of the argument that is missing, superfluous, of a wrong type or not serializable.
        """
        if kwargs or not self._required <= len(args) <= self._most:
            args, kwargs = self._bound(args, kwargs)
        try:
            if _FLAT.issuperset(map(type, args)):
                data = codec.encode_flat(args)
                codec.convert(args, self._tuple(len(args)))
            else:
                data = codec.encode_flat(self._carried(args))
                codec.convert(codec.decode(data), self._tuple(len(args)))
        except msgspec.ValidationError as error:
            raise self._wrong(error) from None
        except UnicodeEncodeError as error:
            raise self._no_text(args, error) from None
        if not kwargs:
            return data + _EMPTY_MAP
        return data + self._encode_named(kwargs)

    def encode_all(self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[bytes]:
        """Return what `encode` returns for each of these calls. Raises BadCall for the first invalid one.

        Many that are alike are checked at once, which takes a third of the time.
        """
        if len(calls) > 1:
            made = self._encode_alike([args for args, kwargs in calls if not kwargs], len(calls))
            if made:
                return made
        return [self.encode(args, kwargs) for args, kwargs in calls]

    def _encode_alike(self, calls: list[tuple[Any, ...]], wanted: int) -> list[bytes]:
        """Return the bytes of calls without keyword arguments, or nothing if there are others or one is invalid."""
        sizes, kinds = set(map(len, calls)), set(map(type, calls))
        count = min(sizes, default=0)
        if (
            len(calls) < wanted
            or len(sizes) > 1
            or kinds != {tuple}
            or not self._required <= count <= self._most
        ):
            return []
        if not _FLAT.issuperset(map(type, itertools.chain.from_iterable(calls))):
            return []
        try:
            codec.convert(calls, list[self._tuple(count)])  # type: ignore[misc]
            return [codec.encode_flat(args) + _EMPTY_MAP for args in calls]
        except (msgspec.ValidationError, UnicodeEncodeError):
            return []

    def decode(self, args: codec.Raw, kwargs: codec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call with the types of the hints. Raises BadCall if they do not fit."""
        if self._decode_flat is not None and bytes(kwargs) == _EMPTY_MAP:
            try:
                return self._decode_flat(args), {}
            except (msgspec.MsgspecError, ValueError):  # such as an integer over 64 bits
                pass
        positional, named = codec.decode(args), codec.decode(kwargs)
        try:
            return (
                codec.convert(positional, self._tuple(len(positional))),
                {name: codec.convert(value, self._hint(name)) for name, value in named.items()}
                if named
                else named,
            )
        except msgspec.ValidationError as error:
            raise self._wrong(error) from None

    def result(self, value: Any) -> Any:
        """Convert a decoded result to the type of the return hint, if it fits."""
        if self.result_hint is Any:
            return value
        try:
            return codec.convert(value, self.result_hint)
        except msgspec.ValidationError:
            return value

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the positional parameters in order; one for the rest comes last, with a star."""
        return (*self._positional, f"*{self._rest}") if self._rest else tuple(self._positional)

    def labels(self, redact: tuple[str, ...] = ()) -> Labels:
        """Return the names that show which arguments of a call are secret, including those in `redact`.

        A named tuple travels without the names of its fields, so a parameter for one with a secret field is secret as
        a whole.
        """
        known = self._labels.get(redact)
        if known is None:
            tuples = [name for name, hint in self.hints.items() if _has_secret_field(hint, redact, set())]
            known = self._labels[redact] = Labels(self.names, (*redact, *tuples))
        return known

    @property
    def has_result_hint(self) -> bool:
        """True if a return hint lets the caller rebuild objects of the user's classes."""
        return self.result_hint is not Any

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._plain is None:
            return args, kwargs
        try:
            bound = self._plain.bind(*args, **kwargs)
        except TypeError as error:
            raise BadCall(f"{self.name}() {error}", hint=f"use {self._plain}") from None
        return bound.args, bound.kwargs

    def _carried(self, args: tuple[Any, ...]) -> Any:
        tree = []
        for place, value in enumerate(args):
            try:
                tree.append(codec.carry(value, typed=self._hint_at(place) is not Any))
            except BadCall as error:
                raise self._invalid(self._name_at(place), error) from None
        return tree

    def _encode_named(self, kwargs: dict[str, Any]) -> bytes:
        tree = {}
        for name, value in kwargs.items():
            hint = self._hint(name)
            try:
                tree[name] = codec.carry(value, typed=hint is not Any)
                codec.convert(codec.decode(codec.encode_flat(tree[name])), hint)
            except (BadCall, msgspec.ValidationError, UnicodeEncodeError) as error:
                raise self._invalid(name, error) from None
        return codec.encode_flat(tree)

    def _make_tuple(self, count: int) -> Any:
        """Return the tuple type of the first `count` positional parameters; `_tuple` makes each once."""
        return tuple[tuple(self._hint_at(place) for place in range(count))] if count else tuple[()]  # type: ignore[misc]

    def _hint_at(self, place: int) -> Any:
        return self._hint(self._name_at(place))

    def _hint(self, name: str) -> Any:
        return self.hints.get(name, self.hints.get(self._named_rest, Any))

    def _name_at(self, place: int) -> str:
        return self._positional[place] if place < len(self._positional) else self._rest or str(place)

    def _no_text(self, args: tuple[Any, ...], error: UnicodeEncodeError) -> BadCall:
        """Return the error for the argument with an unencodable character."""
        for place, value in enumerate(args):
            try:
                codec.encode(value, typed=True)
            except BadCall:
                return self._invalid(self._name_at(place), error)
        return BadCall(f"{self.name}(): {error}")

    def _invalid(self, name: str, error: object) -> BadCall:
        return BadCall(f"{self.name}(): argument {name!r}: {error}", hint=getattr(error, "hint", ""))

    def _wrong(self, error: msgspec.ValidationError) -> BadCall:
        text = str(error)
        place = _PLACE.search(text)
        if place is None:
            return BadCall(f"{self.name}(): {text}")
        return self._invalid(self._name_at(int(place[1])), text.split(" - at", maxsplit=1)[0])


@functools.lru_cache(maxsize=4096)
def _read(function: Any) -> Signature:
    return Signature(function)


def signature_of(function: Any) -> Signature:
    """Return the signature of a function or a task, read once."""
    return _read(getattr(function, "function", function))


def _named(module: str, name: str) -> Signature:
    """Return the signature of a module-level function or task, of which this process may not know the module yet."""
    return signature_of(operator.attrgetter(name)(importlib.import_module(module)))


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # hints that only a type checker can resolve
        return {}


def _has_secret_field(hint: Any, redact: Collection[str], seen: set[type]) -> bool:
    """Return True if a named tuple with a secret field is, or may be in, a value of this type."""
    inner = list(typing.get_args(hint))
    if isinstance(hint, type) and hint not in seen and any(hasattr(hint, mark) for mark in _FIELD_MARKS):
        seen.add(hint)
        if any(name in redact or is_secret(name) for name in getattr(hint, "_fields", ())):
            return True
        inner += _hints(hint).values()
    return any(_has_secret_field(one, redact, seen) for one in inner)


def _usable(hint: Any) -> Any:
    """Return the hint if values can be checked against it, or else Any."""
    try:
        codec.convert(None, hint)
    except msgspec.ValidationError:
        return hint
    except TypeError:
        return Any
    return hint


def name_of(function: Any) -> str:
    """Return the name of a function on all hosts: module and name, or the registered name of a task.

    Raises BadCall for anything that workers cannot find by its name, and for builtins without a signature.
    """
    if hasattr(function, "function"):
        return str(function.name)
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not name or "." in name or "<" in name or isinstance(function, type):
        raise _nameless(function, name)
    if module in _MAIN:
        if getattr(sys.modules[module], "__file__", "<stdin>") == "<stdin>":
            raise BadCall(
                f"{name} belongs to a program without a file, such as an interactive session, so no worker finds it",
                hint="save it in a module, such as tasks.py, and import it",
            )
        module = main_name(module)
    if isinstance(function, types.BuiltinFunctionType):
        try:
            inspect.signature(function)
        except ValueError:
            raise BadCall(
                f"{name} has no signature, so its arguments cannot be checked",
                hint=f"call it in {_OWN}",
            ) from None
    return f"{module}.{name}"


def _nameless(function: Any, name: str) -> BadCall:
    """Return the error for anything but a function at module level."""
    if isinstance(function, functools.partial):
        message = "a functools.partial has no name by which workers could find it"
        return BadCall(message, hint=f"submit its function with all arguments, or {_DEFINE}")
    if not name:
        return BadCall(f"{function!r:.80} is not a function with a name", hint=_DEFINE)
    if isinstance(function, type):
        message = f"{name} is a class, and workers run functions only"
        return BadCall(message, hint=f"make the object in {_OWN}")
    if "<" in name or "." not in name:
        return BadCall(f"{name} is not at module level, so workers cannot find it", hint=_DEFINE)
    message = f"{name} is a method, and workers find functions at module level only"
    return BadCall(message, hint=f"call it in {_OWN}")


def main_name(module: str = "__main__") -> str:
    """Return the name by which other processes can import this process's script."""
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return pathlib.Path(file).stem if file else "__main__"
