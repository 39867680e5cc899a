"""Which problem document stands for which error. Codes are stable: programs may decide by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import errors
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.page import NoSuchThing
from conveyor.dashboard.poller import TRY_AGAIN, Busy

if TYPE_CHECKING:
    from collections.abc import Mapping


class ValidationErrors(errors.ConveyorError):
    """Several values do not fit; `by_name` says what is wrong with each."""

    def __init__(self, message: str, by_name: Mapping[str, str]) -> None:
        super().__init__(message)
        self.by_name = dict(by_name)


class PartlyPut(errors.ConveyorError):
    """Some of the jobs of a request are in the queue; `cause` kept the others out."""

    def __init__(self, queue: str, ids: list[str], wanted: int, cause: errors.ConveyorError) -> None:
        rest, partly = f"the other {wanted - len(ids):,}", f"{len(ids):,} of {wanted:,} jobs are on {queue}"
        if isinstance(cause, errors.DurabilityUnknown):
            missing = f", but not {rest}" if len(ids) < wanted else ""
            super().__init__(f"{partly}{missing}: {cause}", hint=cause.hint)
        elif isinstance(cause, errors.StoreUnavailable):
            super().__init__(
                f"{partly}, and the state of {rest} is unknown: {cause}", hint=f"inspect {queue} first"
            )
        else:
            hint = f"put only {rest}, once what kept them out is over"
            super().__init__(f"{partly}, but not {rest}: {cause}", hint=hint)
        self.cause, self.accepted, self.ids = cause, len(ids), ids


#: The first that fits counts.
CODES: tuple[tuple[type[errors.ConveyorError], int, str], ...] = (
    (ValidationErrors, 422, "bad-values"),
    (errors.BadInput, 422, "bad-input"),
    (errors.BadCall, 422, "bad-call"),
    (errors.TooLarge, 413, "too-large"),
    (errors.UnknownTask, 404, "unknown-task"),
    (errors.JobGone, 404, "unknown-job"),
    (NoSuchThing, 404, "unknown"),
    (Busy, 429, "busy"),
    (errors.DuplicateJob, 409, "duplicate-job"),
    (errors.Full, 409, "queue-full"),
    (errors.Empty, 409, "queue-empty"),
    (errors.ShutDown, 409, "queue-shut-down"),
    (errors.LeaseLost, 409, "lease-lost"),
    (errors.JobLost, 409, "job-lost"),
    (errors.JobFailed, 409, "job-failed"),
    (errors.JobCancelled, 409, "job-cancelled"),
    (errors.WaitTimeout, 504, "timeout"),
    (errors.DurabilityUnknown, 504, "durability-unknown"),
    (errors.StoreUnavailable, 503, "server-away"),
    (errors.StoreMismatch, 502, "server-mismatch"),
    (errors.StoreFull, 507, "server-full"),
    (errors.StoreRefused, 502, "server-refused"),
    (errors.StoreError, 502, "server-fault"),
    (errors.ConveyorError, 409, "refused"),
)

#: Seconds after which the client may try again, by code.
_TRY_AGAIN = {"server-away": 5, "busy": TRY_AGAIN}


def problem_of(error: errors.ConveyorError) -> Problem:
    """Return the problem that an error stands for."""
    cause = error.cause if isinstance(error, PartlyPut) else error
    status, code = next((status, code) for kind, status, code in CODES if isinstance(cause, kind))
    headers = (("retry-after", str(_TRY_AGAIN[code])),) if code in _TRY_AGAIN else ()
    wrong = error.by_name if isinstance(error, ValidationErrors) else {}
    return Problem(
        status,
        code,
        str(error),
        error.hint,
        headers,
        errors=wrong,
        accepted=error.accepted,
        ids=list(error.ids),
    )
