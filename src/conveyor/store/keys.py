"""All keys of Conveyor: name, type, contents, expiry. The braces put all keys of a queue in one hash slot.

T = conveyor:{queue}
"""

from __future__ import annotations

#: The keys of a queue, in the order in which scripts name them: name, type, contents. None expires; Redis removes empty
#: keys.
QUEUE_KEYS = (
    (
        "meta",
        "hash",
        "protocol version, maxsize, paused, shutdown, birth, sequence, lease and due clocks, counters of the ledger",
    ),
    ("ready", "zset", "waiting jobs; score orders by priority or key, then by acceptance"),
    (
        "delayed",
        "zset",
        "jobs not due yet, or waiting for a retry; score = due time, ms, the queue's own clock",
    ),
    ("leased", "zset", "leased jobs; score = end of the lease, ms, lease clock"),
    (
        "leases",
        "hash",
        "id -> token, owner, Started or Held or Cancel, position in ready; only of leased jobs",
    ),
    ("jobs", "hash", "id -> the job's bytes, written once; only of unfinished and dead jobs"),
    (
        "tries",
        "hash",
        "id -> retries used, crashes, recoveries, expired leases if any; only of jobs that have any",
    ),
    (
        "priorities",
        "hash",
        "id -> priority of delayed and dead jobs that have one; a fraction stands for a key",
    ),
    ("dead", "zset", "dead jobs; score = time of death, ms; grows even if the clock is set back"),
    ("reasons", "hash", "id -> outcome bytes of a dead job"),
    ("bell", "list", "wake-ups for waiting consumers, at most 32"),
    ("line", "zset", "producers that wait for room, first come, first served; score = ticket"),
    ("seen", "hash", "blocked producer or joiner -> when it was last seen, ms"),
    ("joiners", "set", "callers that wait until no job is left"),
    ("inboxes", "zset", "producers that listen for results; score = until when, ms"),
    ("watchers", "hash", "id -> inboxes of others that wait for this job, separated by spaces"),
    ("progress", "hash", "id -> latest progress of a running job"),
    ("history", "stream", "recent finishes, for people; capped"),
    ("groups", "hash", "id -> fingerprint of a dead job's failure"),
    ("totals", "hash", "figures of all time: of the queue, and of its first 200 tasks by name"),
    (
        "streams",
        "hash",
        "id -> number and bytes of the items in its stream; only of unfinished jobs that yield",
    ),
    (
        "steps",
        "hash",
        "id -> number and bytes of what its steps have kept; only of unfinished and dead jobs with steps",
    ),
    ("deferred", "zset", "jobs that wait for others; score = their place in ready, once they are"),
    (
        "terms",
        "hash",
        "id -> limit, unique key and policy of a job that has any; only of unfinished and dead jobs",
    ),
    (
        "limits",
        "hash",
        "key -> a limit, and how many of its jobs are ready and taken; empty key: of the queue",
    ),
    ("turns", "zset", "keys whose next job has to wait; score = until when, ms, the queue's own clock"),
    ("followed", "set", "unfinished jobs that others come after"),
    (
        "ended",
        "list",
        "ended jobs of which some followers have not been notified yet, and ms to keep their outcomes from then on",
    ),
    ("outbox", "zset", "messages for jobs of other queues; score = since when, ms, the queue's own clock"),
    ("unlinked", "list", "deferred jobs with jobs before them that have not been noted yet"),
    (
        "schedules",
        "hash",
        "schedule -> module that declares it, timing, and definition, a line each; at most 1,000",
    ),
    (
        "instants",
        "zset",
        "schedules that are not paused; score = next instant, ms since 1970, the server's clock",
    ),
    (
        "fired",
        "hash",
        "schedule -> last instant, its job, instants fired, skipped and missed, held or not",
    ),
    ("declared", "hash", "module -> start of the consumer that declared its schedules last, ms"),
)

