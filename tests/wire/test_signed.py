"""Pickles are made only by choice, and read only if a key of this process has signed them, for their purpose."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.msgpack import Ext

from conveyor.errors import BadCall, Untrusted
from conveyor.wire import call, codec, signed
from conveyor.wire.call import FUNCTION, PICKLE, RunOptions
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

KEY, OTHER_KEY = "k" * 32, "o" * 32
READ: list[str] = []
PICKLED = RunOptions(serializer=PICKLE)


class Model:
    """Not data: it has attributes of its own, and no fields."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.factor == self.factor

    __hash__ = None  # type: ignore[assignment]


class Trap:
    def __reduce__(self) -> Any:
        return READ.append, ("the pickle was read",)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "_folders", [])
    monkeypatch.setenv(signed.KEY_VARIABLE, KEY)
    READ.clear()


def predict(model: Model, times: int = 1, *, note: Any = None) -> Any:
    return model.factor * times


def encoded(function: Callable[..., Any], *args: Any, name: str = "predict", **kwargs: Any) -> call.Call:
    (data,) = call.encode_calls(function, name, [(args, kwargs)], PICKLED)
    return call.decode_call(data)


def decoded(job: call.Call) -> Any:
    return signature_of(predict).decode(job.args, job.kwargs, job.task)


def test_values_that_are_not_data_are_refused_without_the_choice() -> None:
    with pytest.raises(BadCall, match="a Model cannot be serialized"):
        codec.encode(Model(3))
    with pytest.raises(BadCall, match="argument 'model': a Model cannot be serialized"):
        call.encode_calls(predict, "predict", [((Model(3),), {})])


@pytest.mark.parametrize("value", [Model(3), {"a": [Model(3), (1, 2)]}, [{Model}, Model], predict, 2**70])
def test_value_is_read_as_it_was(value: Any) -> None:
    assert codec.decode(codec.encode_any(value)) == value


def test_data_is_neither_pickled_nor_signed() -> None:
    value = {"a": (1, {2.5}), "b": [None, b"x"]}
    assert codec.encode_any(value) == codec.encode(value)
    assert bytes(encoded(print, 1, "a", end=value).args) == codec.encode([1, "a"])


def test_only_arguments_that_are_not_data_are_pickled() -> None:
    job = encoded(predict, Model(3), 2, note=[Model(4)])
    assert decoded(job) == ((Model(3), 2), {"note": [Model(4)]})
    model, times = job.positional()
    assert (model.name, times) == (f"{__name__}:Model", 2)
    assert repr(model).startswith("Model(pickled='")
    assert repr(job.named()["note"]).startswith("list(pickled='")


def test_hints_are_checked_before_anything_is_pickled() -> None:
    with pytest.raises(BadCall, match="argument 'times': Expected `int`, got `Trap`"):
        encoded(predict, Model(3), Trap())
    with pytest.raises(BadCall, match="argument 'model': Expected `Model`, got `Trap`"):
        encoded(predict, Trap())


def test_value_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(
        BadCall, match=r"argument 'note': it cannot be pickled: TypeError: cannot pickle"
    ) as caught:
        encoded(predict, Model(3), note=threading.Lock())
    assert caught.value.hint.startswith("leave out what belongs to this process")


@pytest.mark.parametrize("mode", ["r", "rb", "r+", "w"])
def test_open_file_is_refused_at_any_depth(mode: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("dear reader")
    with path.open(mode) as file:
        for value in (file, {"files": [file]}, lambda: file):
            with pytest.raises(BadCall, match="cannot pickle") as caught:
                signed.pickled(value)
            assert "open files" in caught.value.hint


def test_files_in_memory_and_standard_output_are_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed.unpickled(signed.pickled(io.StringIO("text"))[0]).read() == "text"
    with open(os.devnull, "w") as output:  # noqa: PTH123 - as sys.stdout is
        monkeypatch.setattr(sys, "stdout", output)
        assert signed.unpickled(signed.pickled(output)[0]) is output


def test_without_cloudpickle_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setattr(signed, "_cloudpickle", signed._cloudpickle.__wrapped__)  # without its cache
    assert codec.decode(codec.encode_any(Model(3))) == Model(3)
    with pytest.raises(BadCall, match="cannot be pickled") as caught:
        codec.encode_any(lambda: 1)
    assert "install cloudpickle" in caught.value.hint


class Unreadable:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ((__import__, "no_such_module"), "ModuleNotFoundError: No module named 'no_such_module'"),
        ((sys.exit, 3), "SystemExit: 3"),
        ((int, "a"), "ValueError: invalid literal"),
    ],
)
def test_pickle_that_cannot_be_read_is_named(call: Any, reason: str) -> None:
    data = codec.encode_any([Unreadable(*call)])
    with pytest.raises(ValueError, match=f"the pickle of builtins:list cannot be read: {reason}"):
        codec.decode(data)


