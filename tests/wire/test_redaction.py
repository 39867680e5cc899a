"""Visible arguments: everything but secrets, whatever the arguments are."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import OrderedDict, defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.travel_kit import Color, Film, Key, Order, Pair, Right

from conveyor.wire import call, codec, redaction
from conveyor.wire.redaction import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2"
SECRET_NAMES = [
    "password",
    "user_password",
    "PASSWD",
    "clientSecret",
    "access_token",
    "authtoken",
    "key",
    "api_key",
    "apiKey",
    "APIKEY",
    "X-Api-Key",
    "keys",
    "private_key_file",
    "Authorization",
    "Set-Cookie",
    "credentials",
]
OTHER_NAMES = ["monkey", "keyboard", "keyed", "turkey", "url", "depth", "passage", "author", ""]


@dataclasses.dataclass
class Login:
    name: str
    password: str
    more: Any = None


def call_of(*args: Any, **kwargs: Any) -> call.Call:
    return call.Call("task", codec.Raw(codec.encode(list(args))), codec.Raw(codec.encode(kwargs)), 0.0)


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget afterwards which formatters a test registers."""
    known = list(redaction._formatters)
    yield
    redaction._formatters[:] = known


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_name_hides_its_value(name: str) -> None:
    assert redaction.redacted({name: SECRET}) == {name: redaction.MASK}
    assert redaction.redacted({name: [SECRET]}) == {name: redaction.MASK}
    assert redaction.redacted({name.encode(): SECRET}) == {name.encode(): redaction.MASK}
    assert SECRET not in redaction.preview(call_of(**{name: SECRET}))
    assert SECRET not in redaction.preview(call_of({"nested": ({name: SECRET},)}))
    assert SECRET not in redaction.preview(call_of(SECRET), Labels((name,)))


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_ordinary_name_hides_no_value(name: str) -> None:
    assert redaction.redacted({name: "seen"}) == {name: "seen"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:hunter2@example.org/x", "https://ann:•••@example.org/x"),
        ("redis://:hunter2@localhost:6379", "redis://:•••@localhost:6379"),
        ("redis://:hunt@er2@localhost", "redis://:•••@localhost"),
        ("from a://b:hunter2@c to d://e:hunter2@f", "from a://b:•••@c to d://e:•••@f"),
        ("https://example.org:8080/a@b", "https://example.org:8080/a@b"),
        ("ssh://git@example.org", "ssh://git@example.org"),
        ("https://example.org/?a=1&token=hunter2#b", "https://example.org/?a=1&token=•••#b"),
        ("/call?api_key=hunter2&monkey=1", "/call?api_key=•••&monkey=1"),
        ("12:30@noon", "12:30@noon"),
    ],
)
def test_password_in_a_url_is_hidden_anywhere(text: str, shown: str) -> None:
    assert redaction.redacted(text) == shown
    assert redaction.redacted([{"url": text}]) == [{"url": shown}]
    assert redaction.redacted(text.encode()) == shown.encode()
    assert redaction.preview(call_of(text)) == repr(shown)


@pytest.mark.parametrize("before", [0, 80, 110, 119, 4000])
@pytest.mark.parametrize("length", [8, 100, 5000, 100_000])
def test_password_is_hidden_at_a_cut(before: int, length: int) -> None:
    text = "x" * before + " https://ann:" + "S" * length + "@example.org"
    assert "S" not in redaction.preview(call_of(text))
    assert "S" not in redaction.preview(call_of(text.encode()))


def test_preview_resembles_a_call() -> None:
    one = call_of("https://example.org", 2, deep=True)
    assert redaction.preview(one, Labels(("url", "depth"))) == "url='https://example.org', depth=2, deep=True"
    assert redaction.preview(one) == "'https://example.org', 2, deep=True"
    assert redaction.preview(call_of((1,), [], {}, {"a": {2}})) == "(1,), [], {}, {'a': {2}}"
    assert redaction.preview(call_of(password="x", rest=1)) == "password=•••, rest=1"
    assert redaction.preview(call_of(np.zeros((2, 3)))) == "array(float64, 2x3)"
    assert redaction.preview(call_of(10**5000)).startswith("int('0x31e2")
    assert redaction.preview(call_of()) == ""


