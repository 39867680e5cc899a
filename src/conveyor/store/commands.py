"""Commands on a queue, as values, and their replies. One function per verb; nothing is sent here.

Only this module and its siblings know the order of KEYS and ARGV. Times are seconds in Python and milliseconds in
the protocol. ARCHITECTURE.md shows the states of a job and the verbs that move it.
"""

from __future__ import annotations

import struct
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import structs

from conveyor import clock
from conveyor.errors import DuplicateJob, JobGone, LeaseLost, ShutDown, TooLarge
from conveyor.store import keys, scripts
from conveyor.store.command import (
    Command,
    block_on,
    checked,
    milliseconds,
    number,
    push,
    readable,
    script,
    texts,
    words,
)
from conveyor.wire import codec, ids
from conveyor.wire.durability import MEMORY, Durability
from conveyor.wire.failure import fingerprint
from conveyor.wire.outcome import attempt_of, encode_settled, note_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from conveyor.wire.outcome import Run

#: Bytes of jobs in the reply to one claim, and of outcomes in the reply to one listen.
MAX_BYTES = 1 << 20
#: Max bytes of the items of one job: 64 results of the largest size, so that a task that yields without end fails
#: before it fills the server.
MAX_STREAM = 64 << 20
#: Max values that the steps of one job keep, and their bytes: 16 results of the largest size. As in shared/steps.lua.
MAX_STEPS, MAX_STEP_BYTES = 1000, 16 << 20
#: When a job is due that waits for a signal without a time limit, ms since 1970. As in shared/steps.lua.
NEVER_DUE = 253_402_300_799_000
#: What a job waits for: a signal, or the end of a sleep.
WaitKind = Literal["wait", "sleep"]
#: How a job is held.
HELD: Final = "H"
STARTED: Final = "S"
LEAVING: Final = "L"
#: Leases per renewal, during which the server serves no one else.
MAX_RENEWED = 500
#: Keys at their limit that one reply lists, and that one script reads to find them.
MAX_KEYS, MAX_KEYS_READ = 50, 250
#: Links between jobs that one script reads; bytes of each job and outcome that it returns.
MAX_FLOW_LINKS, FLOW_CUT = 1000, 1024
#: Keys of which a queue that needs a claim has one: unfinished jobs, and ends of jobs that others wait for.
_WORK = ("ready", "delayed", "deferred", "leased", "ended", "outbox")
#: Seconds that a nudge stays in an inbox that no one reads any more.
NUDGE_KEEP = 120
#: The priority of the key 0 of a `PriorityQueue`, and how many keys are as far apart as two priorities: 2^45 / 2^32.
_KEY_PRIORITY, _KEYS = 383, 8192
#: A limit as scripts pack it (shared/terms.lua).
_LIMIT = struct.Struct(">IIdBIId")
#: Jobs before another one that one script notes.
MAX_NOTED = 64


#: Max running, max starts within so many seconds, and whether the jobs of a key run in order.
SharedLimit = tuple[int, int, float, bool]
NO_LIMIT: SharedLimit = (0, 0, 0.0, False)


# --- putting jobs


class HookJob(NamedTuple):
    """A job that is put when another one ends."""

    policy: str
    """How that must end: d done, or f failed or lost."""
    queue: str
    id: str
    """With a dot and a number behind it, it becomes that of the job: one may end again after it was revived."""
    data: bytes
    priority: int = 0
    delay: float = 0.0
    limit_key: str = ""
    limit: SharedLimit = NO_LIMIT

    def packed(self) -> list[Any]:
        """Return what scripts read."""
        own: dict[str, object] = {}
        if self.limit_key:
            own = {"l": self.limit_key, "m": _packed_limit(self.limit)}
        if self.delay > 0:
            own["d"] = milliseconds(self.delay)
        # As a string, since the scripts' msgpack knows no bytes.
        data = msgspec.Raw(b"\xdb" + len(self.data).to_bytes(4, "big") + self.data)
        return [self.policy, self.queue, self.id, data, self.priority, own]


class Terms(NamedTuple):
    """When jobs may run: with a limit, a unique key, and after other jobs."""

    own: dict[str, bytes]
    """By id, the packed terms of each job: those that `pack_terms` returns. Filled while further jobs are encoded."""
    limit: SharedLimit = NO_LIMIT
    """Of each key: max running, max starts within so many seconds (0: no limit), and whether its jobs run in order."""
    unique: tuple[float, bool] = (0.0, False)
    """Seconds for which a unique key holds (0: until its job is over, -1: until it starts); whether a put replaces."""
    others: set[str] | None = None
    """Queues of jobs before them that are elsewhere; filled like `own`."""
    many: list[int] | None = None
    """Of each job that comes after many others, how many these are; filled likewise."""


_NO_TERMS = msgspec.msgpack.encode({})


def pack_terms(
    limit: str = "",
    unique: str = "",
    after: Sequence[str] = (),
    policy: str = "d",
    hooks: Sequence[HookJob] = (),
) -> bytes:
    """Return the terms of one job: its keys, the jobs before it as queue and id with their policy, and its hooks.

    Of many jobs before, those behind the first are packed apart, since scripts note them in slices.
    """
    packed_hooks = [one.packed() for one in hooks]
    further = [
        ",".join(after[first : first + MAX_NOTED]) for first in range(MAX_NOTED, len(after), MAX_NOTED)
    ]
    found: dict[str, object] = {
        "l": limit,
        "u": unique,
        "a": after[:MAX_NOTED],
        "b": further,
        "h": packed_hooks,
    }
    packed = {name: value for name, value in found.items() if value}
    if after:
        packed["p"] = policy
    return msgspec.msgpack.encode(packed)


