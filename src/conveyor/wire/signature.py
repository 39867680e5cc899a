"""Signatures of tasks, read from type hints once, so that an invalid call fails at the caller's line."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from conveyor.errors import BadCall, JobCancelled, JobFailed
from conveyor.task_loading import main_file, main_name
from conveyor.wire import codec, hints, signed
from conveyor.wire.codec import Raw
from conveyor.wire.redaction import Labels, is_secret
from conveyor.wire.terms import NOT_YET, Input, JobEnd

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_BEHIND = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
#: Types of what takes the items of a batch.
_LISTS = {list, Sequence, Collection, Iterable}
#: Arguments that an array of msgpack counts in its first byte.
_MAX_SHORT = 15
#: Types that travel as they are.
_FLAT = frozenset({int, str, float, bool, bytes, type(None)})
#: Of a job that takes no results of others.
NO_INPUTS: Mapping[int | str, Any] = types.MappingProxyType({})
#: Attributes of named tuples, dataclasses and structs.
_FIELD_MARKS = ("_fields", "__dataclass_fields__", "__struct_fields__")
#: Raised for what does not fit: for items that no set or mapping can hold, and for numpy's numbers as mappings.
_NATIVE_ERRORS = (msgspec.ValidationError, TypeError, AttributeError)
_EMPTY_MAP = codec.encode({})
_NIL = Raw(codec.encode(None))
_PICKLE = 'or use a queue with serializer="pickle"'
_DEFINE = f"define it with def at module level, {_PICKLE}"
_OWN = "a function of your own, defined with def at module level"
#: The modules of the program itself: the second in processes that multiprocessing has spawned.
_MAIN = ("__main__", "__mp_main__")


class FromWorker:
    """The default of a parameter that does not travel: the worker fills it in."""

    def __repr__(self) -> str:
        return "from_worker()"

    def __reduce__(self) -> str:
        """Pickle the name, since there is only one."""
        return "FROM_WORKER"

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError, since a direct call has left the argument out."""
        message = f"the value with the attribute {name!r} comes from the worker; in a direct call, pass one"
        raise AttributeError(message)


#: The only one.
FROM_WORKER = FromWorker()


