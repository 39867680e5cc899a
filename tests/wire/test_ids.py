"""Job ids: unique, ordered, and carrying the inbox of their producer."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.errors import BadCall
from conveyor.wire import ids


def test_ids_are_unique_ordered_and_of_equal_length() -> None:
    made = ids.new_ids(10_000) + ids.new_ids(3)
    assert len(set(made)) == 10_003
    assert made == sorted(made)
    assert {len(one) for one in made} == {14}


def test_id_names_the_inbox_of_its_producer() -> None:
    assert {ids.producer_of(one) for one in ids.new_ids(100)} == {ids.producer()}


def test_threads_never_get_the_same_id() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(ids.new_ids(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4_000


def test_exhausted_producer_name_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids._producer, "made", {})
    first = ids.producer()
    ids._producer().next = ids._PER_PRODUCER - 2
    assert {ids.producer_of(one) for one in ids.new_ids(2)} == {first}
    (one,) = ids.new_ids(1)
    assert ids.producer_of(one) == ids.producer() != first


def test_more_ids_than_a_name_allows_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids._producer, "made", {})
    monkeypatch.setattr(ids, "_PER_PRODUCER", 4)
    made = ids.new_ids(11)
    assert len(set(made)) == 11
    assert len({ids.producer_of(one) for one in made}) == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the very case that Python warns of
def test_forked_child_gets_a_new_name_if_the_parent_makes_ids(forked: Any) -> None:
    """The parent's lock, held by another thread at the moment of the fork, must not block the child forever."""
    with ids._producer().lock:
        of_the_child = forked(lambda: ids.new_ids(1)[0])
    assert len(of_the_child) == 14
    assert ids.producer_of(of_the_child) != ids.producer()


#: A program of one thread: if another one waited for the interpreter's lock, a child forked so would wait for it.
FORKED_BY_C_CODE = """
import ctypes, os
from conveyor.held_items import holder_of
from conveyor.inbox import inbox_of
from conveyor.store import Client
from conveyor.wire import ids

client = Client("redis://localhost")

def tell():
    names = inbox_of(client).name, holder_of(client).owner, ids.producer_of(ids.new_ids(1)[0])
    print(*names, flush=True)

tell()
child = ctypes.PyDLL(None).fork()
if child == 0:
    tell()
    os._exit(0)
os.waitpid(child, 0)
"""


def test_child_forked_by_c_code_gets_a_new_name() -> None:
    """As uWSGI forks: no hook of Python's runs in the child."""
    command = [sys.executable, "-c", FORKED_BY_C_CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    mine, of_the_child = (line.split() for line in done.stdout.splitlines())
    assert len(of_the_child) == 3
    assert not set(of_the_child) & set(mine)


@pytest.mark.parametrize("name", ["a", "A1._:-z", "9" * 64, "invoice-2024:7"])
def test_valid_job_id_is_accepted(name: str) -> None:
    assert ids.checked_id(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a b", "a\n", "ä", "a" * 65, "{a}", "a/b", "a\0", None, 5, b"a"]
)
def test_invalid_job_id_is_refused(name: object) -> None:
    with pytest.raises(BadCall, match="invalid job id"):
        ids.checked_id(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["default", "queue_zero", "_", "films.2024-x", "a" * 100])
def test_valid_queue_name_is_accepted(name: str) -> None:
    assert ids.checked_queue(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a\n", "ü", "a" * 101, "{a}", "a:b", None, 5, b"a"])
def test_invalid_queue_name_is_refused(name: object) -> None:
    with pytest.raises(BadCall, match="invalid queue name"):
        ids.checked_queue(name)  # type: ignore[arg-type]


@given(st.text())
def test_accepted_names_cannot_alter_keys(name: str) -> None:
    """Braces, colons, spaces and line ends would change the key."""
    for check in (ids.checked_id, ids.checked_queue):
        try:
            check(name)
        except BadCall:
            continue
        assert not set(name) & set("{} \t\r\n\0*?[]\\")
