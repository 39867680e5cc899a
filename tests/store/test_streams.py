"""How a reader waits for items: the steps of the operation, and what it makes of each reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import StoreUnavailable
from conveyor.store.streams import ABSENT, COMPLETE, GONE, NextItems, next_items
from conveyor.wire import codec

if TYPE_CHECKING:
    from conveyor.store.command import Exchange

RUNNING, DEAD, FINISHED = (True, False), (True, True), (False, False)


class Reading:
    """A read of the items from a position on, whose replies the test makes up."""

    def __init__(self, position: int = 0) -> None:
        self.operation = next_items("work", "a", position)
        self.asked: Exchange = next(self.operation)  # type: ignore[assignment]
        self.found: NextItems | None = None

    @property
    def block(self) -> float:
        """Seconds for which the read may block."""
        return self.asked.commands[-1].block

    @property
    def after(self) -> str:
        """The id of the entry after which it reads."""
        return str(self.asked.commands[-1].words[-1])

    def reply(self, state: tuple[bool, bool], *entries: tuple[str, list[int]]) -> None:
        """Reply with the job's state, and with entries; without items it is the end."""
        raw = [[name.encode(), [b"items", codec.encode(some) if some else b""]] for name, some in entries]
        read = self.asked.commands[-1].read
        self._go_on((*state, read([[b"key", raw]] if raw else None)))

    def reply_existence(self, *, stream: bool, outcome: bool) -> None:
        """Reply which of the keys exist."""
        assert [one.words[0] for one in self.asked.commands] == ["EXISTS"] * 2
        self._go_on((stream, outcome))

    def fail(self) -> None:
        """Raise that the server is unavailable."""
        self.asked = self.operation.throw(StoreUnavailable("no reply"))  # type: ignore[assignment]

    def _go_on(self, replies: Any) -> None:
        try:
            self.asked = self.operation.send(replies)  # type: ignore[assignment]
        except StopIteration as end:
            self.found = end.value


def test_first_read_does_not_block_and_further_ones_do() -> None:
    reading = Reading(3)
    assert (reading.block, reading.after) == (0.0, "3-0")
    reading.reply(RUNNING)
    assert (reading.block, reading.after) == (2.0, "3-0")
    reading.reply(RUNNING, ("4-0", [7]))
    assert reading.found == NextItems([7])


def test_read_after_a_blocked_one_does_not_block() -> None:
    reading = Reading()
    reading.reply(RUNNING)
    for block in (2.0, 0.0, 2.0):
        assert reading.block == block
        reading.reply(RUNNING)
    reading.reply(FINISHED)  # as of a job that was cancelled while it was waiting
    reading.reply_existence(stream=False, outcome=True)
    assert reading.found == NextItems((), ABSENT)


def test_items_before_the_position_are_left_out() -> None:
    reading = Reading(2)
    reading.reply(RUNNING, ("3-0", [0, 1, 2]), ("5-0", [3, 4]))
    assert reading.found == NextItems([2, 3, 4])


def test_end_is_checked_immediately_and_once() -> None:
    reading = Reading(2)
    reading.reply(RUNNING, ("2-1", []))
    assert (reading.block, reading.after) == (0.0, "2-1")
    reading.reply(RUNNING)  # its outcome is not there yet
    assert reading.block == 2.0
    reading.reply(FINISHED)
    assert reading.found == NextItems((), COMPLETE)


def test_items_of_a_finished_job_are_read_to_the_end() -> None:
    reading = Reading()
    reading.reply(DEAD, ("2-0", [0, 1]), ("2-1", []))
    assert reading.found == NextItems([0, 1])
    reading = Reading(2)
    reading.reply(DEAD, ("2-1", []))
    reading.reply(DEAD)
    assert reading.found == NextItems((), COMPLETE)


@pytest.mark.parametrize(
    ("stream", "outcome", "end"), [(True, True, COMPLETE), (False, True, ABSENT), (False, False, GONE)]
)
def test_end_without_a_mark_has_a_reason(*, stream: bool, outcome: bool, end: str) -> None:
    reading = Reading()
    reading.reply(FINISHED)
    reading.reply_existence(stream=stream, outcome=outcome)
    assert reading.found == NextItems((), end)


def test_read_is_repeated_while_the_server_is_unavailable() -> None:
    reading = Reading(5)
    for _ in range(3):
        reading.fail()
        assert reading.after == "5-0"
    reading.reply(FINISHED)
    reading.fail()
    assert reading.after == "5-0"
    reading.reply(RUNNING, ("6-0", [1]))
    assert reading.found == NextItems([1])