class PutParams(NamedTuple):
    """How jobs are put."""

    maxsize: int = 0
    """The new max size of the queue; 0 leaves it as it is."""
    priority: float = 0
    """0 to 255, higher first; or what `key_priority` returns."""
    delay: float = 0.0
    waiter: str = ""
    """The name under which the caller waits for room."""
    own_ids: bool = False
    rest: int = 0
    """How many more jobs the caller will send once there is room."""
    again: bool = False
    """Jobs that were put before: those that the server knows are left as they are, even if they have finished."""
    durability: Durability = MEMORY
    """What the server has to confirm before the jobs count as put."""
    front: bool = False
    """Each job goes in front of the earlier ones of its priority."""
    due: float | None = None
    """The time of which `delay` is what was left, seconds since 1970 by this host's clock; a put may wait for room."""
    terms: Terms | None = None


class Lineage(NamedTuple):
    """Which data of a queue a server has: when the queue was created, and the last number that orders its jobs.

    After it, a server that has lost no data replies with the same birth and with no lower `prior`. 0 if there are none.
    """

    born: int = 0
    sequence: int = 0
    prior: int = 0
    """The last number before the command, lower than `sequence` if the command put jobs."""


class PutReply(NamedTuple):
    """The number of accepted jobs, and of the rest for which there is room."""

    accepted: int
    room: int = 0
    lineage: Lineage = Lineage()
    same: Mapping[str, str] = MappingProxyType({})
    """Ids of jobs that were not put, with that of the job which stands for each, since it has the unique key."""


def key_priority(key: int) -> float:
    """Return the priority for a key of a `PriorityQueue`, from -1,000,000 to 1,000,000: above those of jobs."""
    return _KEY_PRIORITY - key / _KEYS


def put(queue: str, jobs: Sequence[tuple[str, bytes]], params: PutParams) -> Command:
    """Put jobs: gone -> ready or delayed. Reply: `PutReply`; raises DuplicateJob or ShutDown."""
    if params.terms is not None and params.terms.own:
        return submit(queue, jobs, params)
    rest: list[Any] = []
    for job in jobs:
        rest += job
    return _put("put", queue, params, rest, partial(_read_put, queue))


def submit(queue: str, jobs: Sequence[tuple[str, bytes]], params: PutParams) -> Command:
    """Put jobs with terms: gone -> ready, delayed or deferred. Reply as of `put`; also raises JobGone."""
    terms = params.terms or Terms({})
    seconds, replaces = terms.unique
    period = milliseconds(seconds) if seconds >= 0 else -1
    rest: list[Any] = [
        msgspec.msgpack.encode(_packed_limit(terms.limit)),
        msgspec.msgpack.encode([period, int(replaces)]),
    ]
    for job_id, data in jobs:
        rest += job_id, data, terms.own.get(job_id, _NO_TERMS)
    return _put("submit", queue, params, rest, partial(_read_submit, queue))


def _packed_limit(limit: SharedLimit) -> list[int]:
    running, starts, within, in_order = limit
    return [running, starts, milliseconds(within), int(in_order)]


def _read_put(queue: str, reply: Sequence[Any]) -> PutReply:
    word = checked(reply[0].decode())
    if word == "DUP":
        raise DuplicateJob(
            f"a job with the id {reply[1].decode()} exists already",
            hint="use `Job(id, queue)` as its handle, or put with another id",
        )
    if word == "SHUT":
        error = ShutDown(f"the queue {queue} is shut down", hint=f"reopen it with conveyor resume {queue}")
        error.accepted = reply[1]
        raise error
    if word == "GONE":
        raise JobGone(
            f"the job {reply[1].decode()}, which another one comes after, is unknown in the queue {queue}",
            hint="its outcome has expired: keep it longer with the option `keep`",
        )
    _, accepted, room, born, sequence, fresh = reply
    return PutReply(accepted, room, Lineage(int(born), sequence, sequence - fresh))


def _read_submit(queue: str, reply: Sequence[Any]) -> PutReply:
    same = texts(reply[6:])
    return _read_put(queue, reply[:6])._replace(same=dict(zip(same[::2], same[1::2], strict=True)))


def _put(
    name: str, queue: str, params: PutParams, jobs: list[Any], read: Callable[[Any], PutReply]
) -> Command:
    rest: list[Any] = [
        params.maxsize,
        f"front {params.priority}" if params.front else params.priority,
        milliseconds(params.delay if params.due is None else max(0.0, params.due - clock.wall())),
        params.waiter,
        params.rest,
    ]
    rest += jobs
    first, again = ("check", "check") if params.own_ids else ("new", "again")
    if params.again:
        first = again = "again"
    return Command(words(queue, (first, *rest)), scripts.load(name), read, again=words(queue, (again, *rest)))


# --- taking jobs


class Claimed(NamedTuple):
    """A job under lease."""

    id: str
    data: bytes
    retries: int
    crashes: int
    """Runs that ended with a crash of the worker or an expired lease."""


class Batch(NamedTuple):
    """The reply to a claim: `state` is OK, EMPTY, PAUSED or SHUT; `wait` is seconds until it pays to poll again.

    With `has_messages`, the claimant delivers those of the outbox.
    """

    state: str
    token: str = ""
    jobs: Sequence[Claimed] = ()
    left: int = 0
    wait: float = 60.0
    has_messages: bool = False


