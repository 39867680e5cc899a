"""Which failures count as similar."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import conveyor
from conveyor.wire import codec, failure, outcome

EXECUTION = f'{Path(conveyor.__file__).parent}/consumer/execution.py", line 71, in run'


def traceback(*frames: str, end: str = "ValueError: no good") -> str:
    lines = [f'  File "{frame}\n    some_code()' for frame in (EXECUTION, *frames)]
    return "\n".join(["Traceback (most recent call last):", *lines, end, ""])


OWN = traceback(
    '/srv/app/films.py", line 12, in cut', '/usr/lib/python3.11/json/decoder.py", line 5, in decode'
)


@pytest.mark.parametrize(
    "other",
    [
        OWN,
        OWN.replace("line 12", "line 99"),
        OWN.replace("/srv/app", "/opt/films"),
        OWN.replace("no good", 'another: File "x.py", line 1, in y'),
        OWN.replace("some_code", "other_code"),
        OWN.replace("/usr/lib/python3.11/json", "/srv/.venv/lib/python3.12/site-packages/fast"),
    ],
)
def test_fingerprint_ignores_message_line_and_folder(other: str) -> None:
    assert failure.fingerprint("cut", "ValueError", other) == failure.fingerprint("cut", "ValueError", OWN)


def test_fingerprint_depends_on_task_type_file_and_function() -> None:
    prints = {
        failure.fingerprint("cut", "ValueError", OWN),
        failure.fingerprint("join", "ValueError", OWN),
        failure.fingerprint("cut", "KeyError", OWN),
        failure.fingerprint("cut", "ValueError", OWN.replace("films.py", "songs.py")),
        failure.fingerprint("cut", "ValueError", OWN.replace("in cut", "in paste")),
        failure.fingerprint("cut", "ValueError"),
    }
    assert len(prints) == 6


def test_location_is_the_innermost_in_the_code_of_the_user() -> None:
    assert str(failure.innermost(OWN)) == "films.py:12 cut"
    windows = traceback(r'C:\app\films.py", line 3, in cut', r'C:\Py\lib\site-packages\x.py", line 4, in y')
    assert str(failure.innermost(windows)) == "films.py:3 cut"
    ours = f'{Path(conveyor.__file__).parent}/task_def/csv_search.py", line 40, in search'
    assert str(failure.innermost(traceback(ours))) == "csv_search.py:40 search"


def test_location_in_the_package_is_not_the_users() -> None:
    package = Path(conveyor.__file__).parent
    user = '/srv/app/films.py", line 12, in cut'
    ours = [f'{package}/queue.py", line 260, in submit', f'{package}/wire/codec.py", line 9, in encode']
    assert str(failure.innermost(traceback(user, *ours))) == "films.py:12 cut"
    theirs = f'{package}_tasks/films.py", line 3, in paste'
    assert str(failure.innermost(traceback(user, theirs))) == "films.py:3 paste"


def test_location_is_the_innermost_if_no_code_of_the_user_ran() -> None:
    assert str(failure.innermost(traceback())) == "execution.py:71 run"
    assert failure.innermost("") is None
    assert failure.innermost("ValueError: no good\n") is None


def test_raised_exception_of_a_chain_determines_the_location() -> None:
    link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    cause = traceback('/srv/app/cause.py", line 1, in first')
    assert str(failure.innermost(cause + link + OWN)) == "films.py:12 cut"


def test_message_cannot_imitate_a_location() -> None:
    told = OWN + '  File "/srv/app/fake.py", line 1, in fake\n    x\n'
    assert str(failure.innermost(told)) == "films.py:12 cut"


def test_real_exception_is_traced_to_this_file() -> None:
    def raising() -> None:
        raise ValueError("no good")

    try:
        raising()
    except ValueError as error:
        text = codec.decode(outcome.describe_error(error))[2]
    place = failure.innermost(text)
    assert place
    assert (place.file, place.function) == ("test_failure.py", "raising")


@given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters()))
def test_fingerprint_of_any_text_is_eight_stable_digits(task: str, kind: str, text: str) -> None:
    one = failure.fingerprint(task, kind, text)
    assert re.fullmatch(r"[0-9a-f]{8}", one)
    assert failure.fingerprint(task, kind, text) == one


@given(st.text(), st.integers(1, 10**6))
def test_fingerprint_is_independent_of_any_message(message: str, line: int) -> None:
    told = traceback(f'/srv/app/films.py", line {line}, in cut', end=f"ValueError: {message}")
    expected = failure.fingerprint("cut", "ValueError", traceback('/app/films.py", line 1, in cut'))
    assert failure.fingerprint("cut", "ValueError", told) == expected


def test_user_code_is_separated_from_library_code() -> None:
    found = failure.traceback_parts(OWN)
    own = [one for one in found if one.of == "own"]
    assert [(one.text, one.places) for one in own] == [
        ('  File "/srv/app/films.py", line 12, in cut\n    some_code()', 1)
    ]
    assert "library" in {one.of for one in found}
    assert "\n".join(one.text for one in found) == OWN.rstrip()


def test_text_after_the_exception_belongs_to_no_code() -> None:
    last = failure.traceback_parts(f"{OWN}\nmore words")[-1]
    assert (last.of, last.text.split("\n")[-1]) == ("", "more words")
    assert [one.of for one in failure.traceback_parts("no traceback at all")] == [""]
