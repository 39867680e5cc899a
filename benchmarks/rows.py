"""The rows of the tables: what is measured, in which unit, and whether more is better."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    raw: str = ""
    """The row of the raw server that it is compared with."""
    ranked: bool = True
    """Whether the best is of interest; not if it is the price of another row."""
    judged: bool = True
    """Whether a loss fails `make bench-check`; not if the row varies too much between rounds."""


def _rates(*rows: tuple[str, str, str]) -> list[Row]:
    return [Row(key, title, "/s", more_is_better=True, raw=raw) for key, title, raw in rows]


#: In the order of the tables.
ROWS = [
    *_rates(
        ("put", "put one by one", "evalsha"),
        ("put_many", "put in bulk", "evalsha_pipelined"),
        ("put_threads", "put one by one, 8 threads", "evalsha"),
        ("put_coroutines", "put one by one, 100 coroutines", "evalsha"),
        ("drain", "drain, 1 worker process", "evalsha_pipelined"),
        ("drain_two", "drain, 2 worker processes", "evalsha_pipelined"),
        ("drain_pushed", "drain, all results pushed to a waiting producer", ""),
    ),
    Row(
        "put_of_client",
        "put one by one, of a bare EVALSHA in the same client",
        "%",
        more_is_better=True,
        judged=False,
    ),
    Row("records", "histories, counts and previews, of the time of a drain", "%", judged=False),
    Row("round_trip", "round trip put to result, idle, p50", "ms", raw="round_trip"),
    Row("round_trip_p99", "round trip put to result, idle, p99", "ms", raw="round_trip_p99", judged=False),
    Row("pick_up", "pick-up by an idle worker, p50", "ms", raw="pick_up"),
    Row("pick_up_p99", "pick-up by an idle worker, p99", "ms", raw="pick_up_p99", judged=False),
    Row("pick_up_after_10", "pick-up after 10 s without a job, median", "ms", judged=False),
    Row("round_trip_after_10", "round trip after 10 s without a job, median", "ms", judged=False),
    Row("compute", "40 CPU-bound jobs on 2 workers, of a bare run", "%", more_is_better=True),
    Row("wait", "200 jobs of 50 ms ten at a time, of ideal", "%", more_is_better=True),
    Row("job_bytes", "server memory of a waiting job", "B"),
    Row("put_commands", "commands per put, those in scripts included", ""),
    Row("put_reads", "round trips per put", ""),
    Row("put_bytes", "bytes on the wire per put", "B"),
    Row("run_commands", "commands per run, those in scripts included", ""),
    Row("run_reads", "round trips per run", ""),
    Row("run_bytes", "bytes on the wire per run", "B"),
    Row("server_share", "core that the server uses, drain by 1 process", "%", ranked=False, judged=False),
    Row(
        "server_share_two", "core that the server uses, drain by 2 processes", "%", ranked=False, judged=False
    ),
    Row("idle_commands", "commands of an idle consumer", "/s"),
    Row("idle_cpu", "core that an idle consumer uses", "%", judged=False),
    Row("consumer_pss", "memory of an idle consumer with one worker, PSS", "MB"),
    Row("consumer_rss", "memory of an idle consumer with one worker, RSS", "MB"),
    Row("worker_pss", "memory of its worker process, PSS", "MB"),
    Row("worker_rss", "memory of its worker process, RSS", "MB"),
    Row("import", "`from conveyor import Queue`", "ms"),
    *_rates(
        *(
            (f"{key}_at_{depth}", f"{what} at {words} waiting jobs", "")
            for key, what in (("put", "put one by one"), ("put_many", "put in bulk"), ("drain", "drain"))
            for depth, words in (("10k", "10,000"), ("100k", "100,000"), ("1m", "1,000,000"))
        ),
        ("put_on_one", "put on one queue by hundreds", ""),
        ("put_on_many", "put on 1,000 queues by hundreds", ""),
        ("drain_of_one", "drain of one queue", ""),
        ("drain_of_many", "drain of 1,000 queues by one consumer", ""),
        ("put_many_beside", "put in bulk beside 1,000 other queues", ""),
        ("drain_beside", "drain beside 1,000 other queues", ""),
        *(
            (f"{key}_{level}", f"{what}, durability {words}", "")
            for key, what in (("put", "put one by one"), ("put_many", "put in bulk"))
            for level, words in (
                ("memory", "memory"),
                ("written", "written"),
                ("fsync", "fsync, synced always"),
                ("replicated", "replicated:1"),
            )
        ),
    ),
]

#: Those of the raw server.
RAW = [
    *_rates(
        ("evalsha", "EVALSHA one at a time, redis-py", ""),
        ("evalsha_socket", "EVALSHA one at a time, bare socket", ""),
        ("evalsha_pipelined", "EVALSHA pipelined by hundreds, bare socket", ""),
        ("push_many", "RPUSH by hundreds, bare socket", ""),
    ),
    Row("round_trip", "RPUSH, BLMOVE, RPUSH, BLPOP, p50", "ms"),
    Row("round_trip_p99", "RPUSH, BLMOVE, RPUSH, BLPOP, p99", "ms"),
    Row("pick_up", "RPUSH to BLMOVE, p50", "ms"),
    Row("pick_up_p99", "RPUSH to BLMOVE, p99", "ms"),
]
