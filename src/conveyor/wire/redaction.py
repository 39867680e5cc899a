"""Redaction: what people may see of a job's arguments and texts, without secrets.

A value is hidden if its name (of a parameter, or the key of a mapping at any depth) suggests a secret, and so is the
password of a URL in any string. This applies to what is shown and what is kept for people; the job itself travels
unchanged. The producer knows the names of the parameters, so a call with anything to hide carries them
(`Call.labels`), and what is hidden does not depend on the process that shows it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

from conveyor.wire.objects import ObjectData, label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Formatter = Callable[[str, Any], Any]


class Labels(NamedTuple):
    """The names that show which arguments of a task are secret; as an array, part of a call."""

    names: tuple[str, ...] = ()
    """Positional parameters, as in `Signature.names`."""
    hidden: tuple[str, ...] = ()
    """Parameters and mapping keys that are secret whatever their names."""
    formatted: tuple[str, ...] = ()
    """Parameters and mapping keys that a formatter of the producer changes; hidden by processes without it."""

    @property
    def may_hide(self) -> bool:
        """True if arguments with these names may have to be hidden."""
        return bool(self.hidden or self.formatted) or any(map(is_secret, self.names))

    def over(self, other: Labels) -> Labels:
        """Return these labels with what only `other` knows."""
        if not any(other):
            return self
        return Labels(self.names or other.names, self.hidden + other.hidden, self.formatted + other.formatted)


class ResultOf(str):
    """Stands for an argument that is the result of other jobs; its text has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Arguments(Protocol):
    """A call, as far as it is needed here."""

    @property
    def task(self) -> str:
        """The name of the task; empty for a plain item."""

    @property
    def labels(self) -> Labels:
        """The labels that the producer set."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values of its headers."""

    @property
    def inputs(self) -> Sequence[tuple[int | str, str, tuple[str, ...]]]:
        """Position or name of each argument that is the result of other jobs, what it is, and queue and id of these."""

    def item_data(self) -> Any:
        """Return the plain item."""

    def positional(self) -> list[Any]:
        """Return the positional arguments."""

    def named(self) -> dict[str, Any]:
        """Return the keyword arguments."""


#: Returns the labels of a task by its name, as `conveyor.tasks.registry.labels` does.
LabelsOf: TypeAlias = "Callable[[str], Labels]"

#: Shown in place of a hidden value.
MASK = "•••"
#: Max depth that is shown; deeper values are replaced by MORE.
MAX_DEPTH = 100
MORE = "…"