class Renewal(NamedTuple):
    """Which leases are lost, and which jobs are to be cancelled, by their positions in the list that was sent.

    An id is not enough: two workers may hold the same job, one of them under a token that has expired.
    """

    lost: list[int]
    cancelled: list[int]


def claim(
    queue: str, owner: str, nonce: str, want: int, lease: float, first: Literal["S", "H"] = "S"
) -> Command:
    """Claim up to `want` jobs: ready -> leased. Reply: `Batch`; the same nonce again returns the same batch.

    The nonces of one owner are in order (`ids.Nonces`), so a duplicate of an old claim returns nothing. With `want` 0
    the reply is the batch of an earlier claim with this nonce; if that claim is still under way, it will return
    nothing. `first` is how the first job is held: started, or held if its consumer confirms the receipt by a renewal.
    """
    args = (owner, nonce, want, milliseconds(lease), MAX_BYTES, first)
    new, again = words(queue, (*args, "new")), words(queue, (*args, "again"))
    return Command(new, scripts.load("claim"), _read_batch, again=again)


def _read_batch(reply: Sequence[Any]) -> Batch:
    state = checked(reply[0].decode())
    if state != "OK":
        wait = reply[1] if len(reply) > 1 else 60_000
        return Batch(state, wait=abs(wait) / 1000, has_messages=wait < 0)
    jobs = []
    for place in range(4, len(reply), 3):
        tries = reply[place + 2]
        retries, crashes = read_tries(tries.decode()) if tries else (0, 0)
        jobs.append(Claimed(reply[place].decode(), reply[place + 1], retries, crashes))
    return Batch(state, reply[1].decode(), jobs, reply[2], abs(reply[3]) / 1000, reply[3] < 0)


def read_tries(text: str) -> tuple[int, int]:
    """Return the retries used, and the runs that ended with a crash of the worker or an expired lease."""
    retries, crashes, _, lapses = (*map(int, text.split()), 0, 0, 0, 0)[:4]
    return retries, crashes + lapses


def renew(queue: str, held: Iterable[tuple[str, str, str]], lease: float) -> Command:
    """Renew the lease of each (id, token, how it is held), at most MAX_RENEWED. Reply: `Renewal`.

    LEAVING is for jobs of a consumer that exits: if such a lease expires, it does not count as a crash of the job.
    """
    rest: list[Any] = [milliseconds(lease)]
    for one in held:
        rest += one

    def read(reply: Sequence[Any]) -> Renewal:
        lost = int(reply[1])
        return Renewal(list(reply[2 : 2 + lost]), list(reply[2 + lost :]))

    return script("renew", queue, *rest, read=read)


# --- settling jobs


