"""Commands that need no script: waiting for a hint, and what consumers and those who watch them tell each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.store import keys, scripts
from conveyor.store.answers import shown
from conveyor.store.command import Command
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.wire.durability import Durability

#: Seconds that a control command, and the answers to it, are kept for.
CONTROL_KEEP = 60
#: Seconds that the last word on each target of an order is kept, and of how many targets and orders.
ANSWERS_KEEP, MOST_TARGETS, MOST_ORDERS = 30 * 86400, 200, 1000
#: Seconds that a nudge lies in an inbox that nobody reads any more.
NUDGE_KEEP = 120
#: Seconds after its last report that a consumer is taken for gone.
REPORT_KEEP = 20
#: Seconds that a key of requests is remembered.
REQUEST_KEEP = 86400
#: Bytes of a line that a job logs; what is more is cut off.
LONGEST_LINE = 8192


def _first(reply: Sequence[Any] | None) -> bytes | None:
    return None if reply is None else reply[1]


def load_scripts() -> list[Command]:
    """Load all verbs into the server; each answers its hash, or None if that is not permitted.

    A script that the server does not know is sent again after the rest of its round trip, and so out of order.
    """
    return [Command(("SCRIPT", "LOAD", scripts.load(name).text), optional=True) for name in scripts.names()]


def await_bell(queues: Iterable[str], seconds: float) -> Command:
    """Wait for a hint that a job may be there; answers the hint or None."""
    return _await([keys.key(queue, "bell") for queue in queues], seconds)


def await_wake(queue: str, waiter: str, seconds: float) -> Command:
    """Wait for a hint to one waiting producer or joiner."""
    return _await([keys.key(queue, f"wake:{waiter}")], seconds)


def await_control(consumer: str, seconds: float) -> Command:
    """Wait for a command to this consumer; answers its bytes or None."""
    return _await([keys.control_key(consumer)], seconds)


def await_reply(command: str, seconds: float) -> Command:
    """Wait for one answer to a control command; answers its bytes or None."""
    return _await([keys.reply_key(command)], seconds)


def replies(command: str) -> Command:
    """Answer what was answered so far to a control command, and leave it there for others to read."""
    return Command(("LRANGE", keys.reply_key(command), 0, 499))


def _await(lists: Sequence[str], seconds: float) -> Command:
    seconds = max(seconds, 0.001)  # 0 would be for ever
    return Command(("BLPOP", *lists, f"{seconds:.3f}"), read=_first, block=seconds)


def await_letters(
    queues: Sequence[str],
    inbox: str,
    seconds: float,
    lined: Sequence[str] = (),
    waiter: str = "",
    most: int = 1000,
) -> Command:
    """Wait for outcomes pushed to an inbox; answers the queue and id, outcome, id, outcome, … or None.

    An id with an empty outcome has ended and must be asked for. An empty id with an outcome means that more were not
    pushed; with none it only wakes the reader. A queue with nothing behind it is one of the `lined`, in whose lines the
    `waiter` stands: it may have room. With 0 seconds it does not wait. An answer is lost with its connection.
    """
    queue_of = {keys.key(queue, f"inbox:{inbox}"): queue for queue in queues}
    lined_of = {keys.key(queue, f"wake:{waiter}"): queue for queue in lined}
    verb = ("BLMPOP", f"{seconds:.3f}") if seconds > 0 else ("LMPOP",)
    words = (*verb, len(queue_of) + len(lined_of), *queue_of, *lined_of, "LEFT", "COUNT", 2 * most)

    def read(reply: Sequence[Any] | None) -> tuple[str, list[bytes]] | None:
        if reply is None:
            return None
        name = reply[0].decode()
        return (lined_of[name], []) if name in lined_of else (queue_of[name], reply[1])

    return Command(words, read=read, block=seconds)


def nudge(queue: str, inbox: str) -> list[Command]:
    """Wake the reader of an inbox without an outcome, on a full server too."""
    return [_tell(keys.key(queue, f"inbox:{inbox}"), NUDGE_KEEP, "", "")]


def any_work(queues: Iterable[str]) -> Command:
    """Answer whether a queue has jobs that wait, or leases that could lapse: the cheapest look there is."""
    words = ["EXISTS"]
    for queue in queues:
        words += (keys.key(queue, "ready"), keys.key(queue, "delayed"), keys.key(queue, "leased"))
    return Command(tuple(words), read=bool)


def note_queue(queue: str) -> Command:
    """Remember that a queue of this name exists."""
    return Command((1, keys.QUEUES, queue), scripts.load_plain("note"))


def queues() -> Command:
    """Answer the names of all queues, sorted; without what somebody else put there that cannot be one."""
    return Command(
        ("SMEMBERS", keys.QUEUES), read=lambda reply: sorted(filter(ids.is_queue_name, _names(reply)))
    )


def drop_queue(queue: str) -> Command:
    """Take the name of a queue off the list."""
    return Command(("SREM", keys.QUEUES, queue))


def is_there(queue: str) -> Command:
    """Return whether a queue has been put to, or has settings."""
    return Command(("EXISTS", keys.key(queue, "meta")), read=bool)


def was_deleted(queue: str, born: int) -> Command:
    """Return whether somebody deleted the queue that came into being then."""
    return Command(("LPOS", keys.key(queue, "deleted"), born), read=lambda reply: reply is not None)


def begin_sweep(consumer: str, seconds: float) -> Command:
    """Return whether this consumer is the one to look for unused queues; for so many seconds no other is."""
    return Command(("SET", keys.SWEEP, consumer, "NX", "EX", int(seconds)), read=bool)


def some_queues(cursor: str) -> Command:
    """Return the next cursor, "0" at the end, and some names of queues."""
    return Command(
        ("SSCAN", keys.QUEUES, cursor, "COUNT", 50),
        read=lambda reply: (
            reply[0].decode(),
            [name for name in _names(reply[1]) if ids.is_queue_name(name)],
        ),
    )


def some_remains(queue: str, cursor: str) -> Command:
    """Return the next cursor, "0" at the end, and some keys with an id or a name in them that a queue has.

    None of them holds a job. It is a walk through all keys of the server.
    """
    return Command(
        ("SCAN", cursor, "MATCH", keys.key(queue, "*:*"), "COUNT", 1000),
        read=lambda reply: (reply[0].decode(), reply[1]),
    )


def clear(queue: str, names: Sequence[str | bytes]) -> Command:
    """Remove what a removed queue has left behind; return False, with nothing done, if jobs were put to it since."""
    words = (1 + len(names), keys.key(queue, "meta"), *names)
    return Command(words, scripts.load_plain("clear"), read=bool)


def _names(reply: Iterable[bytes]) -> list[str]:
    return [shown(name) for name in reply]


def report(consumer: str, data: bytes, at: float) -> list[Command]:
    """Tell what a consumer is doing; `at` is only for sorting."""
    words = (2, keys.consumer_key(consumer), keys.CONSUMERS, data, REPORT_KEEP, at, consumer)
    return [Command(words, scripts.load_plain("report"))]


def retire(consumer: str) -> list[Command]:
    """Take a consumer off the list: it has left, or it is gone."""
    return [
        Command(("DEL", keys.consumer_key(consumer), keys.control_key(consumer))),
        Command(("ZREM", keys.CONSUMERS, consumer)),
    ]


def forget_silent(before: float) -> Command:
    """Take consumers off the list that last reported before `before`: killed ones do not do it themselves."""
    return Command(("ZREMRANGEBYSCORE", keys.CONSUMERS, "-inf", f"({before}"))


def consumers() -> Command:
    """Answer the names of all consumers on the list, those that reported last first."""
    return Command(("ZREVRANGE", keys.CONSUMERS, 0, 999), read=_names)


def reports(names: Sequence[str]) -> Command:
    """Answer the report of each consumer, None where there is none any more."""
    return Command(("MGET", *(keys.consumer_key(name) for name in names)))


def control(consumer: str, data: bytes, *, optional: bool = False) -> list[Command]:
    """Send a command to a consumer's supervisor; not at all if it is `optional` and not permitted."""
    return [_tell(keys.control_key(consumer), CONTROL_KEEP, data, optional=optional)]