class Signature:
    """The parameters of a function, and how their values travel.

    Of a batch task they are those of one job. Raises BadCall if its parameters cannot take lists, or if one that the
    worker fills in cannot be passed by name.
    """

    def __init__(self, function: Any) -> None:
        self.name: str = getattr(function, "__qualname__", repr(function))
        self.module: str | None = getattr(function, "__module__", None)
        try:
            self._plain: inspect.Signature | None = hints.signature(function)
        except (TypeError, ValueError):  # some functions in C have none
            self._plain = None
        known = hints.resolve(function)
        parameters = list(self._plain.parameters.values()) if self._plain else []
        _check_called(self.name, parameters)
        if getattr(function, "takes_items", False) and self._plain:
            known |= check_items(
                self.name, [one for one in parameters if one.default is not FROM_WORKER], known
            )
            parameters = [one.replace(annotation=known.get(one.name, one.annotation)) for one in parameters]
            self._plain = self._plain.replace(parameters=parameters)
        self.from_worker = {
            one.name: known.get(one.name, Any) for one in parameters if one.default is FROM_WORKER
        }
        """Types of the parameters that the worker fills in, by name; they do not count otherwise."""
        if self.from_worker and self._plain:
            _check_last(self.name, parameters)
            parameters = [one for one in parameters if one.default is not FROM_WORKER]
            self._plain = self._plain.replace(parameters=parameters)
        self.parameters = parameters
        self.hints = {one.name: known.get(one.name, Any) for one in parameters}
        self._native = {name for name, hint in self.hints.items() if hints.is_native(hint)}
        self._is_native = len(self._native) == len(self.hints)
        # A number under `float` may lose digits; all else that is flat is converted as `fit` does it.
        self._is_flat = all(name in self._native or hints.is_direct(one) for name, one in self.hints.items())
        self._positional = [one.name for one in parameters if one.kind in _POSITIONAL]
        self._named = {one.name for one in parameters if one.kind in _NAMED}
        rest = {one.kind: one.name for one in parameters}
        self._rest = rest.get(inspect.Parameter.VAR_POSITIONAL)
        self._named_rest = rest.get(inspect.Parameter.VAR_KEYWORD, "")
        simple = all(one.kind in _POSITIONAL for one in parameters) and self._plain is not None
        self._required = sum(one.default is one.empty for one in parameters)
        self._most = len(self._positional) if simple else -1
        self._tuple = functools.cache(self._make_tuple)
        self._labels: dict[tuple[str, ...], Labels] = {}
        # In one step, if all values travel as they are: by the first byte, which has the number of arguments.
        is_direct = simple and all(hints.is_direct(one) for one in self.hints.values())
        counts = range(self._required, min(self._most, _MAX_SHORT) + 1) if is_direct else ()
        self._direct = {0x90 + count: codec.decoder(self._tuple(count)) for count in counts}
        self._only = self._direct[0x90 + self._most] if len(self._direct) == 1 else None

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Check the arguments of a call and return their bytes, `[[positional …], {name: value}]` without the brackets.

        Raises BadCall, with the name of the argument that is missing, superfluous, of a wrong type or not serializable.
        """
        if kwargs or not self._required <= len(args) <= self._most:
            args, kwargs = self.bound(args, kwargs)
        if self._is_flat and _FLAT.issuperset(map(type, args)):
            try:
                data = codec.encode_flat(args)
                made = codec.convert(args, self._tuple(len(args)))
                if not (self._is_native or made == args):
                    data = self._encode_each(args)
            except (msgspec.ValidationError, UnicodeEncodeError):
                data = self._encode_each(args)
        else:
            data = self._encode_each(args)
        if not kwargs:
            return data + _EMPTY_MAP
        return data + codec.encode_flat(
            {name: self._encode_value(name, value, self._parameter(name)) for name, value in kwargs.items()}
        )

    def _encode_each(self, args: tuple[Any, ...]) -> bytes:
        """Return the bytes of positional arguments of any types. Raises BadCall with the name of an invalid one."""
        return codec.encode_flat(
            [
                self._encode_value(name := self._name_at(place), value, name)
                for place, value in enumerate(args)
            ]
        )

    def _encode_value(self, name: str, value: Any, parameter: str) -> Raw:
        """Return the bytes of an argument. Raises BadCall with its name.

        It travels as it was given, since the worker converts it by the same hint, but may have no numpy.
        """
        if value is NOT_YET:
            return _NIL
        if type(value) is Input:
            raise BadCall(
                f"{self.name}(): {name} is the result of another job, which is not known yet",
                hint="pass it to submit, submit_many or map, which wait for it",
            )
        hint = self.hints.get(parameter, Any)
        try:
            data = codec.encode_flat(codec.carry(value))
            if parameter in self._native and not codec.has_objects(data):
                try:
                    codec.convert(value, hint)
                    return Raw(data)
                except _NATIVE_ERRORS:  # it may fit nevertheless, such as a number of numpy
                    pass
            fitted = hints.fit(value, hint)
            if fitted is not value and (codec.has_arrays(data) or codec.has_objects(data)):
                data = codec.encode(fitted)
            return Raw(data)
        except (BadCall, msgspec.ValidationError, UnicodeEncodeError) as error:
            raise self._invalid(name, error) from None

    def encode_any(self, args: tuple[Any, ...], kwargs: dict[str, Any], task: str) -> bytes:
        """Return what `encode` returns, with pickles of the arguments that it refuses to serialize.

        If there are any, the positional arguments are signed, for this task and these named ones.
        """
        args, kwargs = self.bound(args, kwargs)
        positional = [
            self._encode_any(name := self._name_at(place), one, name) for place, one in enumerate(args)
        ]
        named = {name: self._encode_any(name, one, self._parameter(name)) for name, one in kwargs.items()}
        data, rest = codec.encode_flat(positional), codec.encode_flat(named)
        if any(map(codec.is_pickled, (*positional, *named.values()))):
            data = codec.encode_signed(data, _purpose(task, rest))
        return data + rest

    def _encode_any(self, name: str, value: Any, parameter: str) -> Raw:
        try:
            return self._encode_value(name, value, parameter)
        except BadCall:
            try:
                fitted = hints.fit(value, self.hints.get(parameter, Any))
                return Raw(codec.encode_pickled(fitted))
            except (BadCall, msgspec.ValidationError) as error:
                raise self._invalid(name, error) from None

    def encode_all(self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[bytes]:
        """Return what `encode` returns for each of these calls. Raises BadCall for the first invalid one.

        Many that are alike are checked at once, which takes a third of the time.
        """
        if len(calls) > 1:
            made = self._encode_alike([args for args, kwargs in calls if not kwargs], len(calls))
            if made:
                return made
        return [self.encode(self._row(args), kwargs) for args, kwargs in calls]

    def _row(self, args: Any) -> tuple[Any, ...]:
        """Return the positional arguments of a call as a tuple. Raises BadCall for a single value that is none."""
        if isinstance(args, tuple):
            return args
        if isinstance(args, str | bytes | Mapping) or not hasattr(args, "__len__"):
            raise BadCall(
                f"{self.name}(): the arguments of each call must be a tuple, got `{type(args).__name__}`",
                hint="write a single argument as (argument,); for keyword arguments use `submit_parts`",
            )
        return tuple(args)

    def _encode_alike(self, calls: list[tuple[Any, ...]], wanted: int) -> list[bytes]:
        """Return the bytes of calls without keyword arguments, or nothing if there are others or one is invalid."""
        if len(calls) < wanted or set(map(type, calls)) != {tuple}:
            return []
        sizes = set(map(len, calls))
        count = min(sizes)
        if len(sizes) > 1 or not self._required <= count <= self._most:
            return []
        if not (self._is_flat and _FLAT.issuperset(map(type, itertools.chain.from_iterable(calls)))):
            return []
        try:
            made = codec.convert(calls, list[self._tuple(count)])  # type: ignore[misc]
            if not (self._is_native or made == calls):
                return []
            encode, end = codec.encode_flat, _EMPTY_MAP
            return [encode(args) + end for args in calls]
        except (msgspec.ValidationError, UnicodeEncodeError):
            return []

    def decode(
        self, args: Raw, kwargs: Raw, task: str = "", inputs: Mapping[int | str, Any] = NO_INPUTS
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call of a task with the types of the hints.

        `inputs` are results of other jobs, by position or name; those that are exceptions, or have one among them, fit
        any hint. Raises BadCall if an argument does not fit, UnknownClass if this process does not have the class of
        one, and Untrusted if one is pickled and no key of this process has signed them.
        """
        if self._direct and bytes(kwargs) == _EMPTY_MAP and not inputs:
            direct = self._only or self._direct.get(memoryview(args)[0])
            if direct is not None:
                try:
                    return direct(args), {}
                except Exception:  # noqa: BLE001, S110 - such as an integer over 64 bits; below, errors have a name
                    pass
        if is_signed := codec.is_signed(args):
            purpose = _purpose(task, kwargs)
            positional, named = codec.decode_signed(args, purpose), codec.decode_trusted(kwargs)
        else:
            positional, named = codec.decode_unsigned(args), codec.decode_unsigned(kwargs)
        if type(positional) is not list or type(named) is not dict:
            raise BadCall(f"{self.name}(): the arguments must be a list and a dict")
        for place, value in inputs.items():
            if isinstance(place, int):
                positional[place] = value
            else:
                named[place] = value
        is_plain = not (
            is_signed or inputs or codec.has_objects(args) or (named and codec.has_objects(kwargs))
        )
        if is_plain and self._is_flat and not named:
            try:
                return codec.convert(positional, self._tuple(len(positional))), named
            except _NATIVE_ERRORS:  # it may fit nevertheless; if not, the error has a name
                pass
        return (
            tuple(
                self._fitted(name := self._name_at(place), one, name, is_plain=is_plain)
                for place, one in enumerate(positional)
            ),
            {
                name: self._fitted(name, one, self._parameter(name), is_plain=is_plain)
                for name, one in named.items()
            },
        )

    def _fitted(self, name: str, value: Any, parameter: str, *, is_plain: bool) -> Any:
        """Return a decoded argument with the type of its hint. Raises BadCall with its name."""
        hint = self.hints.get(parameter, Any)
        if _is_end(value):
            return value
        try:
            if is_plain and parameter in self._native:
                with contextlib.suppress(*_NATIVE_ERRORS):
                    return codec.convert(value, hint)
            return hints.fit(value, hint)
        except msgspec.ValidationError as error:
            raise self._invalid(name, error) from None

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

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call, by position as far as possible. Raises BadCall if they do not fit."""
        if self._plain is None:
            return args, kwargs
        try:
            bound = self._plain.bind(*args, **kwargs)
        except TypeError as error:
            if given := self.from_worker.keys() & kwargs.keys():
                raise BadCall(
                    f"{self.name}() gets {', '.join(sorted(given))} from its worker, so it cannot be submitted",
                    hint="leave it out; pass it only in a direct call",
                ) from None
            raise BadCall(f"{self.name}() {error}", hint=f"use {self._plain}") from None
        return bound.args, bound.kwargs

    def complete(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Return the bytes of a call with its defaults, equal for calls that mean the same. Raises BadCall."""
        args, kwargs = self.bound(args, kwargs)
        if self._plain is not None:
            bound = self._plain.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        return self.encode(args, dict(sorted(kwargs.items())))

    def _make_tuple(self, count: int) -> Any:
        """Return the tuple type of the first `count` positional parameters; `_tuple` makes each once."""
        types = tuple(self.hints.get(self._name_at(place), Any) for place in range(count))
        return tuple[types] if count else tuple[()]  # type: ignore[valid-type]

    def _parameter(self, name: str) -> str:
        """Return the parameter that takes a keyword argument: one that takes only positional ones may have its name."""
        return name if name in self._named else self._named_rest

    def _name_at(self, place: int) -> str:
        return self._positional[place] if place < len(self._positional) else self._rest or str(place)

    def _invalid(self, name: str, error: Exception) -> BadCall:
        text = str(error).split(" - at", maxsplit=1)[0]
        hint = codec.NOT_UNICODE if isinstance(error, UnicodeEncodeError) else getattr(error, "hint", "")
        return BadCall(f"{self.name}(): argument {name!r}: {text}", hint=hint)


