"""What people may see of a job's arguments: values without secrets, and one line that sums them up.

A value is hidden where the name it is known by (a parameter's, or the key of a mapping at any depth) speaks of a
secret, and the password of a web address wherever one stands in a text. This is for what is shown and what is kept for
people; the job itself travels as it was put.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from conveyor.call import Call

    Formatter = Callable[[str, Any], Any]


class Labels(NamedTuple):
    """What is to be known of a task to tell which of its arguments are secret."""

    names: Sequence[str] = ()
    """Of its positional parameters, as `Signature.names` gives them."""
    hidden: Collection[str] = ()
    """Names of parameters and mapping keys that it says are secret."""


#: Says what is known of a task by its name, as `conveyor.tasks.registry.labels` does.
LabelsOf: TypeAlias = "Callable[[str], Labels]"

#: What stands in the place of a hidden value.
MASK = "•••"
#: Nesting that is shown; deeper values are replaced by a sign that there is more.
MOST_DEEP = 100
MORE = "…"

_SECRET = re.compile(r"passw(?:or)?d|secret|token|authorization|cookie|credential", re.IGNORECASE)
_JOINED_KEY = re.compile(r"(?:api|access|auth|private|secret|signing|ssh|encryption)keys?", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_KEY_WORDS = frozenset({"key", "keys"})
# From `://` on, so that the time it takes grows with the text and not with its square.
_ADDRESS = re.compile(r"(?<=://)([^\s/?#@:]*):[^\s/?#]*@")
_CUT_ADDRESS = re.compile(r"(?<=://)([^\s/?#@:]*):[^\s/?#]*\Z")
_ADDRESS_BYTES, _CUT_ADDRESS_BYTES = (re.compile(one.pattern.encode()) for one in (_ADDRESS, _CUT_ADDRESS))
_MASK_BYTES = MASK.encode()
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
#: Characters of one text that are looked at beyond those that are shown: its password may end there.
_BEYOND = 4096
_formatters: list[Formatter] = []
# In free text: a name, perhaps in quotes that are perhaps escaped, and what stands between it and its value. All is
# bounded, and a word is looked at from its beginning alone, so the time it takes grows with the text.
_NAMED = re.compile(r"""(?<![\w-])([\w-]{1,64}+)\\{0,3}["']?\]?[ \t]{0,4}(?:=>|={1,2}|:(?!//))[ \t]{0,4}""")
_QUOTE = re.compile(r"""[bBfFrRuU]{0,2}(\\{0,3}["'])""")
_SCHEME = re.compile(r"(?:Basic|Bearer|Digest|Negotiate|Token)[ \t]{1,4}", re.IGNORECASE)
_WORD = re.compile(r"""(?:[^\s,;&"'<>)\]}\\]|\\(?!["']))*""")
_HEADERS, _HEADER_VALUE = re.compile(r"cookie|authorization", re.IGNORECASE), re.compile(r"""[^"'\n]*""")
# Colours and other orders to a terminal.
_COLOURS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_TYPES = re.compile(r"(?:Error|Exception|Warning|Exit|Interrupt)\Z")


def register(formatter: Formatter) -> None:
    """Have `formatter(name, value)` asked what is shown of each named value; it gives that, or the value itself.

    The name is a parameter's or a mapping key. It is asked before the rules of this module, and what it gives is
    still subject to them. Where it raises, the value is hidden. It holds for this process: register it in a module that
    workers load as well.
    """
    _formatters.append(formatter)


