"""The life of a job: where it can be, and every move between those places. One verb, one script, one function.

            put              claim               finish
    (gone) ─────▶ ready ───────────────▶ leased ─────────▶ over ──▶ (gone, when its outcome is forgotten)
      │            ▲  ▲                  │ │ │ ▲
      │ put        │  ├── release, lost ─┤ │ │ └─ renew: stays, for longer
      │ with a     │  └── reap ──────────┘ │ ├── fail, lost, reap ──▶ dead ── revive ──▶ ready
      ▼ delay      │                       │ └── retry, release, lost, reap of a job wished cancelled ──▶ over
    delayed ───────┘◀──────── retry ───────┘
          promote               ready, delayed, and leased but not started ── cancel ──▶ over; purge does the first two

A job's place is the index it is a member of; nothing else says so, and nothing can contradict it. `claim` and `renew`
do a slice of `promote` and of `reap` on their way. `lost` counts a crash, `reap` an expired lease: three of the one or
ten of the other make a job dead, but not those of jobs that had not started, or whose consumer was leaving. Of more
than 10,000 dead letters the oldest goes, and is counted, as are those that somebody discards.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class JobState(enum.StrEnum):
    """Where a job is; the words are those of the script `state`."""

    READY = "ready"
    """Waits for a worker."""
    DELAYED = "delayed"
    """Waits until it is due."""
    LEASED = "leased"
    """Taken by a worker, which holds a lease; started or not."""
    DEAD = "dead"
    """Failed for good, or its workers died too often; kept with its bytes, so it can be revived."""
    OVER = "over"
    """Ended, and its outcome is still kept."""
    GONE = "gone"
    """Not known: never put, or forgotten."""


class Move(NamedTuple):
    """One arrow: what is done, and where the job is before and after."""

    verb: str
    source: JobState
    target: JobState


_READY, _DELAYED, _LEASED = JobState.READY, JobState.DELAYED, JobState.LEASED
_DEAD, _OVER, _GONE = JobState.DEAD, JobState.OVER, JobState.GONE

#: Every legal move.
TRANSITIONS = (
    Move("put", _GONE, _READY),
    Move("put", _GONE, _DELAYED),
    Move("claim", _READY, _LEASED),
    Move("finish", _LEASED, _OVER),
    Move("fail", _LEASED, _DEAD),
    Move("retry", _LEASED, _DELAYED),
    Move("retry", _LEASED, _READY),  # without a delay
    Move("retry", _LEASED, _OVER),  # somebody wished it cancelled
    Move("release", _LEASED, _READY),
    Move("release", _LEASED, _OVER),
    Move("lost", _LEASED, _READY),
    Move("lost", _LEASED, _DEAD),
    Move("lost", _LEASED, _OVER),
    Move("reap", _LEASED, _READY),
    Move("reap", _LEASED, _DEAD),
    Move("reap", _LEASED, _OVER),
    Move("promote", _DELAYED, _READY),
    Move("cancel", _READY, _OVER),
    Move("cancel", _DELAYED, _OVER),
    Move("cancel", _LEASED, _OVER),  # held, not started; one that has started is only marked
    Move("purge", _READY, _OVER),
    Move("purge", _DELAYED, _OVER),
    Move("revive", _DEAD, _READY),
    Move("discard", _DEAD, _OVER),
    Move("discard", _DEAD, _GONE),  # its outcome was forgotten before
)

#: Verbs that move no job of their own.
NOT_MOVES = {
    "renew": "a lease lasts longer",
    "count": "how many jobs are where",
    "state": "where one job is",
    "rows": "one page of the jobs of an index",
    "tally": "what was done is added to the histories",
    "series": "what was done, over time",
    "listen": "an inbox is held open, and outcomes are asked for",
    "join": "somebody waits until no job is left",
    "leave": "somebody waits no longer",
    "bound": "how many jobs may wait",
    "pause": "nothing is given out",
    "resume": "all is as usual again",
    "shut": "nothing is accepted",
    "forget": "an empty queue is removed",
}

VERBS = frozenset(move.verb for move in TRANSITIONS) | NOT_MOVES.keys()
"""All verbs: the names of the scripts and of the functions in store/commands.py."""


def may_move(verb: str, source: str, target: str) -> bool:
    """Tell whether a job may get from one state into another by this verb; staying where it is is no move."""
    return source == target or Move(verb, JobState(source), JobState(target)) in TRANSITIONS
