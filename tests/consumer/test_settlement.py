"""A worker's outcomes are sent once, under their own token, although two threads may send them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import clock, events
from conveyor.consumer.batching import BatchMonitor
from conveyor.consumer.log_lines import LogLines
from conveyor.consumer.settlement import MAX_GATHERED, Settler
from conveyor.consumer.shared_status import SharedStatus
from conveyor.errors import StoreUnavailable
from conveyor.store.client import Pipeline
from conveyor.wire.call import Call, RunOptions
from conveyor.wire.codec import Raw, encode
from conveyor.wire.outcome import (
    Cancel,
    Done,
    Fail,
    Release,
    Retry,
    decode_note,
    decode_settled,
    describe_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ERROR = describe_text("ValueError", "no good")
JOB = Call("tasks.shout", Raw(encode([])), Raw(encode({})), 0.0, RunOptions(keep=60.0))


def names(told: Sequence[Any]) -> list[str]:
    return [command.script.name for command in told]


@pytest.fixture
def settler() -> Settler:
    settler = Settler("host/1", lambda job: job.task)
    settler.begin("work", "7", count=2)
    return settler


def test_done_jobs_share_a_command_unlike_other_outcomes(settler: Settler) -> None:
    for outcome in (Done(b"\x01"), Done(b"\x02"), Fail(ERROR), Retry(ERROR, 1.0), Cancel(), Release()):
        settler.add("id", JOB, outcome, 0.1, 0)
    told = settler.commands()
    assert names(told) == ["finish", "fail", "retry", "finish", "release"]
    assert settler.commands() == []


def test_done_job_is_settled_under_the_token_of_its_own_batch(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overtaken:
        """A lock whose holder is overtaken, once, at the moment of its release: the next batch begins."""

        def __init__(self) -> None:
            self.armed = True

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            if self.armed:
                self.armed = False
                settler.begin("work", "8", count=2)

    settler.add("a", JOB, Done(b"\x01"), 0.1, 0)
    monkeypatch.setattr(settler, "_lock", Overtaken())
    (command,) = settler.commands()
    assert "7" in command.words
    assert "8" not in command.words


def test_late_result_is_an_event(settler: Settler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [seen.append])
    settler.add("late", JOB, Done(b"\x01"), 0.1, 0)
    settler.settled(settler.commands(), [["late"]])
    assert seen == [events.FinishedLate("host/1", "late")]


def test_batch_with_large_outcomes_is_settled_early(settler: Settler) -> None:
    settler.add("a", JOB, Done(bytes(MAX_GATHERED // 2)), 0.1, 0)
    assert not settler.has_enough
    settler.add("b", JOB, Done(bytes(MAX_GATHERED // 2)), 0.1, 0)
    assert settler.has_enough
    settler.commands()
    assert not settler.has_enough


class AwayClient:
    """A server that does not answer."""

    def run_all(self, commands: Sequence[Any], *, patience: float) -> list[Any]:
        raise StoreUnavailable("away")

    def borrow(self, end: Any) -> Any:
        raise StoreUnavailable("away")


def test_monitor_that_cannot_send_leaves_commands_to_the_worker(
    settler: Settler, eventually: Callable[..., Any]
) -> None:
    """With them is what the worker settled ahead, whose reply it would read only after a long job."""
    pipeline = Pipeline(AwayClient())
    monitor = BatchMonitor(AwayClient(), settler, SharedStatus(), pipeline, LogLines(AwayClient()))
    settler.add("ahead", JOB, Done(b"\x01"), 0.1, 0)
    pipeline.send(settler.commands())
    settler.add("done", JOB, Done(b"\x01"), 0.1, 0)
    job = type("Job", (), {"id": "held"})
    held = deque([(1, job)])
    monitor.watch("work", "7", 1, held)
    told = eventually(monitor.take_unconfirmed)
    assert not held
    assert names(told) == ["finish", "finish", "release"]
    assert pipeline.replies() == ([], told[:1])
    assert monitor.take_unconfirmed() == settler.commands() == []
    monitor.rest()


def test_monitor_survives_an_unexpected_error(
    settler: Settler, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [told.append])
    noted: list[str] = []

    def fail(job_id: str, _: str) -> None:
        noted.append(job_id)
        raise LookupError

    monkeypatch.setattr(SharedStatus, "set_arguments", lambda _, *told: fail(*told))
    monitor = BatchMonitor(
        AwayClient(), settler, SharedStatus(), Pipeline(AwayClient()), LogLines(AwayClient())
    )
    for name in ("first", "second"):
        monitor.watch("work", "7", 1, deque())
        monitor.begin(name, JOB)
        eventually(lambda name=name: name in noted, 8.0)
    monitor.rest()
    assert [type(one) for one in told] == [events.StepFailed]


def noted(told: Sequence[Any]) -> tuple[Any, Any]:
    """Return the outcome and note of the only job in a finish."""
    outcome, note = told[0].words[-3], told[0].words[-1]
    return decode_settled(outcome), note and decode_note(note)


def test_run_is_kept_and_noted_with_its_outcome(settler: Settler) -> None:
    settler.add("id", JOB, Done(b"\x01"), 0.25, 2)
    settled, note = noted(settler.commands())
    assert settled.result() == 1
    assert (settled.run.task, settled.run.worker, settled.run.attempt) == ("tasks.shout", "host/1", 3)
    assert (note.at, note.attempt) == (round(settled.run.started + 0.25, 3), 3)


def test_only_a_sampled_run_of_a_batch_is_kept(settler: Settler) -> None:
    previews: list[Call] = []
    settler._preview = lambda job: previews.append(job) or "…"
    for number in range(5):
        settler.add(str(number), JOB, Done(b"\x01"), 0.25, 0)
    (command,) = settler.commands()
    outcomes, notes = command.words[-20::4], command.words[-17::4]
    runs = [decode_settled(outcome).run is not None for outcome in command.words[-19::4]]
    assert len(outcomes) == 5
    assert [bool(note) for note in notes] == runs == [True, False, False, False, False]
    assert previews == [JOB]


@pytest.mark.parametrize(("put", "tries", "waited"), [(5.0, 0, 5.0), (-5.0, 0, 0.0), (5.0, 1, 0.0)])
def test_wait_is_recorded_for_the_first_attempt_and_not_negative(
    settler: Settler, put: float, tries: int, waited: float
) -> None:
    job = Call("tasks.shout", JOB.args, JOB.kwargs, clock.wall() - put)
    settler.add("id", job, Done(b"\x01"), 0.0, tries)
    settled, note = noted(settler.commands())
    assert settled.run.waited == note.waited == pytest.approx(waited, abs=0.5)


def test_arguments_are_queried_again_once_the_task_is_known() -> None:
    texts = iter([None, "text='hey'"])
    settler = Settler("host/1", lambda _: next(texts))
    assert [settler.preview(JOB) for _ in range(3)] == [None, "text='hey'", "text='hey'"]


def test_arguments_are_noted_for_single_and_for_long_jobs(
    settler: Settler, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, str]] = []
    monkeypatch.setattr(SharedStatus, "set_arguments", lambda _, *told: noted.append(told))
    monitor = BatchMonitor(
        AwayClient(), settler, SharedStatus(), Pipeline(AwayClient()), LogLines(AwayClient())
    )
    monitor.begin("alone", JOB)
    assert noted == [("alone", JOB.task)]
    monitor.watch("work", "7", 1, deque())
    for name in ("first", "long"):
        monitor.begin(name, JOB)
    eventually(lambda: noted[-1][0] == "long")
    monitor.rest()
