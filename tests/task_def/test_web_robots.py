"""The meaning of robots.txt: the rules and examples of RFC 9309 that the task `web_scrape` relies on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from conveyor.task_def.web_fetch import ROBOT
from conveyor.task_def.web_scrape import MAX_ROBOTS_BYTES, robots_text

SITE = "https://example.org"


def read_robots(data: bytes) -> Protego:
    return Protego.parse(robots_text(data))


def allows(rules: str, path: str) -> bool:
    return read_robots(f"User-agent: *\n{rules}".encode()).can_fetch(SITE + path, ROBOT)


@pytest.mark.parametrize(
    ("rules", "allowed", "refused"),
    [
        ("Disallow: /", ["/robots.txt"], ["/", "/a", "/?q"]),
        ("Disallow:", ["/", "/a"], []),
        ("Allow: /p\nDisallow: /", ["/page"], ["/a"]),
        ("Disallow: /\nAllow: /p", ["/page"], ["/a"]),
        ("Allow: /folder\nDisallow: /folder", ["/folder/page"], []),
        ("Allow: /\nDisallow: /a/b", ["/a/c"], ["/a/b", "/a/b/c"]),
        ("Allow: /page\nDisallow: /*.htm", ["/a"], ["/page.htm"]),
        ("Allow: /page\nDisallow: /*.ph", ["/a.p"], ["/a/b.php?x"]),
        ("Disallow: /*.gif$", ["/a.gif?x", "/a.gif/b"], ["/a.gif", "/b/c.gif"]),
        ("Disallow: *.gif$", ["/a.gift"], ["/a.gif"]),
        ("Disallow: /$\n", ["/a"], ["/"]),
        ("Disallow: /*/private/*/x", ["/private/a/x", "/a/private/x"], ["/a/private/b/x/c"]),
        ("Disallow: /*a*a$", ["/a"], ["/aa", "/aba"]),
        ("Disallow: /a$b", ["/a"], ["/a$bc"]),
        ("Disallow: /a%2Ab", ["/axb"], ["/a*b", "/a%2ab"]),
        ("Disallow: /a?*c=", ["/a", "/a?d=1"], ["/a?b=1&c=2"]),
        ("Disallow: /%62%61z", ["/foo"], ["/baz", "/ba%7A"]),
        ("Disallow: /a%2fb", ["/a/b"], ["/a%2Fb"]),
        ("Disallow: /\u30c4", ["/%E3%83%83"], ["/%E3%83%84/x", "/%e3%83%84"]),
        ("Disallow: /caf\u00e9 x", ["/cafe"], ["/caf%C3%A9%20x"]),
        ("Disallow : /a # why\n", ["/b"], ["/a"]),
        ("disALLOW:/a\rDISALLOW: /b", ["/c"], ["/a", "/b"]),
        ("Disallow: private", ["/private"], []),
        ("Sitemap: /x\nnonsense\n: /\nDisallow: /b", ["/a"], ["/b"]),
    ],
)
def test_longest_matching_rule_decides(rules: str, allowed: list[str], refused: list[str]) -> None:
    assert [path for path in allowed if not allows(rules, path)] == []
    assert [path for path in refused if allows(rules, path)] == []


GROUPS = """Disallow: /stray
User-agent: other
User-agent: conveyorSCRAPER
Disallow: /a

User-agent: *
Crawl-delay: 9
Disallow: /

User-agent: ConveyorScraper
Sitemap: /map
Crawl-delay: 2.5
Disallow: /b
"""


def test_groups_of_a_robot_are_merged_and_separate_from_others() -> None:
    rules = read_robots(GROUPS.encode())
    assert [rules.can_fetch(SITE + path, ROBOT) for path in ("/a", "/b", "/c", "/stray")] == [
        False,
        False,
        True,
        True,
    ]
    assert [rules.can_fetch(SITE + path, "Other") for path in ("/a", "/b")] == [False, True]
    assert not rules.can_fetch(SITE, "Third")
    assert (rules.crawl_delay(ROBOT), rules.crawl_delay("Third")) == (2.5, 9.0)


def test_robots_txt_is_read_up_to_its_limit() -> None:
    line = b"Disallow: /" + b"x" * 88 + b"\n"
    data = b"\xef\xbb\xbfUser-agent: *\nDisallow: /first\n" + line * (MAX_ROBOTS_BYTES // len(line) + 2)
    assert MAX_ROBOTS_BYTES % len(line) != data.index(line), "the last line that is read must be cut"
    rules = read_robots(data + b"Disallow: /last\n")
    allowed = [rules.can_fetch(SITE + path, ROBOT) for path in ("/first", "/last", "/" + "x" * 87)]
    assert allowed == [False, True, True], "a line that is cut may mean anything"


@given(st.text())
def test_any_robots_txt_is_parsed(text: str) -> None:
    read_robots(text.encode(errors="replace")).can_fetch(f"{SITE}/{text}".partition("[")[0], ROBOT)
    read_robots(f"user-agent: *\nallow: {text}".encode(errors="replace")).can_fetch(SITE, ROBOT)
