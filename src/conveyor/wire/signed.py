"""Pickles, for those who chose them, signed with a key that only their own processes have.

Reading a pickle can run any code, so none is read before its signature was compared: HMAC-SHA-256 with a key of
CONVEYOR_KEY, or with that in the state folder of an embedded server. A client that can write to the server but has no
key cannot make a process read a pickle of its own.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import io
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

from conveyor.errors import BadCall, Untrusted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Environment variable with the keys, separated by commas: the first signs, any other is still accepted.
KEY_VARIABLE = "CONVEYOR_KEY"
#: Fewest characters of a key.
MIN_KEY = 32
#: What is signed: the arguments of a call, for its task, or any other value.
CALL, VALUE = b"call", b"value"
_TAG_SIZE = 32
#: What a pickle has in it if it takes code along, and the only version of Python that can run this process's code.
_CODE, _PYTHON = b"CodeType", "{}.{}".format(*sys.version_info)
_MAKE = f"set {KEY_VARIABLE} to the same secret for all producers and consumers, made with `openssl rand -base64 32`"

_folders: list[Path] = []


class PickledFunction:
    """A function that travels with its calls, as it was when this was made.

    Raises BadCall if it cannot be pickled, or is not a function.
    It is not data, so it arrives only in a pickle, and that is read only if it was signed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise BadCall(f"{type(function).__qualname__!r} objects cannot be called")
        self.function = function
        self.name, (self.data, _) = name_of(function), pickled(function)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels: the function itself only as bytes."""
        return {"name": self.name, "data": self.data}


def call_function(function: PickledFunction, /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that travelled with its arguments."""
    return unpickled(function.data)(*args, **kwargs)


def use_folder(folder: Path) -> None:
    """Accept the key in the state folder of an embedded server, which is made when something is signed."""
    if folder not in _folders:
        _folders.append(folder)


def sign(content: bytes, purpose: bytes) -> bytes:
    """Return content with its signature. Raises BadCall if this process has no key, and none can be made."""
    keys = _keys() or _made_key()
    return hmac.digest(keys[0], _message(content, purpose), "sha256") + content


def opened(data: bytes, purpose: bytes) -> bytes:
    """Return content that was signed for this purpose. Raises Untrusted if no key of this process has signed it."""
    tag, content = data[:_TAG_SIZE], data[_TAG_SIZE:]
    message = _message(content, purpose)
    try:
        keys = _keys()
    except BadCall as error:
        raise Untrusted(f"a pickled value arrived, but {error.message}", hint=error.hint) from None
    if not keys:
        raise Untrusted(
            "a pickled value arrived, and this process has no key to check its signature", hint=_MAKE
        )
    if not any(hmac.compare_digest(tag, hmac.digest(key, message, "sha256")) for key in keys):
        raise Untrusted(
            "a pickled value arrived whose signature fits no key of this process, so it was not read",
            hint=f"use the same {KEY_VARIABLE} everywhere; if it is the same, another client has written to the server",
        )
    return content


def content_of(data: bytes) -> bytes:
    """Return signed content without a check, to show what needs no trust."""
    return data[_TAG_SIZE:]


def pickled(value: Any) -> tuple[bytes, str]:
    """Return the pickle of a value, by cloudpickle if that is installed, and the version of Python it needs, if any.

    Raises BadCall if there is none.
    """
    try:
        dumps = _cloudpickle()
        hint = "leave out what belongs to this process, such as connections, locks and open files"
    except ImportError:
        from pickle import dumps  # noqa: PLC0415 - only for those who chose it

        hint = "install cloudpickle for functions and classes that are not at module level"
    try:
        data: bytes = dumps(value)
    except Exception as error:  # whatever the object's own methods raise
        raise BadCall(f"it cannot be pickled: {type(error).__name__}: {error}", hint=hint) from error
    return data, _PYTHON if _CODE in data else ""


@functools.cache
def _cloudpickle() -> Callable[[Any], bytes]:
    """Return the function that pickles by cloudpickle. Raises ImportError if it is not installed.

    It refuses open text files, as pickle does, of which cloudpickle would send the content.
    """
    from cloudpickle import Pickler  # noqa: PLC0415 - an optional extra

    known = Pickler.dispatch_table

    def reduce_file(file: io.TextIOWrapper) -> Any:
        if file is sys.stdout or file is sys.stderr:
            return known[io.TextIOWrapper](file)
        raise TypeError(f"cannot pickle {type(file).__name__!r} object")

    class Strict(Pickler):  # type: ignore[misc]
        dispatch_table = known.new_child({io.TextIOWrapper: reduce_file})

    def dumps(value: Any) -> bytes:
        with io.BytesIO() as made:
            Strict(made).dump(value)
            return made.getvalue()

    return dumps


def unpickled(data: bytes, python: str = "") -> Any:
    """Return the value of a pickle that was signed. Raises whatever reading it raises."""
    import pickle  # noqa: PLC0415 - only for those who chose it

    if python not in {"", _PYTHON}:  # which would crash the process
        raise ImportError(f"it has code of Python {python}, which this Python {_PYTHON} cannot run")
    return pickle.loads(data)  # noqa: S301 - the signature was compared


def name_of(value: Any) -> str:
    """Return what people see of a pickled value: `module:name` of a function or class, or else of the value's class."""
    if isinstance(value, PickledFunction):
        return value.name
    try:
        named = value if isinstance(value.__qualname__, str) else type(value)
    except Exception:  # noqa: BLE001 - it has none, or a `__getattr__` that raises something else
        named = type(value)
    return f"{getattr(named, '__module__', None) or ''}:{named.__qualname__}"


def _message(content: bytes, purpose: bytes) -> bytes:
    return len(purpose).to_bytes(4, "big") + purpose + content


def _keys() -> list[bytes]:
    """Return the keys that are accepted, of which the first signs. Raises BadCall if one is unusable."""
    found = [os.fsencode(one.strip()) for one in os.environ.get(KEY_VARIABLE, "").split(",")]
    if any(0 < len(one) < MIN_KEY for one in found):
        raise BadCall(f"a key in {KEY_VARIABLE} has less than {MIN_KEY} characters", hint=_MAKE)
    found = list(filter(None, found))
    for folder in _folders:
        with contextlib.suppress(FileNotFoundError):
            found.append(_key_in(folder / "key"))
    return found


def _key_in(file: Path) -> bytes:
    """Return the key in a file of this user. Raises BadCall if another user or an interrupted write has made it."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as found:
        owner, key = os.fstat(found.fileno()).st_uid, found.read()
    if owner != os.geteuid() or len(key) < MIN_KEY:
        raise BadCall(
            f"the key in {file} belongs to another user, or has less than {MIN_KEY} characters",
            hint="delete the file for a new key; what the old one has signed is not read any more",
        )
    return key


def _made_key() -> list[bytes]:
    """Make the key of the embedded server, which only this user can read, and return it."""
    if not _folders:
        raise BadCall('serializer="pickle" needs a key, which signs what is pickled', hint=_MAKE)
    file = _folders[0] / "key"
    made = file.with_name(f"key-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(secrets.token_hex(MIN_KEY).encode())
            new.flush()
            os.fsync(new.fileno())  # or it could be empty after a power cut
        with contextlib.suppress(FileExistsError):  # another thread or process was faster
            os.link(made, file)
    finally:
        made.unlink(missing_ok=True)
    return [_key_in(file)]