def test_object_is_shown_like_a_call_without_its_secrets() -> None:
    login = Login("ada", SECRET, [Login("eve", SECRET)])
    shown = "Login(name='ada', password=•••, more=[Login(name='eve', password=•••, more=None)])"
    assert redaction.preview(call_of(login)) == shown
    assert repr(redaction.redacted(call_of(login).positional())) == f"[{shown.replace('•••', repr('•••'))}]"
    assert redaction.secret_texts(call_of(login)) == [SECRET]
    assert redaction.preview(call_of(Pair(1, OrderedDict(token=SECRET)))) == (
        "Pair(left=1, right=OrderedDict({'token': •••}))"
    )
    assert (
        redaction.preview(call_of(Color.RED, Right(3), Fraction(1, 2)))
        == "Color.RED, Right(3), Fraction(1, 2)"
    )
    assert redaction.preview(call_of(defaultdict(list, key=SECRET))) == "defaultdict('list', {'key': •••})"
    assert redaction.preview(call_of(Order(number=1))) == "Order(number=1, lines=[])"
    assert redaction.preview(call_of(login, Key("a", 3)), Labels(hidden=("more", "number"))) == (
        "Login(name='ada', password=•••, more=•••), Key(name='a', number=•••)"
    )
    assert SECRET not in redaction.preview(call_of({Key(f"https://me:{SECRET}@example.org"): 1}))


def test_formatter_sees_the_fields_of_objects(registered: None) -> None:
    redaction.register(lambda name, value: "…" if name == "title" else value)
    assert redaction.preview(call_of(Film("Metropolis"))) == "Film(title='…', tags=[])"
    assert redaction.formatted_names(call_of([Film("Metropolis")]), Labels()) == ("title",)


def test_secret_variadic_parameter_hides_all_its_values() -> None:
    one = call_of("a", "b", "c")
    assert redaction.preview(one, Labels(("first", "*tokens"))) == "first='a', •••, •••"
    assert redaction.preview(one, Labels(("first", "*others"))) == "first='a', 'b', 'c'"


def test_item_is_shown_unchanged_except_for_secrets() -> None:
    (data,) = call.encode_items([{"password": SECRET, "size": 5}])
    assert redaction.preview(call.decode_call(data)) == "{'password': •••, 'size': 5}"


def test_task_can_name_more_secrets() -> None:
    one = call_of("4000 1234", {"card": "4000 1234"}, pin=1)
    labels = Labels(("card",), ("card", "pin"))
    assert redaction.preview(one, labels) == "card=•••, {'card': •••}, pin=•••"
    assert redaction.redacted_arguments(one, labels) == [
        ("card", redaction.MASK),
        ("", {"card": redaction.MASK}),
        ("pin", redaction.MASK),
    ]


def test_registered_formatter_decides_and_hides_rejected_values(
    registered: None,
) -> None:
    redaction.register(lambda name, value: f"…{value[-2:]}" if name == "iban" else value)
    assert redaction.redacted({"iban": "DE1234", "other": 5}) == {"iban": "…34", "other": 5}
    assert redaction.preview(call_of(iban="DE1234")) == "iban='…34'"
    assert redaction.preview(call_of(iban=5)) == "iban=•••"
    assert redaction.preview(call_of(password="x")) == "password=•••"


def test_secret_values_are_found_in_other_texts() -> None:
    one = call_of(
        "ada", "it's hunter2", {"nested": [{"token": b"hunter3"}, "https://me:hunter4@x/?key=hunter5"]}, "pin"
    )
    found = redaction.secret_texts(one, Labels(("user", "password", "more", "secret")))
    assert set(found) == {"it's hunter2", "hunter3", "hunter4", "hunter5"}
    said = "no ada, it's hunter2, " + repr("it's hunter2") + ", hunter5 and pin"
    assert redaction.without(said, found) == 'no ada, •••, "•••", ••• and pin'


def test_unreadable_arguments_are_reported() -> None:
    broken = call.Call("task", codec.Raw(b"\xc1"), codec.Raw(b"\x80"), 0.0)
    assert redaction.preview(broken).startswith("undecodable: ")
    assert len(redaction.preview(call.Call("task", codec.Raw(b"\x05"), codec.Raw(b"\x05"), 0.0))) < 120


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=20,
)
MARKED = st.recursive(
    st.sampled_from(SECRET_NAMES).map(lambda name: {name: SECRET}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
        | st.tuples(inner)
    ),
    max_leaves=10,
)


@given(st.lists(VALUES, max_size=4), st.integers(1, 200))
def test_preview_is_a_bounded_printable_line(args: list[Any], room: int) -> None:
    text = redaction.preview(call_of(*args), room=room)
    assert len(text) <= room
    assert text.isprintable()


@given(VALUES)
def test_redaction_is_idempotent(value: Any) -> None:
    once = redaction.redacted(value)
    assert repr(redaction.redacted(once)) == repr(once)


@given(VALUES)
def test_secret_values_of_any_arguments_are_strings(value: Any) -> None:
    found = redaction.secret_texts(call_of(value, {"password": value}))
    assert all(isinstance(one, str) for one in found)
    assert found == sorted(found, key=len, reverse=True)


