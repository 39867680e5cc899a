"""What is raised in the thread of a task, and where it has to wait."""

from __future__ import annotations

import threading

import pytest

from conveyor import JobCancelled
from conveyor.consumer.interruption import await_raised, raise_in, shield


def raised_meanwhile() -> None:
    """Raise in the calling thread from another one, and go on."""
    thread = threading.get_ident()
    other = threading.Thread(target=raise_in, args=(thread, JobCancelled))
    other.start()
    other.join()
    await_raised()


def test_exception_waits_for_the_end_of_shielded_code() -> None:
    reached = []

    def shielded() -> None:
        shield(raised_meanwhile)  # within another: the outer one decides
        reached.append("its end")

    with pytest.raises(JobCancelled):
        shield(shielded)
    assert reached == ["its end"]
    with pytest.raises(JobCancelled):
        raised_meanwhile()


def test_error_of_shielded_code_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        shield(divmod, 1, 0)
    shield(await_raised)