_SECRET = re.compile(r"passw(?:or)?d|secret|token|authorization|cookie|credential", re.IGNORECASE)
_JOINED_KEY = re.compile(r"(?:api|access|auth|private|secret|signing|ssh|encryption)keys?", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_KEY_WORDS = frozenset({"key", "keys"})
# From `://` on, so that it takes linear time.
_ADDRESS = re.compile(r"(?<=://)([^\s/?#@:]*):([^\s/?#]*)@")
_CUT_ADDRESS = re.compile(r"(?<=://)([^\s/?#@:]*):[^\s/?#]*\Z")
# A value that is hidden already, before the end of a word or sentence.
_HIDDEN = rf"""{MASK}[:,.;]?(?:[\s"'<>)\]}}]|\Z)"""
_QUERY = re.compile(rf"""(?<=[?&])([\w.-]{{1,64}}+)=(?!{_HIDDEN})([^\s&#"'<>]+)""")
_ADDRESS_BYTES, _CUT_ADDRESS_BYTES, _QUERY_BYTES = (
    re.compile(one.pattern.encode()) for one in (_ADDRESS, _CUT_ADDRESS, _QUERY)
)
_MASK_BYTES = MASK.encode()
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
#: Characters of a string that are examined beyond those that are shown: its password may end there.
_BEYOND = 4096
#: Min characters of a secret that is hidden in other strings, and max secrets of one call.
MIN_SECRET, MAX_SECRETS = 4, 100
_NOTHING = Labels()
_formatters: list[Formatter] = []
# In free text: a name, with optional quotes that may be escaped, and the separator before its value. All lengths are
# limited, and a word matches only from its beginning, so it takes linear time.
_NAMED = re.compile(r"""(?<![\w-])([\w-]{1,64}+)\\{0,3}["']?\]?[ \t]{0,4}(?:=>|={1,2}|:(?!//))[ \t]{0,4}""")
_QUOTE = re.compile(r"""[bBfFrRuU]{0,2}(\\{0,3}["'])""")
_SCHEME = re.compile(r"(?:Basic|Bearer|Digest|Negotiate|Token)[ \t]{1,4}", re.IGNORECASE)
_MASKED = re.compile(_HIDDEN)
_WORD = re.compile(r"""(?:[^\s,;&"'<>)\]}\\]|\\(?!["']))*""")
_HEADERS, _HEADER_VALUE = re.compile(r"cookie|authorization", re.IGNORECASE), re.compile(r"""[^"'\n]*""")
# Colors and other control sequences of terminals.
_COLORS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_TYPES = re.compile(r"(?:Error|Exception|Warning|Exit|Interrupt)\Z")


def register(formatter: Formatter) -> None:
    """Add a function `formatter(name, value)` that returns what to show for a named value, or the value itself.

    The name is that of a parameter or a mapping key. The formatter runs before the rules of this module, and its
    result is still subject to them. If it raises, the value is hidden. It applies to this process: register it in a
    module that producers and workers load. A process without it hides the values that it changed in the producer.
    """
    _formatters.append(formatter)


def no_labels(_: str) -> Labels:
    """Return empty labels for any task."""
    return _NOTHING


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return True if a name suggests a secret: `password`, `apiKey`, `X-Auth-Token`, but not `monkey`."""
    if _SECRET.search(name) or _JOINED_KEY.search(name):
        return True
    return not _KEY_WORDS.isdisjoint(word.lower() for word in _WORDS.findall(name))


def redacted(value: Any, labels: Labels = _NOTHING) -> Any:
    """Return a copy of a decoded value without secrets; `labels` has further keys to hide."""
    return _redacted(value, labels, 0)


def escaped(text: str) -> str:
    """Return a string as one line, with escapes for characters that could forge a line or control a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def redacted_text(text: str, *, cut: bool = False) -> str:
    """Return a text of people or programs (a message, a traceback, a line of a log) without secrets.

    Hidden are the values after names that suggest one (`password=x`, `"token": "x"`, `Authorization: Bearer x`), and
    passwords in URLs. A secret without its name cannot be recognized. Takes linear time.
    Colors for a terminal, which may stand between a name and its value, are left out. Of a text that is `cut` the end
    may be the beginning of a password.
    """
    # Colors may part a name from its value; and what looks like one may have the first letter of a name in it.
    plain = _COLORS.sub("", text)
    if plain != text:
        plain = _COLORS.sub("", _without_named(text))
    shown = str(_redacted(_without_named(plain), _NOTHING, 0))
    return _CUT_ADDRESS.sub(rf"\1:{MASK}", shown) if cut else shown


def _without_named(text: str) -> str:
    """Return a text without the values after names that suggest secrets."""
    pieces: list[str] = []
    done = 0
    for found in _NAMED.finditer(text):
        name = found[1]
        if found.start() < done or not is_secret(name) or _TYPES.search(name):
            continue
        header = ":" in found[0] and _HEADERS.search(name) is not None
        if not header and _MASKED.match(text, found.end()):
            continue
        end = _value_end(text, found.end(), header=header)
        if end > found.end():
            pieces += text[done : found.end()], MASK
            done = end
    return "".join((*pieces, text[done:]))


def _value_end(text: str, start: int, *, header: bool) -> int:
    """Return the end of the value at `start`; if it is unclear, the end of the line."""
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    quoted = _QUOTE.match(text, start)
    if quoted:
        quote, at = quoted[1], quoted.end()
        while (at := text.find(quote, at, line_end)) >= 0:
            if text[at - 1] != "\\":
                return at + len(quote)
            at += 1
        return line_end
    if text[start : start + 1] in {"{", "[", "("}:
        return line_end
    value = _HEADER_VALUE.match(text, start) if header else None
    if value:
        return value.end()
    scheme = _SCHEME.match(text, start)
    word = _WORD.match(text, scheme.end() if scheme else start)
    return word.end() if word else start


def redacted_arguments(call: Arguments, labels: Labels = _NOTHING) -> list[tuple[str, Any]]:
    """Return name and redacted value of each argument of a call; an empty name if it is unknown.

    `labels` is what this process knows of the task, in addition to the call's labels. Raises ValueError or
    msgspec.MsgspecError if the arguments are invalid.
    """
    labels = call.labels.over(labels)
    return [
        (name, redacted(_shown(key, value, labels), labels)) for name, key, value in _arguments(call, labels)
    ]


def redacted_headers(call: Arguments, labels: Labels = _NOTHING) -> dict[str, str]:
    """Return the headers of a call without secrets. `labels` as in `redacted_arguments`."""
    labels = call.labels.over(labels)
    return {name: str(redacted(_shown(name, value, labels), labels)) for name, value in call.headers}


def preview(call: Arguments, labels: Labels = _NOTHING, room: int = 120) -> str:
    """Return the arguments of a call as one line of at most `room` characters, without secrets. Never raises.

    It looks like Python: `url='https://example.org', depth=2`. `labels` as in `redacted_arguments`.
    """
    try:
        return _joined(_previewed(call, call.labels.over(labels), room), room)
    except (msgspec.MsgspecError, ValueError) as error:
        return _joined(iter([f"undecodable: {error}"]), room)


def shown(value: Any, room: int = 120) -> str:
    """Return a decoded value in one line, without secrets, in about `room` characters. Raises what formatters raise."""
    return _joined(_pieces(value, room, _NOTHING, 0), room)


def secret_texts(call: Arguments, labels: Labels = _NOTHING) -> list[str]:
    """Return the hidden values of a call and its headers, to be hidden in what its task writes. Never raises.

    The longest come first. Values of less than four characters are left out: any text contains them.
    """
    labels = call.labels.over(labels)
    found: dict[str, None] = {}

    def look(value: Any, depth: int, *, hidden: bool) -> None:
        kind = type(value)
        if depth > MAX_DEPTH or len(found) >= MAX_SECRETS or kind is bool:
            return
        for key, item in _items(value):
            look(item, depth + 1, hidden=hidden or _shown(key, item, labels) is not item)
        if kind is str and not hidden:
            found.update((one, None) for _, one in _ADDRESS.findall(value))
            found.update((one, None) for name, one in _QUERY.findall(value) if is_secret(name))
        elif hidden and kind in {str, bytes, int, float}:
            text = (
                value.decode(errors="replace")
                if kind is bytes
                else _plain(value)
                if kind is not str
                else value
            )
            found.update(((text, None), (repr(text)[1:-1], None)))

    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        for _, name, value in _arguments(call, labels):
            look(value, 0, hidden=_shown(name, value, labels) is not value)
    for name, value in call.headers:
        look(value, 0, hidden=_shown(name, value, labels) is not value)
    return sorted((one for one in found if len(one) >= MIN_SECRET), key=len, reverse=True)


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets, which `secret_texts` returns."""
    for one in secrets:
        text = text.replace(one, MASK)
    return text


def formatted_names(call: Arguments, labels: Labels) -> tuple[str, ...]:
    """Return the names, at any depth, of the values that formatters of this process change or cannot read."""
    found: dict[str, None] = {}

    def look(key: Any, value: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            return
        name = _name(key)
        if isinstance(name, str) and _formatted(name, value) is not value:
            found[name] = None
        for inner, item in _items(value):
            look(inner, item, depth + 1)

    if _formatters:
        for _, name, value in _arguments(call, labels):
            look(name, value, 0)
        for name, value in call.headers:
            look(name, value, 0)
    return tuple(found)


def has_formatters() -> bool:
    """Return True if there are formatters."""
    return bool(_formatters)


def _previewed(call: Arguments, labels: Labels, room: int) -> Iterator[str]:
    comma = ""
    for label, name, value in _arguments(call, labels):
        yield comma
        if label:
            yield f"{label if label.isidentifier() else repr(label)}="
        yield from _pieces(_shown(name, value, labels), room, labels, 0)
        comma = ", "


def _arguments(call: Arguments, labels: Labels) -> Iterator[tuple[str, Any, Any]]:
    """Yield for each argument its label, the name that shows if it is secret, and its value."""
    if not call.task:
        yield "", None, call.item_data()
        return
    names = labels.names
    rest = names[-1][1:] if names and names[-1].startswith("*") else ""
    known = len(names) - bool(rest)
    inputs = {place: _result_of(kind, jobs) for place, kind, jobs in call.inputs}
    for place, value in enumerate(call.positional()):
        name = names[place] if place < known else ""
        yield name, name or rest, inputs.get(place, value)
    for name, value in call.named().items():
        yield str(name), name, inputs.get(name, value)


def _result_of(kind: str, jobs: Sequence[str]) -> ResultOf:
    if kind != "list" and len(jobs) == 1:
        return ResultOf(f"{'end' if kind == 'end' else 'result'} of {jobs[0].rpartition(' ')[2]}")
    return ResultOf(f"results of {len(jobs):,} job{'' if len(jobs) == 1 else 's'}")


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return key and value of each item of a container or an object; None is the key of one that has none."""
    if type(value) is ObjectData:
        return _items(value.state)
    if type(value) is dict:
        return value.items()
    return ((None, item) for item in value) if type(value) in _BRACKETS else ()


def _name(key: Any) -> Any:
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def _shown(key: Any, value: Any, labels: Labels) -> Any:
    """Return what may be shown of the value with this name."""
    name = _name(key)
    if not isinstance(name, str):
        return value
    if name in labels.hidden or is_secret(name):
        return MASK
    shown = _formatted(name, value)
    return MASK if shown is value and name in labels.formatted else shown


def _formatted(name: str, value: Any) -> Any:
    for formatter in _formatters:
        try:
            value = formatter(name, value)
        except Exception:  # noqa: BLE001 - the user's own code; rather show too little than too much
            return MASK
    return value


def _redacted(value: Any, labels: Labels, depth: int) -> Any:  # noqa: PLR0911 - one return per kind of value
    kind = type(value)
    if kind is str:
        if "://" in value:
            value = _ADDRESS.sub(rf"\1:{MASK}@", value)
        return _QUERY.sub(_queried, value) if "=" in value else value
    if kind is bytes:
        value = _ADDRESS_BYTES.sub(rb"\1:" + _MASK_BYTES + b"@", value)
        return _QUERY_BYTES.sub(_queried, value) if b"=" in value else value
    if depth > MAX_DEPTH:
        return MORE
    if kind is dict:
        return {
            _redacted(key, labels, depth + 1): _redacted(_shown(key, item, labels), labels, depth + 1)
            for key, item in value.items()
        }
    if kind in _BRACKETS:
        return kind(_redacted(item, labels, depth + 1) for item in value)
    if kind is ObjectData:
        return ObjectData(value.name, _redacted(value.state, labels, depth))
    return value


def _queried(found: re.Match[Any]) -> Any:
    """Return a parameter of a URL, without its value if its name suggests a secret."""
    if not is_secret(_name(found[1])):
        return found[0]
    return found[1] + (f"={MASK}" if isinstance(found[1], str) else b"=" + _MASK_BYTES)


def _pieces(value: Any, room: int, labels: Labels, depth: int) -> Iterator[str]:
    """Yield the text of a value in pieces, so that only the beginning of a long one is made."""
    kind = type(value)
    if value is MASK or depth > MAX_DEPTH:
        yield MASK if value is MASK else MORE
    elif kind is str:
        yield repr(_beginning(value, room))
    elif kind is bytes:
        yield repr(_beginning(value, room)).replace(repr(_MASK_BYTES)[2:-1], MASK)
    elif kind is dict:
        yield "{"
        for place, (key, item) in enumerate(value.items()):
            yield ", " if place else ""
            yield from _pieces(key, room, labels, depth + 1)
            yield ": "
            yield from _pieces(_shown(key, item, labels), room, labels, depth + 1)
        yield "}"
    elif kind in _BRACKETS:
        first, last = _BRACKETS[kind]
        yield first
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(item, room, labels, depth + 1)
        yield ",)" if kind is tuple and len(value) == 1 else last
    elif kind is ObjectData and value.parts is not None:
        yield f"{value.title}("
        for place, (name, item) in enumerate(value.parts):
            yield f"{', ' if place else ''}{label_of(name)}"
            yield from _pieces(_shown(name, item, labels), room, labels, depth + 1)
        yield ")"
    else:
        yield _plain(value)


def _beginning(value: Any, room: int) -> Any:
    """Return the beginning of a string or bytes, a little longer than there is room for, without passwords."""
    examined = value[: room + _BEYOND]
    if len(examined) < len(value):
        if isinstance(value, str):
            examined = _CUT_ADDRESS.sub(rf"\1:{MASK}", examined)
        else:
            examined = _CUT_ADDRESS_BYTES.sub(rb"\1:" + _MASK_BYTES, examined)
    return _redacted(examined, _NOTHING, 0)[: room + 1]


def _plain(value: Any) -> str:
    """Return the text of any other value; for an array, its type and shape."""
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"array({value.dtype}, {'x'.join(map(str, value.shape))})"
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the result of a formatter
        return f"<{type(value).__name__}>"


def _joined(pieces: Iterator[str], room: int) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > room:
            return text[: room - 1] + MORE
    return text