@given(MARKED, st.integers(10, 300))
def test_secret_is_hidden_at_any_depth(value: Any, room: int) -> None:
    assert SECRET not in repr(redaction.redacted(value))
    assert not re.search(r"hunt", redaction.preview(call_of(value, more=value), room=room))


def test_cyclic_brackets_are_cut() -> None:
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    assert "end" not in repr(redaction.redacted(deep))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2 next", "password=••• next"),
        ("{'api_key': 'hunter2', 'a': 1}", "{'api_key': •••, 'a': 1}"),
        (r'{"token": "hunt\"hunter2", "x": 1}', '{"token": •••, "x": 1}'),
        (r'"{\"token\": \"hunter2\", \"x\": 1}"', r'"{\"token\": •••, \"x\": 1}"'),
        ("    connect(password=b'hunter2', x=1)", "    connect(password=•••, x=1)"),
        ("env['API_KEY'] = 'hunter2'", "env['API_KEY'] = •••"),
        ("X-Auth-Token: hunter2\nnext", "X-Auth-Token: •••\nnext"),
        ("-H 'Authorization: Bearer hunter2' x", "-H 'Authorization: •••' x"),
        ("Cookie: a=hunter2; b=hunter2\nnext", "Cookie: •••\nnext"),
        ("https://x/?token=hunter2&x=1", "https://x/?token=•••&x=1"),
        ("token: postgres://u:hunter2@h/x", "token: •••"),
        ("at postgres://u:hunter2@h/x", "at postgres://u:•••@h/x"),
        ("passwords={'a': 'hunter2'} x", "passwords=•••"),
        ("password='hunter2, cut", "password=•••"),
        (r"password=\hunter2", "password=•••"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=••• psql"),
        ("KeyError: 'token'", "KeyError: 'token'"),
        ("monkey=3, jobs: 5, secret", "monkey=3, jobs: 5, secret"),
        ("message='password=hunter2'", "message='password=•••'"),
    ],
)
def test_value_next_to_a_secret_name_is_hidden_in_free_text(text: str, shown: str) -> None:
    assert redaction.redacted_text(text) == shown
    assert redaction.redacted_text(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mtoken\x1b[0m=x", "token=•••"),
        ("\x1b[1;38;5;200mpassword\x1b[m: \x1b[2mx\x1b[0m", "password: •••"),
        ("pass\x1b[1mword=x", "password=•••"),
        ("\x9b31mtoken\x9b0m=x", "token=•••"),
        ("\x1b]8;;https://a\x1b\\token\x1b]8;;\x07=x", "token=•••"),
        ("https:\x1b[4m//me:x@example.org", f"https://me:{redaction.MASK}@example.org"),
    ],
)
def test_terminal_colors_hide_no_name_and_are_removed(text: str, shown: str) -> None:
    assert redaction.redacted_text(text) == shown


@given(
    st.sampled_from(SECRET_NAMES),
    st.sampled_from(["{}={}", "{}: {}", "'{}': '{}'", '"{}" : "{}"']),
    st.text(),
)
@example("password", "{}={}", "\x9b")  # the start of an order to a terminal that would end with the p
@example("password", "{}={}", "\x1b[31")
def test_named_secret_is_hidden_in_any_text(name: str, form: str, before: str) -> None:
    assert SECRET not in redaction.redacted_text(f"{before} {form.format(name, SECRET)}")


UNITS = st.text(alphabet="a =:'\"\\\n{[/-@b•", min_size=1, max_size=6) | st.sampled_from(
    ["password=", "password='", "token : ", "'key': {", "://a:", 'secret=\\"', "Cookie: ", "x" * 64]
)


def seconds_for(text: str) -> float:
    begun = time.thread_time()  # not that of others
    redaction.redacted_text(text)
    return time.thread_time() - begun


@settings(max_examples=60, deadline=None)
@given(st.lists(UNITS, min_size=1, max_size=3).map("".join))
def test_free_text_is_redacted_in_linear_time(unit: str) -> None:
    """20 KB of anything are a matter of milliseconds; a square would be some hundred times as much."""
    text = (unit * 20_000)[:20_000]
    assert min(seconds_for(text) for _ in range(3)) < 0.1


@pytest.mark.parametrize(
    "text",
    [
        "no answer from redis://h?password=•••: connection refused",
        "redis://ann:•••@h, redis://:•••@[:•••",
        "token=•••: no",
    ],
)
def test_hidden_values_keep_the_text_after_them(text: str) -> None:
    assert redaction.redacted(text) == text
    assert redaction.redacted_text(text) == text


@pytest.mark.parametrize(
    "text", ["password=•••/x9", "password=•••x9", "Cookie: •••; id=x9", "http://h?token=•••x9"]
)
def test_value_that_only_starts_like_a_mask_is_hidden(text: str) -> None:
    assert "x9" not in redaction.redacted_text(text)