class Settlement(NamedTuple):
    """One finished job. `note` goes to the history; empty for none.

    Only for a job that may be dead now: `attempt` is kept with it, and equal `group`s mark failures that are alike.
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
    """Return the settlement of a job that may be dead now; `word` is how its run ended, for people."""
    kind, _, traceback = codec.decode(error)
    return Settlement(
        job_id,
        encode_settled("lost" if word == "lost" else "failed", error, elapsed, run),
        keep,
        note_of(job_id, word, run, elapsed),
        attempt_of(word, run, elapsed, error),
        fingerprint(run.task, kind, traceback),
    )


def finish(queue: str, token: str, settlements: Iterable[Settlement], counter: str = "finished") -> Command:
    """Finish a batch under one token: leased -> over. Reply: the ids that this token does not hold."""
    rest: list[Any] = [token, counter]
    for one in settlements:
        rest += (one.id, one.outcome, milliseconds(one.keep), one.note)
    return script("finish", queue, *rest, read=lambda reply: texts(reply[1:]))


def retry(queue: str, token: str, job_id: str, delay: float, note: bytes, attempt: bytes = b"") -> Command:
    """Use up a retry: leased -> delayed. Reply: OK, STALE or, if that was requested, cancelled."""
    return script("retry", queue, token, job_id, milliseconds(delay), note, attempt)


def fail(queue: str, token: str, settlement: Settlement) -> Command:
    """Fail for good: leased -> dead. Reply: OK or STALE."""
    one = settlement
    rest = (milliseconds(one.keep), one.note, one.attempt, one.group)
    return script("fail", queue, token, one.id, one.outcome, *rest)


def release(queue: str, token: str, ids: Iterable[str], attempt: bytes = b"") -> Command:
    """Release jobs to their old positions: leased -> ready. Reply: how many. `attempt` is the run that it ended.

    A later claim in the same round trip gets them, since their positions are older.
    """
    return structs.replace(script("release", queue, token, attempt, *ids, read=number), leads=True)


def lost(queue: str, token: str, settlement: Settlement, cancelled: bytes) -> Command:
    """Recover the job of a crashed worker: leased -> ready, dead or over. Reply: ready, dead, cancelled or STALE."""
    one = settlement
    rest = (milliseconds(one.keep), one.note, one.attempt, one.group)
    return script("lost", queue, token, one.id, one.outcome, cancelled, *rest)


def throttle(
    queue: str, token: str, job_id: str, seconds: float, attempt: bytes = b"", *, whole_queue: bool = False
) -> Command:
    """Release a job, and rest those of its limit, or of its queue: leased -> ready. Reply: OK, STALE or cancelled."""
    whose = "queue" if whole_queue else ""
    sent = script("throttle", queue, token, job_id, milliseconds(seconds), whose, attempt)
    return structs.replace(sent, leads=True)


# --- what jobs of several queues tell each other


class Message(NamedTuple):
    """What jobs mean for others of another queue: `follow` that they come after one, `go_on` that one has ended.

    And `hook` that this one is to be put, since another one has ended.
    """

    verb: str
    queue: str
    id: str
    """The job of that queue; in a `go_on` several, with commas."""
    source: str
    """The job that it comes from, as queue and id; in a `follow` several, with commas between the ids."""
    outcome: bytes
    """The outcome; of a `follow` i if its outcome is wanted, or empty; of a `hook` what its script takes."""


def outbox(queue: str, most: int = 32) -> Command:
    """Read the first messages for other queues. Reply: a `Message` of each."""

    def read(reply: Sequence[bytes]) -> list[Message]:
        messages = []
        for data in reply:
            *names, outcome = data.split(b" ", 5)
            verb, target, job_id, *source = texts(names)
            messages.append(Message(verb, target, job_id, " ".join(source), outcome))
        return messages

    return Command(("ZRANGE", keys.key(queue, "outbox"), 0, most - 1), read=read)


def delivered(queue: str, messages: Iterable[Message]) -> Command:
    """Remove messages from the outbox."""
    return Command(("ZREM", keys.key(queue, "outbox"), *map(_packed, messages)))


def postpone(queue: str, message: Message, seconds: float) -> Command:
    """Move a message of the outbox behind those of the next seconds."""
    return Command(("ZADD", keys.key(queue, "outbox"), "XX", "INCR", milliseconds(seconds), _packed(message)))


def _packed(message: Message) -> bytes:
    return f"{message.verb} {message.queue} {message.id} {message.source} ".encode() + message.outcome


class FollowReply(NamedTuple):
    """Whether the followers will be told of the end, or else the outcome, empty if the job is unknown."""

    waits: bool
    outcome: bytes = b""


def follow(queue: str, job_id: str, of_queue: str, ids: Iterable[str], wants: bytes = b"") -> Command:
    """Note that jobs of another queue come after one, and with i that they want its outcome. Reply: `FollowReply`."""

    def read(reply: Sequence[Any]) -> FollowReply:
        word = checked(reply[0].decode())
        return FollowReply(word == "OK", reply[1] if word == "OVER" else b"")

    return script("follow", queue, job_id, wants, of_queue, *ids, read=read)


def go_on(queue: str, ids: Iterable[str], source: str, outcome: bytes) -> Command:
    """Note that a job before deferred ones, in another queue, has ended: deferred -> ready, delayed or over."""
    return script("go_on", queue, source, outcome, *ids)


def hook(queue: str, job_id: str, source: str, packed: bytes) -> Command:
    """Put the hook of a job of another queue, which has ended: gone -> ready, delayed or deferred."""
    return script("hook", queue, job_id, source, packed)


class Link(NamedTuple):
    """A job that comes before or after another one."""

    is_before: bool
    queue: str
    id: str


def links(queue: str, job_id: str) -> Command:
    """Read which jobs come before and after a job. Reply: a `Link` of each, sorted."""
    return Command(
        ("SMEMBERS", keys.key(queue, f"links:{job_id}")), read=lambda reply: sorted(map(_link, reply))
    )


def _link(text: bytes) -> Link:
    sign, queue, job_id = readable(text).split(" ")
    return Link(sign == "<", queue, job_id)


def waits_for(queue: str, job_id: str, most: int) -> Command:
    """Read some of the jobs that a deferred one still waits for. Reply: their ids."""

    def read(reply: Sequence[Any]) -> list[str]:
        return sorted(readable(one).partition(" ")[2] for one in reply[1])

    return Command(("SSCAN", keys.key(queue, f"after:{job_id}"), 0, "COUNT", most), read=read)


def count_waits_for(queue: str, job_id: str) -> Command:
    """Count the jobs that a deferred one still waits for."""
    return Command(("SCARD", keys.key(queue, f"after:{job_id}")))


def place_in_lane(queue: str, limit: str, job_id: str) -> Command:
    """Count the deferred jobs of a limit in front of one of them; 0 if it is not there."""
    return Command(("ZRANK", keys.key(queue, f"lane:{limit}"), job_id), read=lambda reply: int(reply or 0))


class Inputs(NamedTuple):
    """The outcomes that a job gets of those before it."""

    outcomes: dict[str, bytes]
    """By queue and id."""
    shared: list[str]
    """The queue and id of each further one, which `shared_input` reads: several jobs get it, and it is large."""


def inputs(queue: str, job_id: str) -> Command:
    """Read the outcomes that a job gets of those before it. Reply: `Inputs`."""

    def read(reply: Sequence[bytes]) -> Inputs:
        outcomes = dict(zip(texts(reply[::2]), reply[1::2], strict=True))
        shared = outcomes.pop("", b"").decode()
        return Inputs(outcomes, shared.split(",")[:-1])

    return Command(("HGETALL", keys.key(queue, f"inputs:{job_id}")), read=read)


def shared_input(queue: str, before: str) -> Command:
    """Read an outcome that several jobs share, by the queue and id of its job. Reply: its bytes, or None."""
    return Command(("HGET", keys.key(queue, f"shared:{before}"), "outcome"))


# --- streaming what a job yields


def append(
    queue: str, token: str, job_id: str, first: int, items: Sequence[bytes], most: int = MAX_STREAM
) -> Command:
    """Append encoded items to a job's stream: the item at position `first`, and those behind it. Reply: its length.

    At most 65,535 items. Nothing is appended unless the stream's length was `first`. Raises LeaseLost, and TooLarge if
    the stream would have more than `most` bytes.
    """

    def read(reply: Sequence[Any]) -> int:
        word = checked(reply[0].decode())
        if word == "STALE":
            raise LeaseLost(f"the lease of job {job_id} expired or went to another worker")
        if word == "FULL":
            raise TooLarge(
                f"the items that job {job_id} yields have more than {most:,} bytes together",
                hint="yield less, or write to a file and yield its path",
            )
        return int(reply[1])

    array = b"\xdc" + len(items).to_bytes(2, "big") + b"".join(items)
    return script("append", queue, token, job_id, first, len(items), most, array, read=read)


# --- the steps of a job


class Look(NamedTuple):
    """What a running job that waits has found: OK and the value of its signal, OVER at its end, or else WAIT."""

    state: str
    value: bytes = b""


def step(queue: str, token: str, job_id: str, field: str, value: bytes, save: int = 0) -> Command:
    """Keep a value with a running job: the first one of this field or, of those with numbers, that of the last `save`.

    The number is kept in front of the value, with a space. Reply: None, or the first value if it was kept before.
    Raises LeaseLost, and TooLarge if the job would keep too much.
    """

    def read(reply: Sequence[Any]) -> bytes | None:
        word = _checked_step(reply[0].decode(), job_id)
        return reply[1] if word == "KEPT" else None

    return script("step", queue, token, job_id, field, value, save or "first", read=read)


def wait(queue: str, token: str, job_id: str, kind: WaitKind, name: str, seconds: float | None) -> Command:
    """Look for the signal that a running job waits for, or for the end of its sleep. Reply: `Look`.

    Its end is `seconds` after the first look, or never. Raises LeaseLost, and TooLarge if the job would keep too much.
    """

    def read(reply: Sequence[Any]) -> Look:
        word = _checked_step(reply[0].decode(), job_id)
        return Look(word, reply[1] if word == "OK" else b"")

    until = "never" if seconds is None else milliseconds(seconds)
    return script("wait", queue, token, job_id, kind, name, until, read=read)


def suspend(queue: str, token: str, job_id: str, kind: WaitKind, name: str, attempt: bytes = b"") -> Command:
    """Suspend a job until a wait or a sleep has ended: leased -> delayed, or ready if it has. No retry is used.

    Reply: OK, STALE or, if that was requested, cancelled.
    """
    return script("suspend", queue, token, job_id, kind, name, attempt)


def signal(queue: str, job_id: str, name: str, value: bytes) -> Command:
    """Keep a value for which a job waits, or will wait; a job that waits for it becomes ready.

    Reply: OK; KEPT if the signal came before, or the wait has timed out; over or gone. Raises TooLarge if the job would
    keep too much.
    """
    return script(
        "signal", queue, job_id, name, value, read=lambda reply: _checked_step(reply[0].decode(), job_id)
    )


def _checked_step(word: str, job_id: str) -> str:
    if word == "STALE":
        raise LeaseLost(f"the lease of job {job_id} expired or went to another worker")
    if word == "FULL":
        raise TooLarge(
            f"the steps of job {job_id} keep more than {MAX_STEPS:,} values, or more than {MAX_STEP_BYTES:,} bytes",
            hint="keep fewer or smaller values, or write to a file and keep its path",
        )
    return checked(word)


# --- what people do to jobs


class CancelReply(NamedTuple):
    """The result of a cancellation: cancelled, running, dead, over or gone; for a taken job, who holds it."""

    state: str
    owner: str = ""
    token: str = ""


def cancel(
    queue: str,
    job_id: str,
    outcome: bytes,
    keep: float,
    note: bytes = b"",
    only_waiting: bool = False,  # noqa: FBT001, FBT002
) -> Command:
    """Cancel a waiting job, or mark a running one. Reply: `CancelReply`.

    `keep` is for a job without one of its own. `note` is who cancels it and why, for people; empty for none. The reply
    names the holder even of a job that was prefetched, which may have started a moment ago. With `only_waiting`, jobs
    that were claimed are left as they are, so a cancelled one has not run under this claim.
    """
    options = [note, "waiting"] if only_waiting else [note] if note else []
    args = (job_id, outcome, milliseconds(keep), *options)
    return script(
        "cancel", queue, *args, read=lambda reply: CancelReply(checked(reply[0].decode()), *texts(reply[1:]))
    )


def revive(queue: str, ids: Iterable[str]) -> Command:
    """Revive jobs: dead -> ready. Reply: how many."""
    return script("revive", queue, *ids, read=number)


class _UniqueTerms(msgspec.Struct):
    """Of the terms of a job, its unique key."""

    u: str = ""


def unique_key(queue: str, job_id: str) -> Command:
    """Read the unique key of a job that has not finished, or is dead. Reply: the key, or ""."""

    def read(reply: bytes | None) -> str:
        _, _, packed = (reply or b"").partition(b"\n")
        try:
            return msgspec.msgpack.decode(packed, type=_UniqueTerms).u
        except msgspec.MsgspecError:
            return ""  # it has none

    return Command(("HGET", keys.key(queue, "terms"), job_id), read=read)


def holder_of_key(queue: str, unique: str) -> Command:
    """Read which job has a unique key. Reply: its id, or ""."""
    return Command(("GET", keys.key(queue, f"unique:{unique}")), read=lambda reply: readable(reply or b""))


def discard(queue: str, ids: Iterable[str]) -> Command:
    """Discard jobs for good: dead -> over. Reply: how many."""
    return script("discard", queue, *ids, read=number)


def purge(
    queue: str, index: str, most: int, outcome: bytes, keep: float, upto: float = float("inf")
) -> Command:
    """Cancel a slice of the jobs in `ready`, `deferred` or `delayed`. Reply: how many, 0 at the end.

    `upto` limits them: to the sequence number of the last job accepted, in `delayed` to a due time in ms.
    `keep` is for jobs without one of their own.
    """
    return script("purge", queue, index, repr(upto), most, outcome, milliseconds(keep), read=number)


# --- recovery


def promote(queue: str) -> Command:
    """Move a slice of the due jobs: delayed -> ready. Reply: how many."""
    return script("promote", queue, read=number)


def reap(queue: str) -> Command:
    """Recover a slice of the jobs with expired leases: leased -> ready, dead or over. Reply: how many."""
    return script("reap", queue, read=number)


# --- the queue as a whole


class Count(NamedTuple):
    """How many jobs are in each state, and the ledger."""

    ready: int
    delayed: int
    leased: int
    dead: int
    blocked: int
    """Producers that wait for room and were last seen within 5 seconds."""
    accepted: int
    finished: int
    cancelled: int
    discarded: int
    """Dead jobs dropped because there were more than 10,000, or on request."""
    orphans: int
    lapsed: int
    maxsize: int
    paused: int
    shutdown: int
    strange: int = 0
    """Keys of the queue that hold the wrong type, since another program has written to them."""
    torn: int = 0
    """Entries of the queue's keys without their counterpart, as after an eviction: jobs without bytes, say."""
    deferred: int = 0
    """Jobs that wait for others: for those before them, or of the same limit."""
    rest: int = 0
    """Until when no job starts since a task raised Throttle, ms since 1970 by the server's clock; 0 if it doesn't."""

    @property
    def qsize(self) -> int:
        """Jobs in the buffer, delayed and deferred ones included: what `maxsize` limits."""
        return self.ready + self.delayed + self.deferred

    @property
    def is_full(self) -> bool:
        """True if it holds `maxsize` jobs."""
        return 0 < self.maxsize <= self.qsize

    @property
    def state(self) -> str:
        """The state of the queue: shut, paused, full or open."""
        if self.shutdown:
            return "shut"
        if self.paused:
            return "paused"
        return "full" if self.is_full else "open"

    @property
    def live(self) -> int:
        """Unfinished jobs."""
        return self.qsize + self.leased

    @property
    def imbalance(self) -> int:
        """Jobs accepted and not accounted for; 0 if the ledger balances."""
        return self.accepted - self.live - self.finished - self.cancelled - self.dead - self.discarded


