"""Every key of Conveyor: name, type, what it holds, how long. The braces put all keys of a queue in one hash slot.

T = conveyor:{queue}
"""

from __future__ import annotations

import functools

#: Of one queue, in the order in which every script gets them as KEYS: name, type, what it holds. All live as long
#: as the queue has something in them; Redis drops an empty key by itself.
QUEUE_KEYS = (
    (
        "meta",
        "hash",
        "protocol version, maxsize, paused, shutdown, birth, sequence, lease and due clocks, counters of the ledger",
    ),
    ("ready", "zset", "waiting jobs; score orders by priority, then by acceptance"),
    (
        "delayed",
        "zset",
        "jobs not due yet, or waiting for a retry; score = due time, ms, the queue's own clock",
    ),
    ("leased", "zset", "taken jobs; score = end of the lease, ms, lease clock"),
    ("leases", "hash", "id -> token, owner, Started or Held or Cancel, place in ready; only of taken jobs"),
    ("jobs", "hash", "id -> the job's bytes, written once; only of jobs that are not over"),
    (
        "tries",
        "hash",
        "id -> retries used, crashes, recoveries, expired leases if any; only of jobs that have any",
    ),
    ("priorities", "hash", "id -> priority of delayed and dead jobs that have one"),
    ("dead", "zset", "dead letters; score = time of death, ms; grows even if the clock is set back"),
    ("reasons", "hash", "id -> outcome bytes of a dead letter"),
    ("bell", "list", "wake-up hints for waiting consumers, at most 32"),
    ("line", "zset", "producers that wait for room, first come first; score = ticket"),
    ("seen", "hash", "waiting producer or joiner -> when it was last seen, ms"),
    ("joiners", "set", "who waits for the queue to be all done"),
    ("inboxes", "zset", "producers that listen for results; score = until when, ms"),
    ("watchers", "hash", "id -> inboxes of others that wait for this job, separated by spaces"),
    ("progress", "hash", "id -> latest progress of a running job"),
    ("history", "stream", "recent finishes, for people; capped"),
    ("groups", "hash", "id -> fingerprint of a dead letter's failure"),
    ("totals", "hash", "figures of all time: of the queue, and of its first 200 tasks by name"),
)

#: Keys that expire by themselves, most with an id or a name after the colon: type, what it holds, and how long.
NAMED_KEYS = (
    ("outcome:<id>", "string", "what came of a job; as long as the job says, an hour by default"),
    (
        "inbox:<producer>",
        "list",
        "id and outcome, or id alone, of jobs that ended, for the producer; bounded, 2 minutes after the last",
    ),
    ("wake:<waiter>", "list", "a hint for one waiting producer or joiner; 10 seconds"),
    (
        "claim:<owner>",
        "string",
        "the last claim of a worker, so that a lost reply can be asked for again; a minute",
    ),
    (
        "attempts:<id>",
        "list",
        "runs of a job that went on or is dead, at most 20; a day after the last, a week for dead letters",
    ),
    ("cancel:<id>", "string", "who cancelled a job, and why; an hour"),
    ("minute:<n>", "hash", "figures and gauges of the n-th minute since 1970, and of 20 tasks; 6 hours"),
    ("hour:<n>", "hash", "the same of an hour, of 200 tasks; 14 days"),
    ("day:<n>", "hash", "the same of a day; 400 days"),
    ("tally:<owner>", "string", "number of the last tally of a worker, so that none counts twice; an hour"),
    ("log:<id>", "stream", "lines a running job wrote; capped, an hour after the last"),
    (
        "deleted",
        "list",
        "births of the queue that ended with its deletion, the last 20; 30 days after the last",
    ),
)

#: Stands for a queue's name, and is none, in the keys of what all queues did together: `totals`, `minute:<n>`,
#: `hour:<n>`, `day:<n>` and `tally:<owner>`.
ALL_QUEUES = "*"

#: Outside any queue.
CONSUMERS = "conveyor:consumers"
"""zset: consumer -> last report, seconds since 1970 by its own clock; an hour of silence, then taken off"""
QUEUES = "conveyor:queues"
"""set: names of all queues that were put to and are not forgotten"""
AUDIT = "conveyor:audit"
"""stream: what people did, one msgpack blob `act` each; about 10,000"""
ACTS = "conveyor:acts"
"""hash: action and outcome of what people did, as `pause_queue done` -> how often; 200 fields"""
OPERATIONS = "conveyor:operations"
"""zset: operation -> when it began, seconds since 1970 by the server's clock; 1,000 at most"""

SWEEP = "conveyor:sweep"
"""string: consumer that looks for queues that can be forgotten; an hour, in which no other does"""
ORDERS = "conveyor:orders"
"""zset: order to workers that was answered -> when it first was, seconds since 1970; 1,000 at most"""
ANSWERS = "conveyor:answers:"
"""What the keys of `answers_key` begin with."""


@functools.lru_cache(maxsize=1024)
def queue_keys(queue: str) -> tuple[str, ...]:
    """Give the keys of one queue in the order in which every script gets them."""
    return tuple(f"conveyor:{{{queue}}}:{name}" for name, _, _ in QUEUE_KEYS)


def key(queue: str, name: str) -> str:
    """Give one key of one queue by its name in the tables above, such as `bell` or `inbox:abc`."""
    return f"conveyor:{{{queue}}}:{name}"


def consumer_key(consumer: str) -> str:
    """string: what a consumer and its workers are doing; gone 20 seconds after the last report."""
    return f"conveyor:consumer:{consumer}"


def control_key(consumer: str) -> str:
    """list: commands for a consumer's supervisor; a minute."""
    return f"conveyor:control:{consumer}"


def reply_key(command: str) -> str:
    """list: the supervisors' answers to one control command; a minute."""
    return f"conveyor:reply:{command}"


def answers_key(order: str) -> str:
    """hash: target of an order -> what its supervisor said last; 30 days after the last, of at most 1,000 orders."""
    return ANSWERS + order


def operation_key(operation: str) -> str:
    """string: how far an operation over many jobs is; 7 days after its last progress."""
    return f"conveyor:operation:{operation}"


def request_key(name: str) -> str:
    """string: what an Idempotency-Key was first used for: digest of the request, queue, id of the job; a day."""
    return f"conveyor:key:{name}"


def stop_key(operation: str) -> str:
    """string: somebody wishes that the operation stops; 7 days."""
    return f"conveyor:operation:{operation}:stop"