def answer(command: str, data: bytes, target: str, last_word: str) -> list[Command]:
    """Answer a control command about one target, and keep the last word on it for the audit trail."""
    names = (keys.reply_key(command), keys.answers_key(command), keys.ORDERS)
    kept = (target, last_word, ANSWERS_KEEP, MOST_TARGETS, command, MOST_ORDERS, keys.ANSWERS)
    return [Command((3, *names, data, CONTROL_KEEP, *kept), scripts.load_plain("answer"))]


def _tell(key: str, keep: int, *messages: bytes | str, optional: bool = False) -> Command:
    return Command((1, key, keep, *messages), scripts.load_plain("tell"), optional=optional)


def keep_request(name: str, request: str) -> Command:
    """Keep what a key of requests is used for, unless it was used before; answers what was kept, None the first time.

    Sent twice it answers its own text.
    """
    words = ("SET", keys.request_key(name), request, "NX", "GET", "EX", REQUEST_KEEP)
    return Command(words, read=lambda reply: None if reply is None else reply.decode())


def set_progress(queue: str, items: Sequence[tuple[str, bytes]]) -> Command:
    """Keep the latest progress of running jobs; that of a finished job is dropped."""
    words: list[Any] = [2, keys.key(queue, "progress"), keys.key(queue, "leases")]
    for item in items:
        words += item
    return Command(tuple(words), scripts.load_plain("progress"))


