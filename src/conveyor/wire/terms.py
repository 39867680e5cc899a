"""The terms of jobs: limits that they share, unique keys, and the jobs that they come after."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from conveyor.errors import BadCall, JobCancelled, JobFailed
from conveyor.wire.checks import check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a key is made of: the names of parameters, or a function of the arguments.
By = str | tuple[str, ...] | Callable[..., object] | None
#: How the jobs before must have ended.
When = Literal["done", "failed", "ended"]
#: Max jobs that may start within a period, and characters of a key.
MAX_STARTS, MAX_KEY = 10_000, 120
#: Max seconds of a period.
MAX_PERIOD = 31 * 86_400.0
#: Those of one call: positional, and by name.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_POLICIES = {"done": "d", "failed": "f", "ended": "e"}


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs may run at a time, and how many may start within a period, on all consumers together.

    It counts the jobs of a task, or with `name` those of all tasks with a limit of this name on the queue. With `by`,
    the names of parameters or a function of the arguments, it counts for each value apart, and the values take turns:
    none has to wait until the many jobs of another have run. A job over its limit is deferred, and no worker meets it.
    """

    running: int = 0
    """Max jobs that run at a time; 0 for no limit."""
    starts: int = 0
    """Max jobs that start within any `per` seconds, by the server's clock; 0 for no limit."""
    per: float | timedelta = 60.0
    by: By = None
    name: str = ""
    in_order: bool = False
    """One runs at a time, in the order of the puts, and one that is retried is not overtaken."""

    def __post_init__(self) -> None:
        check_whole("running", self.running, 1_000_000)
        check_whole("starts", self.starts, MAX_STARTS)
        _check_by(self.by)
        if not 0.001 <= self.seconds <= MAX_PERIOD:  # noqa: PLR2004 - the unit of the protocol
            raise BadCall(f"per must be between 0.001 and {MAX_PERIOD:.0f} seconds, got {self.per!r:.80}")
        if self.in_order and self.running > 1:
            raise BadCall(f"jobs in order run one at a time, got running={self.running}", hint="leave it out")

    @property
    def seconds(self) -> float:
        """The seconds of the period."""
        return _seconds(self.per)

    @property
    def limits_nothing(self) -> bool:
        """True if it has no effect on any job."""
        return not (self.running or self.starts or self.in_order or self.by is not None)

    def key(self, task: str, function: Any, call: Arguments) -> str:
        """Return the key of the limit for a call, by the name of its task and its arguments."""
        name = self.name or task
        return _short(name if self.by is None else f"{name} {_value(self.by, function, call)}")


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """There is only one job at a time with the same key; the handle of a further one is that of the job that is there.

    The key consists of the task and its arguments, or of the parameters named by `by`, or what the function `by`
    returns for the arguments.
    """

    by: By = None
    until: Literal["over", "started"] = "over"
    """The key is free once the job is over, or already once it starts."""
    seconds: float | timedelta | None = None
    """The key is free so long after the put instead: at most one job per period."""
    replace: bool = False
    """A job that still waits gets the new arguments; if it is delayed, the delay begins again."""

    def __post_init__(self) -> None:
        _check_by(self.by)
        if self.until not in {"over", "started"}:
            raise BadCall(f'until must be "over" or "started", got {self.until!r:.80}')
        if self.seconds is not None and not 0.001 <= _seconds(self.seconds) <= MAX_PERIOD:  # noqa: PLR2004
            raise BadCall(f"seconds must be between 0.001 and {MAX_PERIOD:.0f}, got {self.seconds!r:.80}")

    @property
    def holds(self) -> float:
        """The seconds for which the key holds; 0 until the job is over, -1 until it starts."""
        if self.seconds is not None:
            return _seconds(self.seconds)
        return 0.0 if self.until == "over" else -1.0

    def key(self, task: str, function: Any, call: Arguments, encoded: bytes) -> str:
        """Return the key of a call, by its arguments or, without `by`, by their bytes."""
        if self.by is None:
            return f"{_short(task)} {hashlib.sha1(encoded, usedforsecurity=False).hexdigest()}"
        return _short(f"{task} {_value(self.by, function, call)}")


class JobEnd(NamedTuple):
    """How a job has ended, for its hooks."""

    id: str
    queue: str
    task: str
    """Empty if it ended without a run, as a job that was cancelled in the queue."""
    state: str
    """done, failed, lost or cancelled."""
    result: Any
    """None if there is none."""
    error: JobFailed | JobCancelled | None
    seconds: float
    """Of the last run."""