def _is_end(value: object) -> bool:
    """Return True if a value is the error of a job before, a list with one, or how a job has ended."""
    if type(value) is list:
        return any(isinstance(one, JobFailed | JobCancelled) for one in value)
    return isinstance(value, JobFailed | JobCancelled | JobEnd)


def _check_called(name: str, parameters: Sequence[inspect.Parameter]) -> None:
    """Raise BadCall if a default is `from_worker` itself: the task would get that function as a value."""
    for one in parameters:
        if getattr(one.default, "__qualname__", "") == "from_worker" and callable(one.default):
            message = f"{name}(): the default of {one.name} is the function from_worker, not what it returns"
            raise BadCall(message, hint=f"write {one.name}: … = from_worker(), with parentheses")


def _check_last(name: str, parameters: Sequence[inspect.Parameter]) -> None:
    """Raise BadCall if a parameter that the worker passes by its name cannot be, or would shift those behind it."""
    from_worker = ""
    for one in parameters:
        is_from_worker = one.default is FROM_WORKER
        if is_from_worker:
            from_worker = one.name
        if from_worker and one.kind not in (_NAMED if is_from_worker else _BEHIND):
            message = f"{name}(): {from_worker} = from_worker() must come after the parameters that travel"
            raise BadCall(message, hint="write it last, or behind a *")