def progress(queue: str, ids: Sequence[str]) -> Command:
    """Answer the latest progress of each job, None where there is none."""
    return Command(("HMGET", keys.key(queue, "progress"), *ids))


def log(queue: str, job_id: str, text: str) -> list[Command]:
    """Keep a line with a job: a thousand lines of 8 KB at most each, until an hour after the last."""
    key = keys.key(queue, f"log:{job_id}")
    line = text[:LONGEST_LINE].encode(errors="backslashreplace")
    if len(text) > LONGEST_LINE or len(line) > LONGEST_LINE:
        line = line[: LONGEST_LINE - 3].decode(errors="ignore").encode() + "…".encode()
    return [Command(("XADD", key, "MAXLEN", "~", 1000, "*", "line", line)), Command(("EXPIRE", key, 3600))]


def lines(queue: str, job_id: str) -> Command:
    """Answer the lines a job wrote."""
    return Command(
        ("XRANGE", keys.key(queue, f"log:{job_id}"), "-", "+"),
        read=lambda reply: [shown(entry[1][1]) for entry in reply],
    )


def page(queue: str, index: str, first: int, last: int) -> Command:
    """Answer ids and scores of one index (ready, delayed, leased, dead), from place `first` to `last`."""

    def read(reply: Sequence[bytes]) -> list[tuple[str, float]]:
        return [(shown(job), float(score)) for job, score in zip(reply[::2], reply[1::2], strict=True)]

    return Command(("ZRANGE", keys.key(queue, index), first, last, "WITHSCORES"), read=read)


def due_shift(queue: str) -> Command:
    """Return by how many milliseconds the due times of a queue are ahead of the server's clock."""
    return Command(("HGET", keys.key(queue, "meta"), "due_shift"), read=lambda reply: int(reply or 0))


def fields(queue: str, name: str, ids: Sequence[str]) -> Command:
    """Answer one of the queue's hashes for some ids."""
    return Command(("HMGET", keys.key(queue, name), *ids))


def memory(queue: str, index: str) -> Command:
    """Answer the bytes that one of a queue's keys takes, about; 0 where it is not there."""
    return Command(
        ("MEMORY", "USAGE", keys.key(queue, index), "SAMPLES", 5), read=lambda reply: int(reply or 0)
    )


def info(section: str, *, optional: bool = False) -> Command:
    """Answer a section of the server's facts by name; none where it is `optional` and not permitted."""

    def read(reply: bytes | None) -> dict[str, str]:
        pairs = (line.split(":", 1) for line in (reply or b"").decode().splitlines() if ":" in line)
        return {name: value.strip() for name, value in pairs}

    return Command(("INFO", section), read=read, optional=optional)


def setting(name: str, *, optional: bool = False) -> Command:
    """Answer one of the server's settings; an empty string if there is none, or it is `optional` and not permitted."""
    return Command(
        ("CONFIG", "GET", name), read=lambda reply: reply[1].decode() if reply else "", optional=optional
    )


def set_setting(name: str, value: str) -> Command:
    """Change one of the server's settings."""
    return Command(("CONFIG", "SET", name, value))


def confirm(durability: Durability, seconds: float) -> Command:
    """Wait until a level is reached for what was written before on the same connection. Reply: "", or what lacks.

    It has to follow the write in one round trip. A write that is sent again must write something, even if the server
    knows it already, so that this waits for the first one, too.
    """
    wait = max(1, int(seconds * 1000))  # 0 would be forever
    replicas = durability.replicas
    words: tuple[Any, ...] = ("WAIT", replicas, wait) if replicas else ("WAITAOF", 1, 0, wait)
    if is_written := durability.level == "written":
        wait, words = 0, ("INFO", "persistence")

    def read(reply: Any) -> str:
        if isinstance(reply, Exception):
            return str(reply).rstrip(".")
        if is_written:
            return "" if b"aof_enabled:1" in reply else "the server's append-only file is off"
        if replicas:
            return "" if reply >= replicas else f"{reply} of {replicas} replicas have received it"
        return "" if reply[0] else "the server has not synced its append-only file"

    return Command(words, read=read, block=wait / 1000, confirms=True)


def may_confirm(durability: Durability) -> Command:
    """Check that the server's user may have a level confirmed; waits for nothing."""
    if durability.level == "written":
        return info("persistence")
    return Command(("WAIT", 0, 1) if durability.replicas else ("WAITAOF", 0, 0, 1))


def server_time() -> Command:
    """Answer the server's clock, seconds since 1970."""
    return Command(("TIME",), read=lambda reply: int(reply[0]) + int(reply[1]) / 1e6)
