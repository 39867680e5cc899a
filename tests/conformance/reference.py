"""The reference model of a queue: jobs, where they are, waiters, and the ledger. The measure of the scripts.

A time that only the server knows, such as when a job is due, is None until `Model.learn` is told what the server has.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conveyor.store.commands import PutParams

CRASH_BUDGET, LAPSE_BUDGET = 3, 10
LEVEL = 2**45
PREFIX = 10  # characters of an id that name the inbox of its producer
MIN_KEEP, CANCELLED_KEEP, DAY = 20_000, 3_600_000, 86_400_000  # ms
#: Parts that outlive a removed queue.
LASTING = ("jobs", "births", "claims", "wakes", "letters", "attempts", "notes", "lives")
NEVER = 253_402_300_799_000  # ms: the end of a wait without one
NOW = 10.0**12  # a due time after all that the test has made past, and before all that are ahead

pack = msgspec.msgpack.encode
CANCELLED = pack(["cancelled", False, 0])
LAPSED = pack(
    ["lost", ["LeaseLost", "ten leases of its runs expired: their workers missed their heartbeats", ""], 0]
)


class End(NamedTuple):
    """The end of a run; each verb takes its part of it."""

    outcome: bytes
    keep: float
    note: bytes = b""
    attempt: bytes = b""
    group: str = ""


@dataclass(repr=False)
class Modelled:
    """A job as it should be."""

    id: str
    data: bytes
    priority: float = 0
    keep: float | None = None
    """Seconds for which it says that its outcome is kept."""
    state: str = "ready"
    number: int = 0
    """Its place among those of its priority."""
    front: bool = False
    """True if it goes in front of those with a lower number."""
    delay: float = 0.0
    lease: float = 0.0
    time: float | None = None
    """When it is due, its lease ends, or it died, ms."""
    token: str = ""
    old_token: str = ""
    owner: str = ""
    how: str = ""
    retries: int = 0
    crashes: int = 0
    recoveries: int = 0
    lapses: int = 0
    outcome: bytes | None = None
    group: str = ""
    stream: list[list[bytes]] = field(default_factory=list)
    """The entries of its stream."""
    length: int = 0
    """Items in it."""
    size: int = -1
    """Their bytes with those of the entries; -1 if there is no record of them."""

    steps: dict[str, bytes] = field(default_factory=dict)
    """What its steps have kept, in the order of the first ones."""
    ends: dict[str, float | None] = field(default_factory=dict)
    """When its waits end, ms; 0 if that was immediately."""
    ahead: dict[str, float] = field(default_factory=dict)
    """How far ahead an end was that is None, seconds."""

    def __repr__(self) -> str:
        return f"<{self.id} {self.state}>"

    def _repr_pretty_(self, printer: Any, cycle: object) -> None:
        """Print only that in failures of Hypothesis, which prints all fields of each drawn job."""
        printer.text(repr(self))

    @property
    def score(self) -> int:
        """Its place in `ready`."""
        return int((255 - self.priority) * LEVEL) + (-self.number if self.front else self.number)

    @property
    def tries(self) -> str:
        """Return the record of its attempts, or "" if it had none."""
        counts = (self.retries, self.crashes, self.recoveries, *([self.lapses] if self.lapses else []))
        return " ".join(map(str, counts)) if any(counts) else ""

    @property
    def is_suspect(self) -> bool:
        """True if it is claimed alone, since it may be what ended its workers."""
        return self.crashes + self.recoveries + self.lapses > 0

    @property
    def text(self) -> str:
        """Its lease as stored."""
        return f"{self.token} {self.owner} {self.how} {self.score}"

    @property
    def kept(self) -> dict[str, bytes]:
        """What its steps have kept, as stored."""
        return {
            name: b"%d %s" % (number, value) for number, (name, value) in enumerate(self.steps.items(), 1)
        }

    @property
    def kept_bytes(self) -> int:
        return sum(len(name) + len(value) for name, value in self.kept.items())

    def is_held_by(self, token: str) -> bool:
        """Return True if this token may settle it."""
        return self.state == "leased" and self.token == token

    def move(self, state: str) -> None:
        """Leave its current state and lease."""
        self.old_token, self.token, self.how = self.token or self.old_token, "", ""
        self.state, self.time = state, None

    def forget_steps(self) -> None:
        self.steps, self.ends, self.ahead = {}, {}, {}

    def forget_tries(self) -> None:
        self.retries = self.crashes = self.recoveries = self.lapses = 0


@dataclass
class Model:
    """A queue as it should be. The method of a verb does what the verb must do, and returns what it must reply."""

    jobs: dict[str, Modelled] = field(default_factory=dict)
    ledger: Counter[str] = field(default_factory=Counter)
    sequence: int = 0
    token: int = 0
    maxsize: int | None = None
    paused: bool = False
    shut: bool = False
    born: int | None = None
    """None if no job was put yet, 0 if the time is not known yet."""
    line: list[str] = field(default_factory=list)
    joiners: set[str] = field(default_factory=set)
    seen: dict[str, float | None] = field(default_factory=dict)
    """The waiters, and when each was last seen; 1 for those that died."""
    inboxes: dict[str, float | None] = field(default_factory=dict)
    watchers: dict[str, list[str]] = field(default_factory=dict)
    progress: dict[str, bytes] = field(default_factory=dict)
    history: list[list[bytes]] = field(default_factory=list)
    # Parts that outlive the queue:
    births: list[int] = field(default_factory=list)
    claims: dict[str, tuple[str, str, list[str]]] = field(default_factory=dict)
    """Owner -> nonce, token and ids of its last claim."""
    wakes: dict[str, str] = field(default_factory=dict)
    letters: dict[str, list[bytes]] = field(default_factory=dict)
    attempts: dict[str, list[bytes]] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    lives: dict[str, float] = field(default_factory=dict)
    """Keys that were given a time to live since the last look -> that time, ms."""

    # --- state

    def of(self, *states: str) -> list[Modelled]:
        return [job for job in self.jobs.values() if job.state in states]

    def waiting(self) -> list[Modelled]:
        """Return those that are ready, in order."""
        return sorted(self.of("ready"), key=lambda job: job.score)

    def timed(self, state: str) -> list[Modelled]:
        """Return those in the index of a state that is in the order of time."""
        return sorted(self.of(state), key=lambda job: (job.time, job.id))

    @property
    def size(self) -> int:
        """Jobs that `maxsize` counts."""
        return len(self.of("ready", "delayed"))

    def is_gone(self, waiter: str) -> bool:
        return self.seen.get(waiter, 1) == 1

    # --- jobs come in, are taken, and end

    def stand(self, job: Modelled) -> None:
        """Add a job at the end of those of its priority."""
        self.sequence += 1
        job.move("ready")
        job.number, job.front = self.sequence, False

    def put(self, jobs: list[Modelled], place: PutParams) -> tuple[int, int] | str:
        """Return how many are accepted, and for how many of the rest there is room."""
        known = [job for job in jobs if job.id in self.jobs]
        if any(self.is_another(job, place) for job in known):
            return "DUP"
        if self.shut and (len(known) < len(jobs) or not jobs):
            return "SHUT"
        room = self.room([job.id for job in jobs], place)
        if place.maxsize and self.maxsize is None:
            self.maxsize = place.maxsize
        fresh = [job for job in jobs[:room] if job.id not in self.jobs]
        for job in fresh:
            self.jobs[job.id] = job
            self.stand(job)
            job.front = place.front
            if place.delay:
                self.delay(job, place.delay)
        self.ledger["accepted"] += len(fresh)
        if jobs[:room] and self.born is None:
            self.born = 0
        if len(jobs) <= room and not place.rest and place.waiter in self.line:
            self.leave_out([place.waiter])
        return min(room, len(jobs)), max(0, room - len(jobs))

    def is_another(self, job: Modelled, place: PutParams) -> bool:
        """Return True if this is not the job of that id that is known."""
        old = self.jobs[job.id]
        return place.own_ids if old.state == "over" else old.data != job.data

    def room(self, ids: list[str], place: PutParams) -> int:
        """Return for how many there is room, and add the producer to the line if that is not all."""
        maxsize = place.maxsize if self.maxsize is None else self.maxsize
        count, waiter = len(ids), place.waiter
        if not maxsize:
            return count + place.rest
        self.leave_out(one for one in self.line[:16] if one != waiter and self.is_gone(one))
        ahead = self.line.index(waiter) if waiter in self.line else len(self.line)
        free = max(0, maxsize - self.size - ahead)
        rest = [f"rest {number}" for number in range(place.rest)]
        fresh = [number for number, one in enumerate([*ids, *rest]) if one not in self.jobs]
        room = fresh[free] if free < len(fresh) else count + place.rest
        is_blocked = room < count or (room == count and place.rest > 0)
        if waiter and (is_blocked or (place.rest and waiter in self.line)):
            self.line += [waiter] if waiter not in self.line else []
            self.seen[waiter] = None
        return room

    def delay(self, job: Modelled, delay: float) -> None:
        job.move("delayed")
        job.delay = delay

    def claim(self, owner: str, nonce: str, want: int, how: str, *, again: bool) -> tuple[str, list[str]]:
        """Return a state and the ids of the batch, whose token `hold` adds."""
        last, token, ids = self.claims.get(owner, (f"{owner}.0", "", []))
        if last == nonce:
            return "OK", [one for one in ids if one in self.jobs and self.jobs[one].is_held_by(token)]
        if number_of(nonce) < number_of(last):
            return "EMPTY", []
        word, taken = "EMPTY", []
        if want:
            self.promote()
            self.reap()
            ready = self.waiting()[:want]
            word = "PAUSED" if self.paused else "OK" if ready else "EMPTY"
            if word == "EMPTY" and self.shut and not self.of("delayed"):
                word = "SHUT"
            taken = ready if word == "OK" else []
        if not taken:
            if again or not want:
                self.claims[owner] = nonce, "0", []
                self.lives[f"claim:{owner}"] = 60_000
            return word, []
        alone = next((place for place, job in enumerate(taken) if job.is_suspect), len(taken))
        taken = taken[: max(1, alone)]
        for job in taken:
            job.move("leased")
            job.owner, job.how = owner, "H"
        taken[0].how = "S" if taken[0].recoveries >= LAPSE_BUDGET else how
        self.claims[owner] = nonce, "", [job.id for job in taken]
        self.lives[f"claim:{owner}"] = 60_000
        self.make_room()
        return "OK", [job.id for job in taken]

    def hold(self, owner: str, token: str, lease: float) -> None:
        """Note the token of the batch that an owner has just claimed."""
        nonce, _, ids = self.claims[owner]
        self.claims[owner] = nonce, token, ids
        self.token = int(token)
        for one in ids:
            self.jobs[one].token, self.jobs[one].lease = token, lease

    def renew(self, held: list[tuple[Modelled, str, str]], lease: float) -> tuple[list[int], list[int]]:
        """Return the lost leases and those of jobs with a cancel request."""
        lost = [place for place, (job, token, _) in enumerate(held) if not job.is_held_by(token)]
        to_cancel = []
        for place, (job, _, how) in enumerate(held):
            if place in lost:
                continue
            job.time, job.lease = None, lease
            if job.how == "C":
                to_cancel.append(place)
            else:
                job.how = how
        self.promote()
        self.reap()
        return lost, to_cancel

    def append(self, job: Modelled, token: str, first: int, items: list[bytes], most: int) -> int | str:
        """Return the length of the job's stream."""
        if not job.is_held_by(token):
            return "STALE"
        if first == job.length and items:
            array = b"\xdc" + struct.pack(">H", len(items)) + b"".join(items)
            size = max(0, job.size) + len(array) + 32
            if size > most:
                return "FULL"
            job.stream.append([b"items", array])
            job.length, job.size = job.length + len(items), size
        if first == 0:
            job.size = max(0, job.size)
        return job.length

    def step(self, job: Modelled, token: str, name: str, value: bytes, save: int) -> bytes | str | None:
        """Return the value that was kept before, if it is another one."""
        if not job.is_held_by(token):
            return "STALE"
        kept = job.steps.get(name)
        if save:
            if kept is None or int(kept.split()[0]) < save:
                job.steps[name] = b"%d %s" % (save, value)
            return None
        if kept is None:
            job.steps[name] = value
        return kept if kept != value else None

    def wait(
        self, job: Modelled, token: str, kind: str, name: str, seconds: float | None
    ) -> tuple[str, bytes]:
        if not job.is_held_by(token):
            return "STALE", b""
        signal = job.steps.get(f"signal {name}") if kind == "wait" else None
        if signal is not None:
            return ("OK", signal) if signal else ("OVER", b"")
        what = f"{kind} {name}"
        if what not in job.ends:
            job.steps[what] = b"%d" % NEVER if seconds is None else b"?"
            job.ends[what] = NEVER if seconds is None else None
            job.ahead[what] = seconds or 0.0
        if job.ends[what] == NEVER or job.ahead[what]:
            return "WAIT", b""
        if kind == "wait":
            job.steps[f"signal {name}"] = b""
        return "OVER", b""

    def suspend(self, job: Modelled, token: str, kind: str, name: str, attempt: bytes) -> str:
        if not job.is_held_by(token):
            return "STALE"
        if job.how == "C":
            self.settle(job, CANCELLED, CANCELLED_KEEP)
            return "cancelled"
        self.progress.pop(job.id, None)
        end = job.ends.get(f"{kind} {name}", 0.0)
        is_over = not end or end < NOW or (kind == "wait" and f"signal {name}" in job.steps)
        job.move("delayed")
        job.time = 0.0 if is_over else end
        self.attempted(job, attempt)
        if is_over:
            self.promote()
        return "OK"

    def signal(self, job: Modelled, name: str, value: bytes) -> str:
        if job.state == "over":
            return "over"
        kept = job.steps.get(f"signal {name}")
        if kept is not None and (kept or job.state != "dead"):
            return "OK" if kept == value else "KEPT"
        job.steps[f"signal {name}"] = value
        if job.state == "delayed" and job.ends.get(f"wait {name}") == job.time:
            job.time = 0.0
            self.promote()
        return "OK"

    def finish(self, jobs: list[Modelled], token: str, ends: list[End], counter: str) -> list[str]:
        """Return the ids that the token does not hold."""
        mine = [job.is_held_by(token) for job in jobs]
        for job, end, is_mine in zip(jobs, ends, mine, strict=True):
            if is_mine:
                self.over(job, end.outcome, end.keep * 1000, counter)
                if end.note:
                    self.remember(end.note)
        self.post([job for job, is_mine in zip(jobs, mine, strict=True) if is_mine])
        return [job.id for job, is_mine in zip(jobs, mine, strict=True) if not is_mine]

    def retry(self, job: Modelled, token: str, delay: float, end: End) -> str:
        if not job.is_held_by(token):
            return "STALE"
        if job.how == "C":
            self.settle(job, CANCELLED, CANCELLED_KEEP)
            return "cancelled"
        job.retries += 1
        self.progress.pop(job.id, None)
        self.delay(job, delay)
        self.remember(end.note)
        self.attempted(job, end.attempt)
        if not delay:
            job.time = NOW
            self.promote()
        return "OK"

    def fail(self, job: Modelled, token: str, end: End) -> str:
        if not job.is_held_by(token):
            return "STALE"
        self.make_dead(job, end)
        self.remember(end.note)
        return "OK"

    def release(self, jobs: list[Modelled], token: str, attempt: bytes) -> int:
        mine = [job for job in jobs if job.is_held_by(token)]
        for job in mine:
            if job.how == "C":
                self.settle(job, CANCELLED, CANCELLED_KEEP)
                continue
            self.give_back(job)
            if attempt:
                self.attempted(job, attempt)
        return len(mine)

    def lost(self, job: Modelled, token: str, end: End, cancelled: bytes) -> str:
        """Take back a job whose worker crashed, as its supervisor saw."""
        if not job.is_held_by(token):
            return "STALE"
        job.how = "C" if job.how == "C" else "S"
        self.take_back(job, end, cancelled, crashed=True)
        self.remember(end.note)
        return {"over": "cancelled"}.get(job.state, job.state)

    def promote(self) -> int:
        due = [job for job in self.timed_and_known("delayed") if job.time <= NOW]
        for job in due:
            self.stand(job)
        return len(due)

    def reap(self) -> int:
        expired = [job for job in self.timed_and_known("leased") if job.time <= NOW]
        for job in expired:
            number = job.retries + job.crashes + job.lapses + 1
            state = {"S": "lost", "L": "killed"}.get(job.how, "")
            why = {
                "S": "its worker missed its heartbeats",
                "L": "its consumer was exiting, and ended before the run did",
            }.get(job.how)
            attempt = pack([number, 0, 0, job.owner, state, "LeaseLost", why]) if why else b""
            self.take_back(
                job, End(LAPSED, CANCELLED_KEEP / 1000, b"", attempt, "lost"), CANCELLED, crashed=False
            )
        self.ledger["lapsed"] += len(expired)
        return len(expired)

    def timed_and_known(self, state: str) -> list[Modelled]:
        """Return the jobs whose time is known: it is ahead for the others, which have just arrived there."""
        return sorted(
            (job for job in self.of(state) if job.time is not None), key=lambda job: (job.time, job.id)
        )

    def take_back(self, job: Modelled, end: End, cancelled: bytes, *, crashed: bool) -> None:
        """Make a job ready again or dead, or cancel it, since its worker crashed or its lease expired."""
        if job.how == "C":
            self.settle(job, cancelled, end.keep * 1000)
            return
        if job.how == "S":
            job.crashes += crashed
            job.lapses += not crashed
        if job.crashes >= CRASH_BUDGET or job.lapses >= LAPSE_BUDGET:
            self.make_dead(job, end)
            return
        if end.attempt:
            self.attempted(job, end.attempt)
        job.recoveries += 1
        self.give_back(job)

    def give_back(self, job: Modelled) -> None:
        """Make a leased job ready again, at its old place."""
        self.progress.pop(job.id, None)
        job.move("ready")

    def over(self, job: Modelled, outcome: bytes, keep: float, counter: str) -> None:
        """End a job; `keep`: ms."""
        job.move("over")
        job.forget_tries()
        job.forget_steps()
        job.outcome = outcome
        self.lives[f"outcome:{job.id}"] = max(keep, MIN_KEEP)
        self.ledger[counter] += 1

    def settle(self, job: Modelled, outcome: bytes, keep: float) -> None:
        """Cancel a job; `keep`, ms, is for a job without its own."""
        self.over(job, outcome, keep if job.keep is None else job.keep * 1000, "cancelled")
        self.post([job])

    def make_dead(self, job: Modelled, end: End) -> None:
        """Make a job dead."""
        job.move("dead")
        job.outcome, job.group = end.outcome, end.group
        self.lives[f"outcome:{job.id}"] = max(end.keep * 1000, MIN_KEEP)
        self.attempted(job, end.attempt, 7 * DAY)
        self.post([job])

    def attempted(self, job: Modelled, attempt: bytes, keep: float = DAY) -> None:
        """Keep a run that was not the last, or that failed, for people."""
        if attempt:
            self.attempts.setdefault(job.id, []).append(attempt)
        if job.id in self.attempts:
            del self.attempts[job.id][:-20]
            self.lives[f"attempts:{job.id}"] = keep

    def remember(self, note: bytes) -> None:
        self.history.append([b"end", note])

    # --- actions of users on jobs and queues

    def cancel(self, job: Modelled | None, end: End) -> tuple[str, str, str]:
        if job is None:
            return "gone", "", ""
        if job.state in {"dead", "over"}:
            return job.state, "", ""
        if job.id not in self.notes and end.note:
            self.notes[job.id] = end.note
            self.lives[f"cancel:{job.id}"] = end.keep * 1000
        owner, token = (job.owner, job.token) if job.state == "leased" else ("", "")
        if job.state == "leased" and job.how != "H":
            job.how = "C"
            return "running", owner, token
        self.settle(job, end.outcome, end.keep * 1000)
        self.make_room()
        return "cancelled", owner, token

    def purge(self, index: str, upto: float, most: int, end: End) -> int:
        ids = self.waiting() if index == "ready" else self.timed("delayed")
        gone = [job for job in ids if (job.number if index == "ready" else job.time) <= upto][:most]
        for job in gone:
            self.settle(job, end.outcome, end.keep * 1000)
        self.make_room()
        return len(gone)

    def revive(self, jobs: Iterable[Modelled]) -> int:
        """Make dead jobs ready, as if they had never been tried."""
        dead = [job for job in jobs if job.state == "dead"]
        for job in dead:
            job.forget_tries()
            job.outcome, job.stream, job.length = None, [], 0
            self.stand(job)
        return len(dead)

    def discard(self, jobs: Iterable[Modelled]) -> int:
        """Drop dead jobs for good; their outcomes stay."""
        dead = [job for job in jobs if job.state == "dead"]
        for job in dead:
            job.move("over")
            job.forget_tries()
            job.forget_steps()
        self.ledger["discarded"] += len(dead)
        return len(dead)

    def bound(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.make_room()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = self.shut = False
        self.make_room()

    def shut_down(self) -> None:
        self.shut = True
        for waiter in self.line:
            self.wake(waiter)

    def forget(self, *, remove: bool) -> str:
        if self.of("ready", "delayed", "leased", "dead"):
            gone = [waiter for waiter in self.seen if self.is_gone(waiter)]
            self.leave_out(gone)
            if gone:
                self.make_room()
            return "LIVE"
        if not remove:
            return "IDLE"
        if self.born is not None:
            self.births.insert(0, self.born)
            self.lives["deleted"] = 30 * DAY
        vars(self).update(vars(Model(**{name: getattr(self, name) for name in LASTING})))
        return "GONE"

    # --- waiters

    def leave_out(self, waiters: Iterable[str]) -> None:
        """Remove waiters from the line and from the joiners."""
        for waiter in list(waiters):
            self.line = [one for one in self.line if one != waiter]
            self.joiners.discard(waiter)
            self.seen.pop(waiter, None)

    def leave(self, waiter: str) -> None:
        self.leave_out([waiter])
        self.make_room()

    def wake(self, waiter: str, room: int = 1) -> None:
        if waiter not in self.wakes:
            self.wakes[waiter] = str(room)
            self.lives[f"wake:{waiter}"] = 10_000

    def make_room(self) -> None:
        """Wake as many producers in line as there is room for, the first ones."""
        free = self.maxsize - self.size if self.maxsize else LEVEL
        for place, waiter in enumerate(self.line[: max(0, free)]):
            self.wake(waiter, free - place)

    def join(self, joiner: str) -> int:
        live = len(self.of("ready", "delayed", "leased"))
        if not live:
            self.leave_out([joiner])
            return 0
        self.joiners.add(joiner)
        self.seen[joiner] = None
        self.leave_out(one for one in self.joiners if self.is_gone(one))
        return live

    def wake_joiners(self) -> None:
        """Wake all joiners if no job is left, however the last one ended."""
        if not self.of("ready", "delayed", "leased"):
            for joiner in sorted(self.joiners):
                self.leave_out([joiner])
                self.wake(joiner)

    def listen(self, inbox: str, hold: float, jobs: Iterable[Modelled]) -> tuple[dict[str, bytes], bool]:
        """Return the outcomes that there are, and if the inbox was open."""
        if not hold:
            self.inboxes.pop(inbox, None)
            self.letters.pop(inbox, None)
            return {}, False
        was_open = inbox in self.inboxes
        self.inboxes[inbox] = None
        outcomes = {}
        for job in jobs:
            if job.outcome is not None:
                outcomes[job.id] = job.outcome
            elif job.id[:PREFIX] != inbox:
                others = [one for one in self.watchers.get(job.id, []) if one in self.inboxes]
                self.watchers[job.id] = others if inbox in others else [*others, inbox]
        return outcomes, was_open

    def post(self, jobs: list[Modelled]) -> None:
        """Send the outcomes of jobs that ended together to their producers, then to others that wait for them."""
        letters = [(job.id[:PREFIX], job) for job in jobs]
        letters += [(inbox, job) for job in jobs for inbox in self.watchers.pop(job.id, [])]
        for inbox, job in letters:
            if inbox in self.inboxes:
                self.letters.setdefault(inbox, []).extend([job.id.encode(), job.outcome or b""])
                self.lives[f"inbox:{inbox}"] = 120_000
        for job in jobs:
            self.progress.pop(job.id, None)
            if job.size >= 0:
                job.stream.append([b"end", b""])
                job.size = -1
                self.lives[f"stream:{job.id}"] = self.lives[f"outcome:{job.id}"]

    # --- as keys

    def keys(self) -> dict[str, Any]:
        """Return the expected keys of the queue and their content."""

        def each(states: str, value: Callable[[Modelled], Any]) -> dict[str, Any]:
            return {job.id: found for job in self.of(*states.split()) if (found := value(job))}

        keys: dict[str, Any] = {
            "ready": each("ready", lambda job: job.score),
            "delayed": each("delayed", lambda job: job.time),
            "leased": each("leased", lambda job: job.time),
            "dead": each("dead", lambda job: job.time),
            "leases": each("leased", lambda job: job.text.encode()),
            "jobs": each("ready delayed leased dead", lambda job: job.data),
            "tries": each("ready delayed leased dead", lambda job: job.tries.encode()),
            "priorities": each(
                "delayed dead", lambda job: str(job.priority).encode() if job.priority else b""
            ),
            "reasons": each("dead", lambda job: job.outcome),
            "groups": each("dead", lambda job: job.group.encode()),
            "line": self.line,
            "seen": self.seen,
            "joiners": self.joiners,
            "inboxes": self.inboxes,
            "watchers": {one: " ".join(inboxes).encode() for one, inboxes in self.watchers.items()},
            "progress": self.progress,
            "streams": {
                job.id: f"{job.length} {job.size}".encode() for job in self.jobs.values() if job.size >= 0
            },
            "steps": each(
                "ready delayed leased dead",
                lambda job: f"{len(job.steps)} {job.kept_bytes}".encode() if job.steps else b"",
            ),
            "history": self.history,
            "deleted": [str(born).encode() for born in self.births],
        }
        keys |= {f"wake:{waiter}": [room.encode()] for waiter, room in self.wakes.items()}
        keys |= {
            f"claim:{owner}": " ".join((*last[:2], *last[2])).encode() for owner, last in self.claims.items()
        }
        keys |= {f"inbox:{inbox}": letters for inbox, letters in self.letters.items()}
        keys |= {f"attempts:{one}": attempts for one, attempts in self.attempts.items()}
        keys |= {f"cancel:{one}": note for one, note in self.notes.items()}
        keys |= {f"stream:{job.id}": job.stream for job in self.jobs.values()}
        keys |= {f"steps:{job.id}": job.kept for job in self.jobs.values()}
        keys |= {f"outcome:{job.id}": job.outcome for job in self.jobs.values() if job.outcome is not None}
        return {name: value for name, value in keys.items() if value}

    def meta(self) -> dict[str, int]:
        """Return the expected numbers of the queue; a 0 may be missing."""
        return {
            **self.ledger,
            "sequence": self.sequence,
            "token": self.token,
            "maxsize": self.maxsize or 0,
            "paused": int(self.paused),
            "shutdown": int(self.shut),
        }


def number_of(nonce: str) -> int:
    return int(nonce.rpartition(".")[2])


def job_that_says(job_id: str, keep: float | None) -> bytes:
    """Return the bytes of a job that sets how long its outcome is kept, or of one that does not."""
    text = job_id.encode()
    return text if keep is None else b"\x95" + text + b"\xcb" + struct.pack(">d", keep)