#: Keys with an id or a name after the colon, most of which expire: type, contents, and until when they are there.
NAMED_KEYS = (
    ("outcome:<id>", "string", "the outcome of a job; as long as the job says, an hour by default"),
    (
        "inbox:<producer>",
        "list",
        "id and outcome, or id only, of finished jobs, for the producer; bounded, 2 minutes after the last",
    ),
    ("wake:<waiter>", "list", "a wake-up for one blocked producer or joiner; 10 seconds"),
    (
        "claim:<owner>",
        "string",
        "the last claim of a worker, so that a lost reply can be requested again; a minute",
    ),
    (
        "attempts:<id>",
        "list",
        "runs that were retried, released or fatal, at most 20; a day after the last, a week for dead jobs",
    ),
    ("cancel:<id>", "string", "who cancelled a job, and why; an hour"),
    ("minute:<n>", "hash", "figures and gauges of the n-th minute since 1970, and 20 tasks; 6 hours"),
    ("hour:<n>", "hash", "the same for an hour, and 200 tasks; 14 days"),
    ("day:<n>", "hash", "the same for a day; 400 days"),
    ("tally:<owner>", "string", "number of a worker's last tally, so that none counts twice; an hour"),
    (
        "stream:<id>",
        "stream",
        "items that a job yields; while it is unfinished, and then as long as its outcome",
    ),
    (
        "steps:<id>",
        "hash",
        "what a job's steps have kept: name -> number, value; while it is unfinished or dead",
    ),
    (
        "log:<id>",
        "stream",
        "lines that a job logged, with level, attempt, number, age in ms; capped, an hour after the last",
    ),
    ("lane:<key>", "zset", "deferred jobs of one limit; score = their order; while there are any"),
    ("after:<id>", "set", "jobs that a deferred job still comes after, as queue and id; while there are any"),
    ("before:<id>", "list", "further ones that have not been noted yet, up to 64 each; while there are any"),
    (
        "followers:<id>",
        "set",
        "jobs that come after an unfinished one, as queue and id; until these know how it ended",
    ),
    (
        "inputs:<id>",
        "hash",
        "queue and id of a job before -> its outcome, for a job that gets it; until that is over",
    ),
    (
        "shared:<queue> <id>",
        "hash",
        "a large outcome of a job, and the number of jobs that get it as an input; until these are over",
    ),
    ("starts:<key>", "list", "when jobs of one limit started, ms; a minute more than its period"),
    (
        "unique:<key>",
        "string",
        "the job that has a unique key; until it is over or starts, or as long as the job says",
    ),
    ("links:<id>", "set", "jobs before a job (<) and its followers (>), for people; a week"),
    ("same:<id>", "string", "the job that stands for one that was not put; a minute"),
    (
        "deleted",
        "list",
        "births of the queue that ended with its deletion, the last 20; 30 days after the last",
    ),
)

#: Replaces the queue's name in the keys with the figures of all queues together: `totals`, `minute:<n>`, `hour:<n>`,
#: `day:<n>` and `tally:<owner>`. No queue can have this name.
ALL_QUEUES = "*"

#: Outside any queue.
CONSUMERS = "conveyor:consumers"
"""zset: consumer -> last report, seconds since 1970 by its own clock; removed after an hour without a report"""
QUEUES = "conveyor:queues"
"""set: names of all queues that were put to and are not forgotten"""
SCHEDULED = "conveyor:scheduled"
"""set: names of queues that have, or had, schedules"""
AUDIT = "conveyor:audit"
"""stream: the audit trail, one msgpack blob `act` for each action; about 10,000"""
ACTS = "conveyor:acts"
"""hash: action and its result, as `pause_queue done` -> how often; 200 fields"""
OPERATIONS = "conveyor:operations"
"""zset: bulk operation -> its start, seconds since 1970 by the server's clock; 1,000 at most"""

SWEEP = "conveyor:sweep"
"""string: the consumer that looks for unused queues; an hour, in which no other does"""
SPEEDUP = "conveyor:speedup"
"""string: the last finished speedup experiment, as JSON; 30 days"""
ORDERS = "conveyor:orders"
"""zset: acknowledged control command -> time of its first acknowledgement, seconds since 1970; 1,000 at most"""
ANSWERS = "conveyor:answers:"
"""The prefix of the keys of `answers_key`."""


def key(queue: str, name: str) -> str:
    """Return a key of a queue by its name in the tables above, such as `bell` or `inbox:abc`."""
    return f"conveyor:{{{queue}}}:{name}"


def consumer_key(consumer: str) -> str:
    """string: what a consumer and its workers are doing; gone 20 seconds after the last report."""
    return f"conveyor:consumer:{consumer}"


def control_key(consumer: str) -> str:
    """list: commands for a consumer's supervisor; a minute."""
    return f"conveyor:control:{consumer}"


def reply_key(command: str) -> str:
    """list: the acknowledgements of a control command; a minute."""
    return f"conveyor:reply:{command}"


def answers_key(order: str) -> str:
    """hash: target of a control command -> its last acknowledgement; 30 days, of at most 1,000 commands."""
    return ANSWERS + order


def operation_key(operation: str) -> str:
    """string: the state of a bulk operation; 7 days after its last progress."""
    return f"conveyor:operation:{operation}"


def request_key(name: str) -> str:
    """string: the first use of an Idempotency-Key: digest of the request, queue, id of the job; a day."""
    return f"conveyor:key:{name}"


def stop_key(operation: str) -> str:
    """string: the operation was requested to stop; 7 days."""
    return f"conveyor:operation:{operation}:stop"