class ForgetReply(NamedTuple):
    """The state of a queue that might be forgotten: GONE, IDLE, USED or LIVE; and its jobs."""

    word: str
    ready: int = 0
    delayed: int = 0
    leased: int = 0
    dead: int = 0
    deferred: int = 0


def count(queue: str) -> Command:
    """Count the jobs. Reply: `Count`."""
    return script("count", queue, read=lambda reply: Count(*map(int, reply)))


def bound(queue: str, maxsize: int) -> Command:
    """Set the max size."""
    return script("bound", queue, maxsize)


def limit(queue: str, running: int, starts: int, within: float) -> Command:
    """Set how many jobs may run at a time, and start within so many seconds; zeros for no limit."""
    return script("limit", queue, running, starts, milliseconds(within))


class LimitState(NamedTuple):
    """A limit, and how much of it is used."""

    key: str
    """Empty for that of the queue."""
    max_running: int = 0
    max_starts: int = 0
    period: float = 0.0
    """Seconds."""
    in_order: bool = False
    running: int = 0
    """Jobs that run, or may be taken at once, of which only the latter count without a max; 0 for that of the queue."""
    started: int = 0
    """Jobs that started within the period."""
    waiting: int = 0
    """Deferred jobs of the key."""
    until: float = 0.0
    """Until when none may start, seconds since 1970 by the server's clock; 0 if only running jobs are in the way."""