def test_code_of_another_python_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = encoded(signed.call_function, signed.PickledFunction(lambda: 1), name=FUNCTION)
    code, data = codec.encode_any(lambda: 1), codec.encode_any(Model(3))
    monkeypatch.setattr(signed, "_PYTHON", "3.99")
    reason = r"it has code of Python 3\.\d+, which this Python 3.99 cannot run"
    with pytest.raises(ValueError, match=reason) as caught:
        codec.decode(code)
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(ValueError, match=reason):
        signature_of(signed.call_function).decode(carried.args, carried.kwargs, FUNCTION)
    assert codec.decode(data) == Model(3)


class Proxy:
    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


def test_object_is_named_after_its_class_whatever_its_attributes() -> None:
    assert signed.name_of(Proxy()) == f"{__name__}:Proxy"
    assert signed.name_of(Model(3).__init__) == f"{__name__}:Model.__init__"  # type: ignore[misc]
    assert signed.name_of(Model) == f"{__name__}:Model"


def tampered(data: bytes, place: int) -> bytes:
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


@pytest.mark.parametrize("place", [10, 40, -1])
def test_changed_bytes_are_not_read(place: int) -> None:
    signature = signed.sign(codec.encode_pickled(Trap()), signed.VALUE)
    data = msgspec.msgpack.encode(Ext(125, tampered(signature, place % len(signature))))
    with pytest.raises(Untrusted, match="fits no key of this process"):
        codec.decode(data)
    assert READ == []


@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: msgspec.msgpack.encode([msgspec.Raw(data)])]
)
def test_pickle_without_a_signature_is_not_read(wrap: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="unknown extension type 126"):
        codec.decode(wrap(codec.encode_pickled(Trap())))
    forged = msgspec.structs.replace(
        encoded(predict, Model(3)), args=msgspec.Raw(wrap(codec.encode_pickled(Trap())))
    )
    with pytest.raises(ValueError, match="unknown extension type 126"):
        decoded(forged)
    codec.decode_data(wrap(codec.encode_pickled(Trap())))
    assert READ == []


def test_process_without_a_key_reads_and_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode_any(Trap())
    monkeypatch.delenv(signed.KEY_VARIABLE)
    with pytest.raises(Untrusted, match="this process has no key") as caught:
        codec.decode(data)
    assert "openssl rand -base64 32" in caught.value.hint
    assert repr(codec.decode_data(data)).startswith("Trap(pickled=")
    with pytest.raises(BadCall, match='serializer="pickle" needs a key'):
        codec.encode_any(Model(3))
    assert READ == []


def test_key_is_changed_in_three_steps_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = KEY, f"{KEY},{OTHER_KEY}", f"{OTHER_KEY}, {KEY}", OTHER_KEY
    for step in itertools.pairwise(steps):  # some processes have taken it, others have not
        for writer, reader in (step, step[::-1]):
            monkeypatch.setenv(signed.KEY_VARIABLE, writer)
            data = codec.encode_any(Model(3))
            monkeypatch.setenv(signed.KEY_VARIABLE, reader)
            assert codec.decode(data) == Model(3)
    monkeypatch.setenv(signed.KEY_VARIABLE, KEY)
    with pytest.raises(Untrusted):
        codec.decode(data)


def test_short_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signed.KEY_VARIABLE, f"{KEY},short")
    with pytest.raises(BadCall, match="less than 32 characters"):
        codec.encode_any(Model(3))


def test_reader_with_a_short_key_trusts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode_any(Model(3))
    monkeypatch.setenv(signed.KEY_VARIABLE, "short")
    with pytest.raises(
        Untrusted, match="a pickled value arrived, but a key in CONVEYOR_KEY has less than 32"
    ):
        codec.decode(data)