class Hook(NamedTuple):
    """A function that is submitted when a job ends, its further arguments by name, and its queue."""

    function: Callable[..., object]
    arguments: dict[str, Any]
    queue: str | None = None
    """None for that of the job."""

    @classmethod
    def of(cls, function: Any) -> Hook:
        """Return a function as a hook, or a task as one on its own queue. Raises BadCall for anything else."""
        if isinstance(function, Hook):
            return function
        if not callable(function):
            raise BadCall(
                f"a hook must be a task or a function, got {function!r:.80}", hint="or use webhook(url)"
            )
        return cls(function, {}, getattr(getattr(function, "put", None), "queue", None))


class Input:
    """Stands in the arguments of a job for the result of another one, or for the results of several."""

    __slots__ = ("jobs", "many")

    def __init__(self, jobs: tuple[str, ...], *, many: bool) -> None:
        self.jobs = jobs
        """Each as queue and id."""
        self.many = many

    def __repr__(self) -> str:
        return f"results_of({', '.join(self.jobs)})" if self.many else f"result_of({self.jobs[0]})"


class NotYet:
    """Stands for an input while the other arguments of its call are encoded."""


NOT_YET = NotYet()


#: What an input is: the result of a job, the list of several results, or how a job has ended (a JobEnd).
InputKind = Literal["one", "list", "end"]
#: Where an input goes: the position or name of the argument, what it is, and of which jobs.
Place = tuple[int | str, InputKind, tuple[str, ...]]


def has_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return True if an argument is the result of another job, or a list of results."""
    for value in (*args, *kwargs.values()) if kwargs else args:
        kind = type(value)
        if kind is Input or ((kind is list or kind is tuple) and value and type(value[0]) is Input):
            return True
    return False


def _input_of(value: object) -> Input | None:
    if type(value) is Input:
        return value
    if type(value) in {list, tuple} and value and type(value[0]) is Input:  # type: ignore[index]
        if not all(type(one) is Input and not one.many for one in value):  # type: ignore[attr-defined]
            raise BadCall("a list with results of other jobs can hold nothing else", hint="pass two lists")
        return Input(tuple(one.jobs[0] for one in value), many=True)  # type: ignore[attr-defined]
    return None


def places_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the inputs among the arguments of a call. Raises BadCall for a list that has other values as well."""
    named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    found = [(place, _input_of(value)) for place, value in named]
    return tuple((place, "list" if one.many else "one", one.jobs) for place, one in found if one is not None)


def without_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Return a call with NOT_YET in the place of each input."""
    return (
        tuple(NOT_YET if _input_of(one) else one for one in args),
        {name: NOT_YET if _input_of(one) else one for name, one in kwargs.items()},
    )


def policy_of(when: str, *, takes_inputs: bool) -> str:
    """Return how scripts write the condition. Raises BadCall if there is no such condition."""
    if when not in _POLICIES:
        raise BadCall(f'when must be "done", "failed" or "ended", got {when!r:.80}')
    return _POLICIES[when] + ("i" if takes_inputs else "")


def _value(by: By, function: Any, call: Arguments) -> str:
    """Return what a key depends on. Raises BadCall, and what a function of the user's raises."""
    args, kwargs = call
    if callable(by):
        _refuse_inputs(args, kwargs)
        return str(by(*args, **kwargs))
    try:
        bound = inspect.signature(getattr(function, "function", function)).bind(*args, **kwargs)
    except TypeError as error:
        raise BadCall(str(error)) from None
    bound.apply_defaults()
    names = (by,) if isinstance(by, str) else by or ()
    unknown = [name for name in names if name not in bound.arguments]
    if unknown:
        raise BadCall(f"the task has no parameter {unknown[0]!r}", hint="`by` names parameters of the task")
    named = {name: bound.arguments[name] for name in names}
    _refuse_inputs((), named)
    return " ".join(repr(in_order(value)) for value in named.values())


def _refuse_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if has_inputs(args, kwargs):
        raise BadCall("a key cannot depend on arguments that are results of other jobs", hint="use `by=None`")


def in_order(value: Any) -> Any:
    """Return what is the same for values that travel alike: plain data, with sets and mappings sorted."""
    plain = msgspec.to_builtins(value, order="sorted", enc_hook=str)
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _short(text: str) -> str:
    """Return a key of limited length, in one line; another one becomes its digest."""
    if len(text) <= MAX_KEY and "\n" not in text:
        return text
    return (
        text[:40].partition("\n")[0]
        + " "
        + hashlib.sha1(text.encode(errors="replace"), usedforsecurity=False).hexdigest()
    )


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _check_by(by: object) -> None:
    if by is None or callable(by) or isinstance(by, str):
        return
    if not (isinstance(by, tuple) and by and all(isinstance(one, str) for one in by)):
        raise BadCall(f"by must name parameters, or be a function of the arguments, got {by!r:.80}")
