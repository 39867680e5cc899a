"""What a site's robots.txt allows, as RFC 9309 says."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

#: Bytes of a robots.txt that are read.
MOST_BYTES = 500 * 1024
_LINE_END = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"\*|[a-z_-]+", re.IGNORECASE)
_OCTETS = re.compile(r"%[0-9a-f]{2}|[^!-~]", re.IGNORECASE)
_UNRESERVED = re.compile(r"[\w.~-]", re.ASCII)


class Rule(NamedTuple):
    """One line that allows or disallows addresses."""

    length: int
    """Octets of the pattern: the longest one that fits decides."""
    allows: bool
    """Of two that are as long, the one that allows decides."""
    pieces: tuple[str, ...]
    """What stands between the `*` of the pattern."""
    is_whole: bool
    """True if the pattern must fit up to the end of the address."""

    def fits(self, path: str) -> bool:
        """Return True if a path begins as the pattern says; in linear time."""
        first, *rest = self.pieces
        if not path.startswith(first):
            return False
        last = rest.pop() if self.is_whole and rest else None
        at = len(first)
        for piece in rest:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        if last is not None:
            return path.endswith(last) and len(path) - len(last) >= at
        return not self.is_whole or at == len(path)


class Robots:
    """The rules of a site for one robot; without a robots.txt all is allowed."""

    def __init__(self, text: str = "", robot: str = "*") -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for agents, name, value in _lines(text):
            for agent in agents:
                groups.setdefault(agent, []).append((name, value))
        lines = groups.get(robot.lower(), groups.get("*", []))
        rules = [
            _rule(value, allows=name == "allow") for name, value in lines if name.endswith("allow") and value
        ]
        self.rules = sorted(rules, reverse=True)
        self.crawl_delay = max(
            (_seconds(value) for name, value in lines if name == "crawl-delay"), default=0.0
        )

    def allows(self, url: str) -> bool:
        """Return True if the address may be fetched."""
        parts = urlsplit(url)
        path = _encoded((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        path = path.replace("*", "%2A").replace("$", "%24")
        return path == "/robots.txt" or next((one.allows for one in self.rules if one.fits(path)), True)


def read_robots(data: bytes, robot: str) -> Robots:
    """Return the rules for `robot` in the bytes of a robots.txt; if it is too long, those of the whole lines in it."""
    text = data[:MOST_BYTES].decode("utf-8-sig", "replace")
    return Robots(
        _LINE_END.split(text[::-1], maxsplit=1)[-1][::-1] if len(data) > MOST_BYTES else text, robot
    )


def _lines(text: str) -> Iterator[tuple[set[str], str, str]]:
    """Yield each rule with the robots it is for; of lines before the first robot there are none."""
    agents: set[str] = set()
    is_open = False
    for line in _LINE_END.split(text):
        name, colon, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "user-agent" and colon:
            token = _TOKEN.match(value)
            agents = agents if is_open else set()
            agents = agents | ({token[0].lower()} if token else set())
            is_open = True
        elif name in {"allow", "disallow", "crawl-delay"} and colon:
            is_open = False
            yield agents, name, value


def _rule(value: str, *, allows: bool) -> Rule:
    is_whole = value.endswith("$")
    pattern = _encoded(value.removesuffix("$")).replace("$", "%24")
    return Rule(len(pattern) + is_whole, allows, tuple(pattern.split("*")), is_whole)


def _encoded(text: str) -> str:
    """Return a path in the one form in which the RFC compares them: octets that need not be percent-encoded are not."""

    def octet(found: re.Match[str]) -> str:
        if found[0][0] != "%" or len(found[0]) == 1:
            return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))
        letter = chr(int(found[0][1:], 16))
        return letter if _UNRESERVED.fullmatch(letter) else found[0].upper()

    return _OCTETS.sub(octet, text)


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{0,6})?", text, re.ASCII) else 0.0
