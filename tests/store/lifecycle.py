"""The life cycle of a job: its states, and all moves between them. A verb is one script and one function.

        put, fire, hook      claim               finish
    (gone) ─────▶ ready ───────────────▶ leased ─────────▶ over ──▶ (gone, when its outcome expires)
      │            ▲  ▲                  │ │ │ ▲
      │ put        │  ├── release, lost ─┤ │ │ └─ renew: stays, for longer
      │ with a     │  └── reap ──────────┘ │ ├── fail, lost, reap ──▶ dead ── revive ──▶ ready
      ▼ delay      │                       │ └── retry, release, lost, reap if it was to be cancelled ──▶ over
    delayed ───────┘◀─── retry, suspend ───┘
      promote, signal           ready, delayed, and leased but not started ── cancel ──▶ over; purge does the first two

submit puts jobs with terms, each of which may be deferred. deferred ── go_on, promote ──▶ ready or delayed; go_on,
cancel and purge ──▶ over. What comes back, or due, is deferred if its limit has no slot: release, lost, reap, promote,
revive, and throttle, a release that makes the jobs of a limit, or of the queue, rest.

A job's state is the index that it is a member of, and nothing else, so nothing can contradict it. `claim` and `renew`
also do a slice of `promote` and of `reap`. A verb that ends a job lets some of its followers in the queue go on, and
every verb that frees a slot of a limit makes the next jobs of its key ready. `lost` counts a crash, `reap` an expired
lease: three crashes or ten expired leases make a job dead. They do not count for jobs that had not started, or whose
consumer was exiting. Of more than 10,000 dead jobs the oldest is dropped and counted as discarded.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from conveyor.store import commands, schedules

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.store.command import Command


class JobState(enum.StrEnum):
    """The states of a job, as the script `state` names them."""

    READY = "ready"
    """Waits for a worker."""
    DEFERRED = "deferred"
    """Waits for jobs before it, or for a slot of its limit."""
    DELAYED = "delayed"
    """Waits until it is due."""
    LEASED = "leased"
    """Held by a worker under a lease; started or not."""
    DEAD = "dead"
    """Failed for good, or its workers crashed too often; kept with its bytes, so it can be revived."""
    OVER = "over"
    """Finished, and its outcome is still kept."""
    GONE = "gone"
    """Unknown: never put, or forgotten."""


class Move(NamedTuple):
    """A move: the verb, and the job's state before and after."""

    verb: str
    source: JobState
    target: JobState


_READY, _DELAYED, _LEASED = JobState.READY, JobState.DELAYED, JobState.LEASED
_DEFERRED = JobState.DEFERRED
_DEAD, _OVER, _GONE = JobState.DEAD, JobState.OVER, JobState.GONE

#: Every legal move.
TRANSITIONS = (
    Move("put", _GONE, _READY),
    Move("put", _GONE, _DELAYED),
    Move("submit", _GONE, _READY),
    Move("submit", _GONE, _DELAYED),
    Move("submit", _GONE, _DEFERRED),
    Move("submit", _GONE, _OVER),  # a job before it has ended as it must not
    Move("go_on", _DEFERRED, _READY),
    Move("go_on", _DEFERRED, _DELAYED),
    Move("go_on", _DEFERRED, _OVER),
    Move("hook", _GONE, _READY),
    Move("hook", _GONE, _DELAYED),
    Move("hook", _GONE, _DEFERRED),
    Move("fire", _GONE, _READY),
    Move("fire", _GONE, _DELAYED),  # with jitter
    Move("claim", _READY, _LEASED),
    Move("claim", _READY, _DEFERRED),  # its limit has begun to rest
    Move("finish", _LEASED, _OVER),
    Move("fail", _LEASED, _DEAD),
    Move("retry", _LEASED, _DELAYED),
    Move("retry", _LEASED, _READY),  # without a delay
    Move("retry", _LEASED, _OVER),  # it was to be cancelled
    Move("suspend", _LEASED, _DELAYED),
    Move("suspend", _LEASED, _READY),  # what it waits for is there
    Move("suspend", _LEASED, _DEFERRED),  # likewise, and others of its limit run by now
    Move("suspend", _LEASED, _OVER),  # it was to be cancelled
    Move("signal", _DELAYED, _READY),  # it waits for this
    Move("signal", _DELAYED, _DEFERRED),
    Move("throttle", _LEASED, _READY),
    Move("throttle", _LEASED, _DEFERRED),
    Move("throttle", _LEASED, _OVER),
    Move("release", _LEASED, _READY),
    Move(
        "release", _LEASED, _DEFERRED
    ),  # its limit is smaller by now, or those before it of its key are ready
    Move("release", _LEASED, _OVER),
    Move("lost", _LEASED, _READY),
    Move("lost", _LEASED, _DEFERRED),
    Move("lost", _LEASED, _DEAD),
    Move("lost", _LEASED, _OVER),
    Move("reap", _LEASED, _READY),
    Move("reap", _LEASED, _DEFERRED),
    Move("reap", _LEASED, _DEAD),
    Move("reap", _LEASED, _OVER),
    Move("promote", _DELAYED, _READY),
    Move("promote", _DELAYED, _DEFERRED),
    Move("promote", _DEFERRED, _READY),  # the next jobs of a key, whose time has come
    Move("cancel", _READY, _OVER),
    Move("cancel", _DELAYED, _OVER),
    Move("cancel", _DEFERRED, _OVER),
    Move("cancel", _LEASED, _OVER),  # prefetched; a started one is only marked
    Move("purge", _READY, _OVER),
    Move("purge", _DELAYED, _OVER),
    Move("purge", _DEFERRED, _OVER),
    Move("revive", _DEAD, _READY),
    Move("revive", _DEAD, _DEFERRED),
    Move("discard", _DEAD, _OVER),
    Move("discard", _DEAD, _GONE),  # its outcome has expired
)

#: Verbs that move no job.
NOT_MOVES = {
    *("renew", "count", "state", "rows", "flow", "limits", "end_rest", "tally", "series", "listen"),
    *("append", "step", "wait", "join", "leave", "follow"),
    *("bound", "limit", "age", "pause", "resume", "shut", "forget"),
    *("due", "schedule", "reschedule"),
}

VERBS = frozenset(move.verb for move in TRANSITIONS) | NOT_MOVES
"""All verbs: the names of the scripts and of their functions in store/commands.py and store/schedules.py."""


def function_of(verb: str) -> Callable[..., Command]:
    """Return the function of a verb."""
    return getattr(commands if hasattr(commands, verb) else schedules, verb)


def may_move(verb: str, source: str, target: str) -> bool:
    """Return True if a verb may move a job from one state to another, or leaves it where it is."""
    return source == target or Move(verb, JobState(source), JobState(target)) in TRANSITIONS