def no_labels(_: str) -> Labels:
    """Know nothing of any task."""
    return Labels()


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Tell whether a name speaks of a secret: `password`, `apiKey`, `X-Auth-Token`, but not `monkey`."""
    if _SECRET.search(name) or _JOINED_KEY.search(name):
        return True
    return not _KEY_WORDS.isdisjoint(word.lower() for word in _WORDS.findall(name))


def redacted(value: Any, hidden: Collection[str] = ()) -> Any:
    """Give a copy of a decoded value in which secrets are replaced; `hidden` names further keys to hide."""
    return _redacted(value, hidden, 0)


def redacted_text(text: str, *, cut: bool = False) -> str:
    """Give a text that people or programs wrote (a message, a traceback, a line of a log) without secrets.

    Hidden is what follows a name that speaks of one (`password=x`, `"token": "x"`, `Authorization: Bearer x`), and the
    password of a web address. A secret without its name beside it cannot be told. It takes linear time.
    Colours for a terminal, which may stand between a name and its value, are left out. Of a text that is `cut` the end
    may be the beginning of a password.
    """
    # Colours may part a name from its value; and what looks like one may have the first letter of a name in it.
    plain = _COLOURS.sub("", text)
    if plain != text:
        plain = _COLOURS.sub("", _without_named(text))
    shown = str(_redacted(_without_named(plain), (), 0))
    return _CUT_ADDRESS.sub(rf"\1:{MASK}", shown) if cut else shown


def _without_named(text: str) -> str:
    """Give a text without the values that follow names which speak of secrets."""
    pieces: list[str] = []
    done = 0
    for found in _NAMED.finditer(text):
        name = found[1]
        if found.start() < done or not is_secret(name) or _TYPES.search(name):
            continue
        header = ":" in found[0] and _HEADERS.search(name) is not None
        end = _value_end(text, found.end(), header=header)
        if end > found.end():
            pieces += text[done : found.end()], MASK
            done = end
    return "".join((*pieces, text[done:]))


def _value_end(text: str, start: int, *, header: bool) -> int:
    """Tell where the value that begins at `start` ends; one whose end cannot be told goes on to the end of its line."""
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


def redacted_arguments(
    call: Call, names: Sequence[str] = (), hidden: Collection[str] = ()
) -> list[tuple[str, Any]]:
    """Give name and redacted value of each argument of a call; an empty name where it is not known.

    `names` are those of the task's positional parameters, as `Signature.names` gives them: only with them can a
    positional argument be told to be secret. Raises ValueError or msgspec.MsgspecError on arguments that are none.
    """
    return [(label, redacted(shown, hidden)) for label, shown in _arguments(call, names, hidden)]


def preview(call: Call, names: Sequence[str] = (), room: int = 120, hidden: Collection[str] = ()) -> str:
    """Give the arguments of a call as one line of at most `room` characters, without secrets; never raises.

    It looks like a call's: `url='https://example.org', depth=2`. `names` and `hidden` as in `redacted_arguments`.
    """
    try:
        return _joined(_previewed(call, names, room, hidden), room)
    except (msgspec.MsgspecError, ValueError) as error:
        return _joined(iter([f"undecodable: {error}"]), room)


def _previewed(call: Call, names: Sequence[str], room: int, hidden: Collection[str]) -> Iterator[str]:
    comma = ""
    for label, shown in _arguments(call, names, hidden):
        yield comma
        if label:
            yield f"{label if label.isidentifier() else repr(label)}="
        yield from _pieces(shown, room, hidden, 0)
        comma = ", "


def _arguments(call: Call, names: Sequence[str], hidden: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Give label and value of each argument, those with secret names masked."""
    if not call.task:
        yield "", call.item()
        return
    rest = names[-1][1:] if names and names[-1].startswith("*") else ""
    known = len(names) - bool(rest)
    for place, value in enumerate(call.positional()):
        name = names[place] if place < known else ""
        yield name, _shown(name or rest, value, hidden)
    for name, value in call.named().items():
        yield str(name), _shown(name, value, hidden)


def _shown(name: Any, value: Any, hidden: Collection[str]) -> Any:
    """Give what may be seen of a value that is known by this name."""
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    if not isinstance(name, str):
        return value
    if name in hidden or is_secret(name):
        return MASK
    for formatter in _formatters:
        try:
            value = formatter(name, value)
        except Exception:  # noqa: BLE001 - somebody else's code; rather too little is shown than too much
            return MASK
    return value


def _redacted(value: Any, hidden: Collection[str], depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _ADDRESS.sub(rf"\1:{MASK}@", value) if "://" in value else value
    if kind is bytes:
        return _ADDRESS_BYTES.sub(rb"\1:" + _MASK_BYTES + b"@", value)
    if depth > MOST_DEEP:
        return MORE
    if kind is dict:
        return {
            _redacted(key, hidden, depth + 1): _redacted(_shown(key, item, hidden), hidden, depth + 1)
            for key, item in value.items()
        }
    if kind in _BRACKETS:
        return kind(_redacted(item, hidden, depth + 1) for item in value)
    return value


def _pieces(value: Any, room: int, hidden: Collection[str], depth: int) -> Iterator[str]:
    """Give the text of a value piece by piece, so that of a long one only the beginning need be made."""
    kind = type(value)
    if value is MASK or depth > MOST_DEEP:
        yield MASK if value is MASK else MORE
    elif kind is str:
        yield repr(_beginning(value, room))
    elif kind is bytes:
        yield repr(_beginning(value, room)).replace(repr(_MASK_BYTES)[2:-1], MASK)
    elif kind is dict:
        yield "{"
        for place, (key, item) in enumerate(value.items()):
            yield ", " if place else ""
            yield from _pieces(key, room, hidden, depth + 1)
            yield ": "
            yield from _pieces(_shown(key, item, hidden), room, hidden, depth + 1)
        yield "}"
    elif kind in _BRACKETS:
        first, last = _BRACKETS[kind]
        yield first
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(item, room, hidden, depth + 1)
        yield ",)" if kind is tuple and len(value) == 1 else last
    else:
        yield _plain(value)


def _beginning(value: Any, room: int) -> Any:
    """Give the beginning of a text or of bytes, a little more than there is room for, without passwords."""
    looked_at = value[: room + _BEYOND]
    if len(looked_at) < len(value):
        if isinstance(value, str):
            looked_at = _CUT_ADDRESS.sub(rf"\1:{MASK}", looked_at)
        else:
            looked_at = _CUT_ADDRESS_BYTES.sub(rb"\1:" + _MASK_BYTES, looked_at)
    return _redacted(looked_at, (), 0)[: room + 1]


def _plain(value: Any) -> str:
    """Give the text of anything else; an array by its kind and shape alone."""
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"array({value.dtype}, {'x'.join(map(str, value.shape))})"
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a whole number of thousands of digits, or what a formatter made
        return f"<{type(value).__name__}>"


def _joined(pieces: Iterator[str], room: int) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > room:
            return text[: room - 1] + MORE
    return text
