"""Numbers, times and names as written in pages, the small charts, and the files that pages need."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import clock
from conveyor.dashboard import rendering
from conveyor.monitor import format as formats
from conveyor.speedup import Amdahl, Experiment, Run, Scalability, rows_of
from conveyor.wire import control_messages

from ..visitor_kit import Visitor  # noqa: TID252 - test folders are no packages

if TYPE_CHECKING:
    from httpx import Response

HOSTILE = "\"><script>alert('x')</script>&"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),  # noqa: RUF001 - as pages show it
        (math.inf, "–"),  # noqa: RUF001
        (math.nan, "–"),  # noqa: RUF001
        (-3, "< 1 ms"),
        (0.0004, "< 1 ms"),
        (0.0006, "1 ms"),
        (0.0184, "18 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (3.25, "3.25 s"),
        (9.999, "10 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (61.9, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (3600 + 59, "1 h"),
        (4320, "1 h 12 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (2 * 86400 + 3600, "2 d 1 h"),
    ],
)
def test_durations_are_written_in_their_two_largest_units(seconds: float | None, words: str) -> None:
    assert formats.duration(seconds) == words


@given(st.floats(0, 1e7))
def test_duration_units_never_reach_their_maximum(seconds: float) -> None:
    words = formats.duration(seconds).removeprefix("< ").split()
    most = {"ms": 1000, "s": 60, "min": 60, "h": 24}
    assert all(float(n) < most.get(unit, math.inf) for n, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KiB"),
        (99.97 * 1024, "100 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (64 << 20, "64.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (5000 << 30, "5,000 GiB"),
    ],
)
def test_sizes_are_written_in_the_usual_unit(count: float, words: str) -> None:
    assert formats.size(count) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.25, "0.25"), (9.5, "9.50"), (10, "10.0"), (100, "100"), (12345, "12,345")],
)
def test_rates_have_significant_digits_only(value: float, words: str) -> None:
    assert formats.rate(value) == words


@pytest.mark.parametrize("at", [None, 0, -1, math.nan, math.inf, 1e18])
def test_invalid_moment_is_a_dash(at: float | None) -> None:
    assert rendering.moment(at) == "–"  # noqa: RUF001


def test_moment_is_an_element_updated_by_the_browser() -> None:
    text = "2023-11-14 22:13:20 UTC"
    assert rendering.moment(1_700_000_000.25, "clock") == (
        f'<time datetime="2023-11-14T22:13:20.250Z" data-time="clock">{text}</time>'
    )
    assert rendering.moment(1_700_000_000.25, "for").startswith(
        f'<time datetime="2023-11-14T22:13:20.250Z" data-time="for" title="{text}">'
    )
    assert "8" in rendering.moment(rendering._LATEST - 1, "clock"), "the last one that can be written"


@pytest.mark.parametrize(
    ("kind", "at", "text"),
    [
        ("for", 1000.2, "0 s"),
        ("for", 940.5, "59 s"),
        ("for", 939.9, "1 min"),
        ("for", 875, "2 min 5 s"),
        ("for", 1005, "0 s"),
        ("ago", 999, "just now"),
        ("ago", 990.5, "9 s ago"),
        ("in", 1090, "in 1 min 30 s"),
        ("in", 999, "now"),
    ],
)
def test_moment_text_is_correct_at_rendering(
    monkeypatch: pytest.MonkeyPatch, kind: str, at: float, text: str
) -> None:
    monkeypatch.setattr(clock, "wall", lambda: 1000.0)
    assert rendering.moment(at, kind).endswith(f">{text}</time>")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7384, "2 h 3 min"), (7200, "2 h"), (90_000, "1 d 1 h"), (86_400 * 400 + 3600, "400 d 1 h")],
)
def test_elapsed_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert formats.elapsed(seconds) == text


@given(st.floats(0, 1e12))
def test_large_numbers_for_scripts_have_no_exponent(value: float) -> None:
    words = rendering.compact(value)
    assert "e+" not in words
    assert float(words) == pytest.approx(value, rel=1e-3, abs=0.5)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("it is full", "wait a little"), "it is full. wait a little."),
        (("It is full.", "Wait. "), "It is full. Wait."),
        (("who asks..", ""), "who asks."),
        (("is it running?", "try: conveyor doctor"), "is it running? try: conveyor doctor."),
        (("", " "), ""),
    ],
)
def test_sentences_end_with_a_single_mark_and_are_separated(parts: tuple[str, ...], text: str) -> None:
    assert rendering.sentences(*parts) == text


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`conveyor doctor` tells more", "<code>conveyor doctor</code> tells more"),
        ("is it up? `a` or `<b>`", "Is it up? <code>a</code> or <code>&lt;b&gt;</code>"),
        ("/a\u202eb `c\u202e`", "/a\\u202eb <code>c\\u202e</code>"),
        ("one ` alone <b>", "One ` alone &lt;b&gt;"),
        ("", ""),
    ],
)
def test_reason_is_a_sentence_with_commands_as_code(text: str, html: str) -> None:
    assert rendering.prose(text) == html


def test_names_are_encoded_in_paths_and_texts_are_truncated() -> None:
    assert rendering.path_part("a/b?c#d e") == "a%2Fb%3Fc%23d%20e"
    assert formats.shorten("abcdef", 6) == "abcdef"
    assert formats.shorten("abcdefg", 6) == "abcde…"
    assert control_messages.short_name("my-host-1a2b/3") == "1a2b/3"


@pytest.mark.parametrize(
    "picture",
    [
        rendering.icon("x", HOSTILE),
        rendering.icon(HOSTILE),
        rendering.steps([1, 2], HOSTILE),
        rendering.gantt([rendering.Bar(HOSTILE, 1, 2, HOSTILE)], 0, 3),
        rendering.moment(1.0, HOSTILE),
    ],
)
def test_charts_escape_their_input(picture: str) -> None:
    assert "<script" not in picture
    assert "&lt;script&gt;" in picture


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_chart_lines_stay_within_the_chart(values: list[int]) -> None:
    path = rendering.steps(values, "words").partition(' d="')[2].partition('"')[0]
    moves = re.findall(r"([MVh])(\d+)(?: (\d+))?", path)
    widths = [int(size) for kind, size, _ in moves if kind == "h"]
    heights = [int(size) for kind, size, _ in moves if kind == "V"]
    assert path == "".join(f"{kind}{size}" + (f" {more}" if more else "") for kind, size, more in moves) + "z"
    assert len(widths) == len(values)
    assert sum(widths) <= 120
    for value, height in zip(values, heights[:-1], strict=True):
        assert height == 2 if value and value == max(values) else 2 <= height <= 28
        assert value or height == 28


@pytest.fixture
def asset(one_server: Any) -> Any:
    """Return a function that requests an asset."""
    visitor = Visitor(one_server.url)

    def ask(name: str, version: str = "") -> Response:
        return visitor.get(f"/static/{version or rendering.version()}/{name}")

    return ask


def test_asset_of_the_current_version_is_cached_forever(asset: Any) -> None:
    names = ["app.js", "base.css", "mark.svg", "vendor/idiomorph.min.js", "vendor/idiomorph.LICENSE"]
    kinds = ["text/javascript", "text/css", "image/svg+xml", "text/javascript", "text/plain"]
    replies = [asset(name) for name in names]
    assert [reply.status_code for reply in replies] == [200] * 5
    assert [reply.headers["content-type"].partition(";")[0] for reply in replies] == kinds
    assert {reply.headers["cache-control"] for reply in replies} == {"public, max-age=31536000, immutable"}
    assert [reply.content for reply in replies] == [rendering.files()[name] for name in names]


def test_asset_of_an_unknown_version_is_served_but_not_cached(asset: Any) -> None:
    reply = asset("app.js", "000000000000")
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-cache")
    assert reply.content == rendering.files()["app.js"]


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "vendor",
        "../rendering.py",
        "vendor/../../app.py",
        "/etc/passwd",
        "app.js/",
        "APP.JS",
        "..",
        "",
    ],
)
def test_only_packaged_assets_exist(name: str, asset: Any) -> None:
    for written in (name, quote(name, safe=""), quote(name, safe="").replace(".", "%2e")):
        reply = asset(written)
        assert reply.status_code in {404, 400}, written
        assert b"import" not in reply.content


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("invoice_\u202efdp.exe", "invoice_\\u202efdp.exe"),
        ("\x1b]0;title\x07 \x00", "\\x1b]0;title\\x07 \\x00"),
        ("a\u200bb\ufeff\u2066c\u2028", "a\\u200bb\\ufeff\\u2066c\\u2028"),
        ("two\n\tlines\r\n", "two\n\tlines\r\n"),
        ("\u05e9\u05dc\u05d5\u05dd and \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
    ],
)
def test_invisible_characters_are_escaped_except_in_form_values(text: str, shown: str | None) -> None:
    shown = text if shown is None else shown
    assert rendering.visible(text) == shown
    template = rendering.environment().from_string(
        "<b title='{{ text }}'>{{ text }}</b><input value='{{ text|e }}'>"
    )
    assert template.render(text=text) == f"<b title='{shown}'>{shown}</b><input value='{text}'>"


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(1e-6, 1e6)), max_size=8),
    st.none() | st.builds(Amdahl, st.floats(0, 1), st.floats(0, 10)),
    st.none() | st.builds(Scalability, *[st.floats(0, 1e9)] * 4),
)
def test_plot_of_any_experiment_stays_in_its_box(
    times: list[tuple[int, float]], amdahl: Amdahl | None, scalability: Scalability | None
) -> None:
    runs = [Run(count, wall, 0.0, None, []) for count, wall in times]
    found = Experiment("nap", 4, 2, 0.0, True, [], rows_of(runs), amdahl, scalability)  # noqa: FBT003
    plot = ET.fromstring(rendering.speedup_plot(found))
    width, height = map(float, plot.attrib["viewBox"].split()[2:])
    points = [pair for line in plot.iter("polyline") for pair in line.attrib["points"].split()]
    places = [tuple(map(float, point.split(","))) for point in points]
    places += [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in plot.iter("circle")]
    assert all(0 <= across <= width and 0 <= down <= height for across, down in places)
    assert len(plot.findall("circle")) == len([row for row in found.rows if row.speedup])
    assert len(plot.findall("text")) <= 30