class Limits(NamedTuple):
    """The limit of a queue, and the keys that jobs wait for, those with the most first."""

    queue: LimitState | None
    """None without a limit."""
    keys: list[LimitState]
    known: int
    """How many keys have a limit in use."""
    read: int
    """How many of them were read; of very many, only those of some deferred jobs."""


def limits(queue: str, only: str = "") -> Command:
    """Read the limit of a queue, and of the keys that jobs wait for or of one key. Reply: `Limits`."""

    def read(reply: Sequence[Any]) -> Limits:
        _, whole, started, known, count, *rows = reply
        own = _limit_state("", whole, started) if whole else None
        found = [_limit_state(readable(key), *rest) for key, *rest in rows]
        return Limits(own, found, known, count)

    return script("limits", queue, MAX_KEYS, MAX_KEYS_READ, *filter(None, (only,)), read=read)


def _limit_state(key: str, packed: bytes, started: int, waiting: int = 0, until: int = 0) -> LimitState:
    running, starts, period, in_order, ready, taken, _ = _LIMIT.unpack(packed)
    used = (ready + taken, started, waiting, until / 1000)
    return LimitState(key, running, starts, period / 1000, bool(in_order), *used)


def age(queue: str, every: int) -> Command:
    """Make one of so many claims take the first job of the priority of a random waiting job; 0 for none."""
    return script("age", queue, every)


def end_rest(queue: str, key: str = "") -> Command:
    """End the rest of a limit, or of the queue, that a task has asked for. Reply: 1 if it rested, otherwise 0."""
    return script("end_rest", queue, key, read=number)


def pause(queue: str) -> Command:
    """Make claims return nothing until `resume`."""
    return script("pause", queue)


def resume(queue: str) -> Command:
    """Undo `pause` and `shut`."""
    return script("resume", queue)


def shut(queue: str) -> Command:
    """Refuse all puts."""
    return script("shut", queue)