def test_key_is_any_bytes_without_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        signed.KEY_VARIABLE, f" schl\u00fcssel {os.fsdecode(bytes([255]))} and many more bytes \n"
    )
    assert codec.decode(codec.encode_any(Model(3))) == Model(3)


@pytest.mark.parametrize("content", [b"", b"k" * 31])
def test_empty_or_short_key_file_is_refused(
    content: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = codec.encode_any(Model(3))
    monkeypatch.delenv(signed.KEY_VARIABLE)
    signed.use_folder(tmp_path)
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(Untrusted, match="belongs to another user, or has less than 32 characters"):
        codec.decode(data)
    with pytest.raises(BadCall, match="has less than 32 characters") as caught:
        codec.encode_any(Model(3))
    assert caught.value.hint.startswith("delete the file for a new key")


def test_key_file_of_another_user_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signed.KEY_VARIABLE)
    signed.use_folder(tmp_path)
    codec.encode_any(Model(3))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(BadCall, match="belongs to another user"):
        codec.encode_any(Model(3))


def test_key_file_is_not_read_through_a_link(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signed.KEY_VARIABLE)
    signed.use_folder(tmp_path)
    (tmp_path / "elsewhere").write_text(KEY)
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        codec.encode_any(Model(3))


def test_signature_is_for_the_task_and_all_arguments() -> None:
    job = encoded(predict, Model(3), note=1)
    for other in (
        msgspec.structs.replace(job, task="delete"),
        msgspec.structs.replace(job, kwargs=msgspec.Raw(codec.encode({"note": 2}))),
        msgspec.structs.replace(job, args=msgspec.Raw(codec.encode_any([Model(3)]))),
    ):
        with pytest.raises(Untrusted):
            decoded(other)
    with pytest.raises(Untrusted):  # arguments are no item
        codec.decode(job.args)


@pytest.mark.parametrize("head", [b"", b"\x91", b"\x81\xa1a"])
def test_signed_value_is_not_read_in_arguments(head: bytes) -> None:
    value = head + codec.encode_any(Trap())  # an item, or a result, from elsewhere on the server
    for args, kwargs in ((b"\x91" + value, b"\x80"), (b"\x90", b"\x81\xa5model" + value)):
        with pytest.raises(ValueError, match="unknown extension type 125"):
            signature_of(predict).decode(msgspec.Raw(args), msgspec.Raw(kwargs), "predict")
    assert READ == []


def test_function_that_travels_arrives_only_if_signed() -> None:
    carried = signed.PickledFunction(Model)
    job = encoded(signed.call_function, carried, 3, name=FUNCTION)
    args, kwargs = signature_of(signed.call_function).decode(job.args, job.kwargs, FUNCTION)
    assert signed.call_function(*args, **kwargs) == Model(3)
    for hostile in ("os.system", Model, {"name": "a", "data": pickle.dumps(Trap())}):
        with pytest.raises(BadCall):
            signature_of(signed.call_function).encode((hostile, 1), {})
    made = f"{signed.__name__}:PickledFunction"
    forged = msgspec.msgpack.encode([Ext(127, codec.encode([None, made, {"name": "a", "data": b""}]))])
    with pytest.raises((BadCall, ValueError)):
        signature_of(signed.call_function).decode(
            msgspec.Raw(forged), msgspec.Raw(codec.encode({})), FUNCTION
        )
    assert READ == []


def test_state_folder_has_a_key_of_its_user_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(signed.KEY_VARIABLE)
    signed.use_folder(tmp_path)
    with pytest.raises(Untrusted):
        codec.decode(msgspec.msgpack.encode(Ext(125, bytes(64))))
    assert list(tmp_path.iterdir()) == [], "only who pickles needs a key"
    threads = [threading.Thread(target=codec.encode_any, args=(Model(3),)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_uid == os.geteuid()
    assert codec.decode(codec.encode_any(Model(3))) == Model(3)
    monkeypatch.setenv(signed.KEY_VARIABLE, KEY)
    assert signed.sign(b"", b"")[:32] != file.read_bytes()[:32]
    assert codec.decode(codec.encode_any(Model(5))) == Model(5)


def test_options_of_the_job_say_how_results_travel() -> None:
    assert encoded(predict, Model(3)).options.serializer == PICKLE
    with pytest.raises(BadCall, match='the serializer must be "msgpack" or "pickle"'):
        RunOptions(serializer="json")
