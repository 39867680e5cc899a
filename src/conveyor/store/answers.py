"""What goes into commands and what comes out of them, as values with names; grouped by the verb they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.wire import codec
from conveyor.wire.durability import MEMORY, Durability
from conveyor.wire.failure import fingerprint
from conveyor.wire.outcome import attempt_of, encode_settled, note_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.wire.outcome import Run


def shown(item: bytes) -> str:
    """Read a text for those who only look: what is no UTF-8 in it is replaced, so that one bad record hides no other.

    What is acted upon is read exactly instead, and refused.
    """
    return item.decode(errors="replace")


class Lineage(NamedTuple):
    """Which data of a queue a server has: when they came into being, and the last number that orders its jobs.

    A later reply of a server that has lost nothing has the same birth, and no lower number before its own command.
    0 if there are none.
    """

    born: int = 0
    sequence: int = 0
    prior: int = 0
    """The last number before the command: lower than `sequence` if that has put jobs."""


class PutPlace(NamedTuple):
    """How jobs are put: `maxsize` 0 leaves the queue's bound alone, `waiter` names who waits for room.

    `rest`: how many more jobs the caller has, to be sent once there is room for them.
    """

    maxsize: int = 0
    priority: int = 0
    delay: float = 0.0
    waiter: str = ""
    own_ids: bool = False
    rest: int = 0
    again: bool = False
    """Jobs that were put before: those that the server knows, even if they have ended, are left as they are."""
    durability: Durability = MEMORY
    """What the server has to confirm before the jobs count as put."""


class PutAnswer(NamedTuple):
    """How many of the jobs were accepted, how many wait now, and how many of the rest there is room for."""

    accepted: int
    waiting: int
    room: int = 0
    lineage: Lineage = Lineage()


class Cancelled(NamedTuple):
    """The result of a cancellation: cancelled, running, dead, over or gone; of a job that was taken, who has it."""

    state: str
    owner: str = ""
    token: str = ""


def read_tries(text: str) -> tuple[int, int]:
    """Return the retries used, and the runs that ended with a worker that died or vanished."""
    retries, crashes, _, lapses = (*map(int, text.split()), 0, 0, 0, 0)[:4]
    return retries, crashes + lapses


class Claimed(NamedTuple):
    """A job under lease."""

    id: str
    data: bytes
    retries: int
    crashes: int
    """Runs that ended with their workers, or whose leases ran out."""


class Batch(NamedTuple):
    """What a claim brought: `state` is OK, EMPTY, PAUSED or SHUT; `wait` is seconds until looking again pays."""

    state: str
    token: str = ""
    jobs: Sequence[Claimed] = ()
    left: int = 0
    wait: float = 60.0


class Renewal(NamedTuple):
    """Which leases are gone, and which jobs somebody wants cancelled, by their places in the list that was sent.

    An id would not do: two workers may hold the same job, one of them under a token that is no longer valid.
    """

    lost: list[int]
    cancelled: list[int]


class Settlement(NamedTuple):
    """One finished job as the server wants it; `note` goes to the history, empty for none.

    Only of a job that may be dead now: `attempt` is kept with it, `group` tells which dead letters are alike.
    """

    id: str
    outcome: bytes
    keep: float
    note: bytes = b""
    attempt: bytes = b""
    group: str = ""


def settlement_of_failure(
    job_id: str, word: str, error: bytes, run: Run, elapsed: float, keep: float
) -> Settlement:
    """Return what is kept of a job that may be dead now; `word` is how its run ended, for people."""
    kind, _, traceback = codec.decode(error)
    return Settlement(
        job_id,
        encode_settled("lost" if word == "lost" else "failed", error, elapsed, run),
        keep,
        note_of(job_id, word, run, elapsed),
        attempt_of(word, run, elapsed, error),
        fingerprint(run.task, kind, traceback),
    )


class Letters(NamedTuple):
    """Outcomes by id (empty bytes: the job is not known), and how many of the ids asked for were looked at."""

    outcomes: dict[str, bytes]
    looked: int
    was_open: bool = False
    """True if the inbox was open before, so that what ended meanwhile was pushed to it."""
    lineage: Lineage = Lineage()


class Looked(NamedTuple):
    """How a queue was found by a look at whether it can be forgotten: GONE, IDLE, USED or LIVE; and its jobs."""

    word: str
    ready: int = 0
    delayed: int = 0
    leased: int = 0
    dead: int = 0


class State(NamedTuple):
    """Where one job is: ready, delayed, leased, dead, over or gone; `detail` by state, see state.lua."""

    state: str
    detail: bytes | int
    data: bytes
    tries: str
    progress: bytes


class Bucket(NamedTuple):
    """What is kept of one minute, hour or day: its number since 1970 began, and texts by field."""

    number: int
    fields: dict[str, str]


class RowsPlace(NamedTuple):
    """Which rows of an index: `want` of them behind (score, id), upwards or downwards, from an end if score is ""."""

    want: int
    down: bool = False
    score: str = ""
    id: str = ""
    skip: int = 0
    """Leave out so many rows that would come first."""
    cut: int = 2048
    """Bytes of each job and each reason at most."""


class Row(NamedTuple):
    """One entry of an index; what there is not is empty."""

    id: str
    score: str
    """As text, exact."""
    data: bytes
    """The first bytes of the job."""
    size: int
    """Bytes that the whole job has."""
    lease: bytes
    tries: bytes
    progress: bytes
    reason: bytes
    """The first bytes of what a dead job ended with."""
    shift: int = 0
    """Milliseconds that the score of a delayed job is ahead of the server's clock."""


class Rows(NamedTuple):
    """Some entries of an index in the order asked for, how many it has, and the place of the lowest given from 0."""

    total: int
    first: int
    rows: list[Row]


class Count(NamedTuple):
    """How many jobs are where, and the books."""

    ready: int
    delayed: int
    leased: int
    dead: int
    blocked: int
    """Producers that wait for room and were heard of within 5 seconds."""
    accepted: int
    finished: int
    cancelled: int
    discarded: int
    """Dead letters dropped because there were more than 10,000, or because somebody wished it."""
    orphans: int
    lapsed: int
    maxsize: int
    paused: int
    shutdown: int
    strange: int = 0
    """Keys of the queue that hold something else than they must: somebody else has written to them."""
    torn: int = 0
    """Entries of the queue's keys that lack their other half, as after an eviction: jobs without bytes, say."""

    @property
    def waiting(self) -> int:
        """Jobs in the buffer: what `maxsize` counts."""
        return self.ready + self.delayed

    @property
    def is_full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.waiting

    @property
    def state(self) -> str:
        """How the queue stands, in one word: shut, paused, full or open."""
        if self.shutdown:
            return "shut"
        if self.paused:
            return "paused"
        return "full" if self.is_full else "open"

    @property
    def live(self) -> int:
        """Jobs that are not over."""
        return self.ready + self.delayed + self.leased

    @property
    def imbalance(self) -> int:
        """Jobs accepted and not accounted for; 0 when the books balance."""
        return self.accepted - self.live - self.finished - self.cancelled - self.dead - self.discarded