def forget(queue: str, unused: float, *, remove: bool = False) -> Command:
    """Check if a queue was empty and unused for `unused` seconds; with `remove`, remove it. Reply: `ForgetReply`."""

    def read(reply: Sequence[Any]) -> ForgetReply:
        return ForgetReply(checked(reply[0].decode()), *reply[1:])

    return script("forget", queue, milliseconds(unused), "yes" if remove else "no", read=read)


def note_queue(queue: str) -> Command:
    """Add the queue's name to the list of queues."""
    return Command((1, keys.QUEUES, queue), scripts.load_plain("note"))


def queue_names() -> Command:
    """List the queues. Reply: their names, sorted, without invalid ones that another program added."""
    return Command(("SMEMBERS", keys.QUEUES), read=lambda reply: sorted(valid_names(reply)))


def valid_names(found: Iterable[bytes]) -> list[str]:
    """Read names of queues, and leave out invalid ones."""
    return list(filter(ids.is_queue_name, map(readable, found)))


def is_there(queue: str) -> Command:
    """Check if the queue exists: it was put to, or has settings."""
    return Command(("EXISTS", keys.key(queue, "meta")), read=bool)


def was_deleted(queue: str, born: int) -> Command:
    """Check if the queue with this birth was deleted on purpose."""
    return Command(("LPOS", keys.key(queue, "deleted"), born), read=lambda reply: reply is not None)


# --- looking at jobs, and at what was done


class State(NamedTuple):
    """Where one job is: ready, deferred, delayed, leased, dead, over or gone. For `detail` see state.lua."""

    state: str
    detail: bytes | int
    data: bytes
    tries: str
    progress: bytes


class RowRange(NamedTuple):
    """Which rows of an index: `want` of them after (score, id), ascending or descending; from an end if score is ""."""

    want: int
    down: bool = False
    score: str = ""
    id: str = ""
    skip: int = 0
    """Rows to leave out at the beginning."""
    cut: int = 2048
    """Max bytes of each job and each reason."""


class Row(NamedTuple):
    """One entry of an index; missing parts are empty."""

    id: str
    score: str
    """As a string, exact."""
    data: bytes
    """The first bytes of the job."""
    size: int
    """Bytes of the whole job."""
    lease: bytes
    tries: bytes
    progress: bytes
    reason: bytes
    """The first bytes of a dead job's outcome."""
    terms: bytes = b""
    """The first line of the terms of a deferred job."""
    after: int = 0
    """How many jobs a deferred one waits for."""
    before: str = ""
    """One of them, as queue and id."""
    shift: int = 0
    """Milliseconds that the score of a delayed job is ahead of the server's clock."""


class Rows(NamedTuple):
    """Some entries of an index in the order asked for, its length, and the position of the lowest of them, from 0."""

    total: int
    first: int
    rows: list[Row]


class Bucket(NamedTuple):
    """The figures of one minute, hour or day: its number since 1970, and strings by field."""

    number: int
    fields: dict[str, str]


def state(queue: str, job_id: str) -> Command:
    """Find one job. Reply: `State`."""

    def read(reply: Sequence[Any]) -> State:
        word, detail, data, tries, progress = reply
        return State(word.decode(), detail, data, readable(tries), progress)

    return script("state", queue, job_id, read=read)


def rows(queue: str, index: str, chosen: RowRange) -> Command:
    """List at most 200 entries of an index: ready, deferred, delayed, leased or dead. Reply: `Rows`."""

    def read(reply: Sequence[Any]) -> Rows:
        shift = reply[3]
        found = [
            Row(readable(job), score.decode(), *[*rest, readable(before), shift])
            for job, score, *rest, before in reply[4:]
        ]
        return Rows(reply[1], reply[2], found)

    args = (chosen.want, chosen.score, chosen.id, chosen.skip, chosen.cut)
    return script("rows", queue, index, "down" if chosen.down else "up", *args, read=read)


class FlowJob(NamedTuple):
    """A job and what comes before and after it."""

    id: str
    state: str
    """As of State."""
    detail: bytes
    """As of State; the first bytes of a long outcome."""
    data: bytes
    """The first bytes of the job."""
    size: int
    """Bytes of the whole job."""
    tail: bytes
    """The last bytes of a long outcome."""
    after: int
    """How many jobs it still waits for."""
    total: int
    """How many come before and after it."""
    links: list[Link]
    """As many of them as were wanted."""


def flow(queue: str, ids: Sequence[str], known: Sequence[str] = (), most: int = 100) -> Command:
    """Read jobs and those of this queue around them, the nearest first, without known ones. Reply: a `FlowJob` each."""

    def read(reply: Sequence[Any]) -> list[FlowJob]:
        return [
            FlowJob(readable(job), readable(state), *[*rest, sorted(map(_link, links))])
            for job, state, *rest, links in reply[1:]
        ]

    return script("flow", queue, most, MAX_FLOW_LINKS, FLOW_CUT, len(ids), *ids, *known, read=read)


def tally(
    queue: str, owner: str, number: int, oldest: float | None, figures: Iterable[tuple[str, str]]
) -> Command:
    """Add (task, figures as text) to the histories and set the gauges; `number` 0 adds nothing.

    A number no greater than this owner's last adds nothing. `oldest` is the put_at of the job at the head, None if
    unknown.
    """
    head: int | str = "" if oldest is None else milliseconds(oldest)
    if queue == keys.ALL_QUEUES:  # gauges are per queue
        head = "-"
    return script("tally", queue, owner, number, head, *(word for one in figures for word in one))


