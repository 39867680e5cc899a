"""The shared check finds keys that should not exist: each test's server is checked afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conftest import leaks

if TYPE_CHECKING:
    from conftest import Server


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("XADD", "conveyor:{work}:jobs", "*", "id", "bytes"), "a stream, wanted hash"),
        (("XADD", "conveyor:{work}:waiting", "*", "id", "bytes"), "a stream, wanted None"),
        (("SET", "conveyor:{work}:outcome:job", "done"), "lives for ever"),
        (("XADD", "conveyor:{work}:stream:job", "*", "items", ""), "lives for ever"),
        (("HSET", "conveyor:{work}:steps:job", "cursor", "1 5"), "lives for ever"),
        (("RPUSH", "conveyor:{work}:bell", *"1" * 33), "too long"),
        (("SET", "other", "text"), "a string, wanted None"),
    ],
)
def test_key_missing_from_the_table_is_found(words: tuple[str, ...], fault: str, one_server: Server) -> None:
    assert leaks(one_server.raw) == []
    one_server.raw.execute_command(*words)
    assert leaks(one_server.raw) == [f"{words[1]}: {fault}"]
    one_server.raw.flushall()
