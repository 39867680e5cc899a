"""Words become arguments by the type hints of the order."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from conveyor.cli.output import document, in_one_line, value_lines
from conveyor.errors import BadCall
from conveyor.monitor.typed_input import as_words, bind, parameters_of, type_words, usage
from conveyor.tasks import Task
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.codec import decode_data, encode
from conveyor.wire.objects import ObjectData


def order(
    url: str,
    kind: Literal["plain", "rich"] = "plain",
    size: int | None = None,
    *,
    share: Annotated[float, "how much"] = 0.5,
    loud: bool = False,
    tags: list[str] = (),  # type: ignore[assignment]
) -> None:
    """Take all sorts of things."""


TASK: Task[..., Any] = Task(order, "order", PutOptions(), RunOptions())


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["x"], {"url": "x"}),
        (["https://x/?a=b"], {"url": "https://x/?a=b"}),
        (["url=a=b"], {"url": "a=b"}),
        (["x", "rich", "12"], {"url": "x", "kind": "rich", "size": 12}),
        (["x", "size=12", "share=2", "loud=yes"], {"url": "x", "size": 12, "share": 2.0, "loud": True}),
        (["x", "loud=off", 'tags=["a", "b"]'], {"url": "x", "loud": False, "tags": ["a", "b"]}),
    ],
)
def test_arguments_are_bound_to_parameters(words: list[str], arguments: dict[str, Any]) -> None:
    assert bind(TASK, words) == arguments


@pytest.mark.parametrize(
    "words", [[], ["x", "odd"], ["x", "plain", "1.5"], ["x", "plain", "1", "2"], ["x", "loud=loud"]]
)
def test_unfitting_arguments_are_refused(words: list[str]) -> None:
    with pytest.raises(BadCall):
        bind(TASK, words)


def test_usage_shows_parameters_in_plain_language() -> None:
    assert usage(TASK) == "url [kind=plain] [size=] [share=0.5] [loud=no] [tags=[]]"
    kinds = [one.type_text for one in parameters_of(TASK)[:5]]
    assert kinds == ["text", "one of plain, rich", "a whole number or nothing", "a number", "yes or no"]
    assert parameters_of(TASK)[3].words == "how much"
    assert type_words(bytes) == "bytes"
    assert type_words(Any) == "any value"
    assert type_words(dict[str, int]) == "dict[str, int]"


def test_repeat_command_omits_default_values() -> None:
    given = {"url": "a b", "kind": "plain", "share": 1.0, "loud": True}
    assert as_words(given, parameters_of(TASK)) == ["url=a b", "share=1", "loud=yes"]


def test_objects_in_json_are_mappings_names_and_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    color = ObjectData("shapes:Color", "RED")
    zones = ObjectData("deque", [[ObjectData("ZoneInfo", ["UTC"]), ObjectData("shapes:Right", 3)]])
    document(
        "test/v1", point=ObjectData("shapes:Point", {"x": 1, "color": color, "__private": 1}), zones=zones
    )
    shown = json.loads(capsys.readouterr().out)
    assert (shown["point"], shown["zones"]) == ({"x": 1, "color": "RED"}, ["UTC", 3])


def test_values_without_a_form_in_json_are_strings(capsys: pytest.CaptureFixture[str]) -> None:
    numbers, path = np.array([2.5], dtype=np.longdouble), pathlib.Path("a\udcff")
    document("test/v1", numbers=numbers, path=path, factorial=decode_data(encode(-math.factorial(5000))))
    shown = json.loads(capsys.readouterr().out)
    assert (shown["numbers"], shown["path"]) == (["2.5"], "a\\udcff")
    assert int(shown["factorial"], 16) == -math.factorial(5000)


def test_argument_values_are_shown_in_lines() -> None:
    assert list(value_lines({"a": 1, "bc": [1.5, None]})) == ["a   1", "bc  [1.5, nothing]"]
    assert list(value_lines(list(range(30))))[-1] == "… and 10 more"
    point = ObjectData("shapes:Point", {"x": 1, "color": ObjectData("shapes:Color", "RED")})
    assert list(value_lines(point)) == ["x      1", "color  Color.RED"]
    assert in_one_line(ObjectData("deque", [[1, 2]])) == "deque([1, 2])"
    assert in_one_line("a\x1b[31mb\nc") == "a·[31mb·c"
    assert in_one_line(10**6) == "1,000,000"
    assert in_one_line(10**5000).startswith("a number of ")
    assert in_one_line("x" * 3000).endswith("… (3,000 characters)")