def series(queue: str, tier: str, first: int, last: int, fields: Sequence[str] = ()) -> Command:
    """Read the minutes, hours or days from `first` to `last`, at most 180. Reply: a `Bucket` for each with figures."""

    def read(reply: Sequence[Any]) -> list[Bucket]:
        return [
            Bucket(at, _values(fields, found)) for at, found in zip(reply[1::2], reply[2::2], strict=True)
        ]

    return script("series", queue, tier, first, last, *fields, read=read)


def _values(fields: Sequence[str], found: Sequence[bytes | None]) -> dict[str, str]:
    names = fields or [readable(one) for one in found[::2] if one]
    values = found if fields else found[1::2]
    return {name: readable(value) for name, value in zip(names, values, strict=True) if value is not None}


# --- waiting, and receiving results


class ListenReply(NamedTuple):
    """Outcomes by id (empty bytes: unknown job), and how many of the ids were looked up."""

    outcomes: dict[str, bytes]
    looked: int
    was_open: bool = False
    """True if the inbox was open before, so that outcomes since the last call were pushed to it."""
    lineage: Lineage = Lineage()


class Pushed(NamedTuple):
    """Entries of an inbox: id, outcome, id, outcome, … or, instead of them, a wake-up, as the queue may have room."""

    queue: str
    entries: Sequence[bytes] = ()
    has_room: bool = False


def join(queue: str, joiner: str) -> Command:
    """Ask for a wake-up once no job is left. Reply: how many are unfinished."""
    return script("join", queue, joiner, read=lambda reply: 0 if reply[0] == b"DONE" else int(reply[1]))


def leave(queue: str, waiter: str) -> Command:
    """Stop waiting for room or for the end of all jobs."""
    return script("leave", queue, waiter)


def listen(queue: str, inbox: str, hold: float, ids: Iterable[str] = ()) -> Command:
    """Hold an inbox open for `hold` seconds (0 closes it) and look up outcomes. Reply: `ListenReply`."""

    def read(reply: Sequence[Any]) -> ListenReply:
        *found, looked, was_open, born, sequence = reply
        pairs = zip(found[::2], found[1::2], strict=True)
        outcomes = {job_id.decode(): outcome for job_id, outcome in pairs}
        return ListenReply(outcomes, looked, bool(was_open), Lineage(int(born), int(sequence), int(sequence)))

    return script("listen", queue, inbox, milliseconds(hold), MAX_BYTES, *ids, read=read)


def await_outcomes(
    queues: Sequence[str],
    inbox: str,
    seconds: float,
    lined: Sequence[str] = (),
    waiter: str = "",
    most: int = 1000,
) -> Command:
    """Wait for outcomes pushed to an inbox, or for room in a queue in whose line `waiter` is. Reply: `Pushed` or None.

    An id with an empty outcome has finished and must be looked up. An empty id with an outcome means that further ones
    were not pushed; with none it is a nudge. With 0 seconds it does not wait. A reply is lost with its connection.
    """
    queue_of = {keys.key(queue, f"inbox:{inbox}"): queue for queue in queues}
    lined_of = {keys.key(queue, f"wake:{waiter}"): queue for queue in lined}
    verb = ("BLMPOP", f"{seconds:.3f}") if seconds > 0 else ("LMPOP",)

    def read(reply: Sequence[Any] | None) -> Pushed | None:
        if reply is None:
            return None
        name = reply[0].decode()
        if name in lined_of:
            return Pushed(lined_of[name], has_room=True)
        return Pushed(queue_of[name], reply[1])

    lists = (len(queue_of) + len(lined_of), *queue_of, *lined_of)
    return Command((*verb, *lists, "LEFT", "COUNT", 2 * most), read=read, block=seconds)


def nudge(queue: str, inbox: str) -> Command:
    """Wake the reader of an inbox without an outcome, even if the server is full."""
    return push(keys.key(queue, f"inbox:{inbox}"), NUDGE_KEEP, "", "")


def await_bell(queues: Iterable[str], seconds: float, *, once: bool = False, most: int = 1) -> Command:
    """Wait for a wake-up: a job may be there. Reply: None if there was none. `once`: not again after a lost reply.

    `most` is how many of one queue are taken: more than one if they are known to be left over.
    """
    bells = [keys.key(queue, "bell") for queue in queues]
    if most == 1:
        return block_on(bells, seconds, once=once)
    seconds = max(seconds, 0.001)  # 0 would block forever
    return Command(("BLMPOP", f"{seconds:.3f}", len(bells), *bells, "LEFT", "COUNT", most), block=seconds)


def await_wake(queue: str, waiter: str, seconds: float) -> Command:
    """Wait for the wake-up of one blocked producer or joiner. Reply: the wake-up, or None."""
    return block_on([keys.key(queue, f"wake:{waiter}")], seconds)


def any_work(queues: Iterable[str]) -> Command:
    """Check if a queue has jobs, or news of them for others. The cheapest check there is."""
    words = ["EXISTS"]
    for queue in queues:
        words += [keys.key(queue, name) for name in _WORK]
    return Command(tuple(words), read=bool)


# --- the server


def load_scripts() -> list[Command]:
    """Load all verbs into the server. Reply of each: its hash, or None if forbidden.

    A script that the server does not know is sent again after the rest of its round trip, and so out of order.
    """
    return [Command(("SCRIPT", "LOAD", scripts.load(name).text), optional=True) for name in scripts.names()]


def server_time() -> Command:
    """Read the server's clock. Reply: seconds since 1970."""
    return Command(("TIME",), read=lambda reply: int(reply[0]) + int(reply[1]) / 1e6)
