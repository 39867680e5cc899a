"""What is raised in the thread of a task, and where it has to wait."""

from __future__ import annotations

import threading

import pytest

from conveyor import JobCancelled
from conveyor.consumer.interruption import await_raised, raise_here, raise_in, shield


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


def test_exception_of_a_signal_handler_waits_likewise() -> None:
    error = JobCancelled("it was cancelled")
    with pytest.raises(JobCancelled) as found:
        shield(raise_here, error)
    assert found.value is error
    with pytest.raises(JobCancelled):
        raise_here(error)


def test_error_of_shielded_code_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        shield(divmod, 1, 0)
    assert shield(max, 1, 2) == 2
