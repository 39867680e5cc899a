"""Values of JSON become arguments, and arguments become equivalent words."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from conveyor import task
from conveyor.errors import BadCall
from conveyor.monitor.typed_input import as_words, bind, convert_value, parameters_of, usage
from conveyor.tasks import Task
from conveyor.wire.call import PutOptions, RunOptions


class Colour(enum.Enum):
    RED = "red"


def paint(
    colour: Colour,
    sizes: list[int],
    names: dict[str, int] | None = None,
    *,
    share: float = 0.5,
    dry: bool = False,
) -> None:
    """Paint something."""


TASK: Task[..., Any] = Task(paint, "paint", PutOptions(), RunOptions())
BY_NAME = {one.name: one for one in parameters_of(TASK)}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("sizes", [1, 2], [1, 2]),
        ("sizes", "[1, 2]", [1, 2]),
        ("colour", "red", Colour.RED),
        ("share", 1, 1.0),
        ("share", "1", 1.0),
        ("dry", True, True),
        ("dry", "yes", True),
        ("names", None, None),
    ],
)
def test_json_value_or_typed_text_becomes_an_argument(name: str, given: Any, value: Any) -> None:
    assert convert_value(TASK, BY_NAME[name], given) == value


@pytest.mark.parametrize(
    ("name", "given"), [("sizes", [1, "x"]), ("dry", 1), ("share", None), ("colour", "blue")]
)
def test_unfitting_value_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(BadCall, match=name):
        convert_value(TASK, BY_NAME[name], given)


def test_formatted_arguments_are_parsed_back() -> None:
    arguments = {"colour": Colour.RED, "sizes": [1, 2], "names": {"a b": 1}, "share": 0.25, "dry": True}
    assert bind(TASK, as_words(arguments, parameters_of(TASK))) == arguments


def enter(
    door: str, password: str = "hunter2", pin: int = 7, token: str = "", link: str = "a://b:c@d"
) -> None:
    """Go in."""


def test_secret_defaults_are_not_shown() -> None:
    guarded = task(redact=["pin"])(enter)
    assert usage(guarded) == "door [password=•••] [pin=•••] [token=] [link=a://b:•••@d]"
    shown = [one.default_shown for one in parameters_of(guarded)]
    assert shown == [None, "•••", "•••", "", "a://b:•••@d"]