def check_items(
    name: str, parameters: Sequence[inspect.Parameter], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the hints of the items that a batch task takes in lists, of hints that are known.

    Raises BadCall if one of its parameters cannot take a list with an item for each job.
    """
    if not parameters:
        raise BadCall(f"{name}() takes no arguments, and a batch task takes a list of them")
    for one in parameters:
        if one.kind not in _POSITIONAL or one.default is not one.empty:
            raise BadCall(
                f"{name}(): {one} cannot take a list with an item for each job of a batch",
                hint="a batch task has positional parameters without defaults, and behind them those from_worker()",
            )
        hint = known.get(one.name, list)
        if hint is not Any and (typing.get_origin(hint) or hint) not in _LISTS:
            shown = inspect.formatannotation(hint)
            raise BadCall(
                f"{name}(): {one.name} takes a list with an item for each job of a batch, not {shown}",
                hint=f"write {one.name}: list[{shown}]",
            )
    return {one.name: (*typing.get_args(known.get(one.name)), Any)[0] for one in parameters}


def _purpose(task: str, named: bytes | Raw) -> bytes:
    """Return what positional arguments are signed for: a task, and the bytes of the named arguments."""
    return codec.encode_flat([signed.CALL, task, bytes(named)])


@functools.lru_cache(maxsize=4096)
def _read(function: Any) -> Signature:
    return Signature(function)


def signature_of(function: Any) -> Signature:
    """Return the signature of a function or a task, read once."""
    return _read(getattr(function, "function", function))


def _has_secret_field(hint: Any, redact: Collection[str], seen: set[type]) -> bool:
    """Return True if a named tuple with a secret field is, or may be in, a value of this type."""
    inner = list(typing.get_args(hint))
    if isinstance(hint, type) and hint not in seen and any(hasattr(hint, mark) for mark in _FIELD_MARKS):
        seen.add(hint)
        if any(name in redact or is_secret(name) for name in getattr(hint, "_fields", ())):
            return True
        inner += hints.resolve(hint).values()
    return any(_has_secret_field(one, redact, seen) for one in inner)


def name_of(function: Any) -> str:
    """Return the name of a function on all hosts: module and name, or the registered name of a task.

    Raises BadCall for anything that workers cannot find by its name, and for functions built into Python.
    """
    if hasattr(function, "function"):
        return str(function.name)
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not name or "." in name or "<" in name or isinstance(function, type):
        raise _nameless(function, name)
    if module in _MAIN:
        if main_file(module) is None:
            raise BadCall(
                f"{name} belongs to a program without a file, such as an interactive session, so no worker finds it",
                hint=f"save it in a module, such as tasks.py, and import it, {_PICKLE}",
            )
        module = main_name(module)
    if (
        isinstance(function, types.BuiltinFunctionType)
        and module.partition(".")[0] in sys.stdlib_module_names
    ):
        message = f"{name} is built into Python, and workers run functions of the modules that they were told to load"
        raise BadCall(message, hint=f"call it in {_OWN}, or use an Executor with max_workers=…")
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
