"""`conveyor flow`, `conveyor limit`, and deferred jobs in the lists of the command line."""

from __future__ import annotations

from typing import Any

from conveyor import Limit, Queue, Task, result_of
from conveyor.store import commands
from conveyor.store.commands import Settlement
from conveyor.wire.call import PutOptions, RunOptions

FAILED = b"\x93\xa6failed\xc0\x00"


def step(*_: Any) -> int:
    return 1


def made(**options: Any) -> Any:
    return Task(step, "step", PutOptions(), RunOptions()).options(**options)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_graph_is_shown_as_a_tree(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    first = [queue.submit(made(), number) for number in range(2)]
    last = queue.submit(made(after=first))
    found = conveyor("flow", last.id)
    assert words(found.out) == [
        ["STATE", "TASK", "JOB", "WAITS", "FOR"],
        ["▪", "waiting", "step", first[0].id],
        ["▪", "waiting", "step", first[1].id],
        [
            *("└", "◇", "deferred", "step", last.id, "2", "jobs", "before", "it:"),
            *(f"{first[0].id},", first[1].id),
        ],
    ]
    assert "3 jobs: 2 waiting, 1 deferred." in found.err
    document = conveyor("flow", first[0].id, "--json").document
    assert (document["schema"], document["job"], document["left_out"]) == (
        "conveyor.flow/v1",
        first[0].id,
        0,
    )
    assert [(one["id"], one["level"], one["state"]) for one in document["jobs"]] == [
        (first[0].id, 0, "waiting"),
        (first[1].id, 0, "waiting"),
        (last.id, 1, "deferred"),
    ]
    assert document["jobs"][0]["after"] == [{"queue": "pages", "id": last.id}]


def test_graph_is_indented_by_level(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    chain = [queue.submit(made())]
    for _ in range(5):
        chain.append(queue.submit(made(after=[chain[-1]])))
    lines = conveyor("flow", chain[2].id).out.splitlines()[1:]
    assert chain[0].id in lines[0]
    assert [line.index("└") for line in lines[1:]] == [2, 4, 6, 8, 10]
    sides = [queue.submit(made(after=[chain[0]])) for _ in range(2)]
    last = queue.submit(made(after=[sides[1], chain[1]]))
    shown = conveyor("flow", last.id).out.splitlines()[1:]
    (place,) = (number for number, line in enumerate(shown) if f" {last.id} " in line)
    assert shown[place].index("└") == 4
    assert shown[place - 1].index("└") in {2, 10}


def test_large_graph_says_that_it_is_cut(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    jobs = queue.submit_many(made(), [(number,) for number in range(400)])
    found = conveyor("flow", queue.submit(made(after=jobs)).id)
    assert len(found.out.splitlines()) == 301
    assert "101 more jobs next to these, and those beyond, are left out." in found.err


def test_job_alone_and_unknown_job_are_told_apart(at_server: Any, conveyor: Any) -> None:
    job = Queue("pages", store=at_server.client).submit(made())
    assert "No jobs come before or after it" in conveyor("flow", job.id).err
    assert conveyor("flow", "nosuch").code == 3


def test_results_of_other_jobs_are_shown_as_such(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    first = queue.submit(made())
    last = queue.submit(made(), result_of(first))
    text = f"result of {first.id}"
    assert text in conveyor("job", last.id).out
    document = conveyor("job", last.id, "--json").document
    assert document["arguments"] == {"positional": [text], "named": {}}
    assert text in conveyor("jobs", "pages", "--state", "deferred").out


def test_retry_says_that_followers_stay_cancelled(at_server: Any, conveyor: Any) -> None:
    client = at_server.client
    queue = Queue("pages", store=client)
    first, alone = queue.submit(made()), queue.submit(made())
    last = queue.submit(made(after=[first]))
    batch = client.run(commands.claim("pages", "ann", "nonce.1", 2, 60.0))
    for job in batch.jobs:
        client.run(commands.fail("pages", batch.token, Settlement(job.id, FAILED, 600.0)))
    assert f"{first.id}, which it comes after, ended as failed" in conveyor("job", last.id).out
    assert "stay cancelled" not in conveyor("retry", alone.id).err
    found = conveyor("retry", first.id)
    assert found.out == f"{first.id}: waiting again\n"
    assert f"Cancelled jobs that came after {first.id} stay cancelled." in found.err


def test_deferred_jobs_say_what_they_wait_for(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    first = queue.submit(made())
    last = queue.submit(made(after=[first]))
    turns = queue.submit_many(made(limit=Limit(running=1, name="disk")), [(1,), (2,)])
    listed = conveyor("jobs", "pages", "--state", "deferred", "--json").document["jobs"]
    assert [(one["id"], one["waits_for"]) for one in listed] == [
        (last.id, f"1 job before it: {first.id}"),
        (turns[1].id, "its turn: limit disk"),
    ]
    assert "WAITS FOR" in conveyor("jobs", "pages", "--state", "deferred").out
    assert f"deferred, waits for 1 job before it: {first.id}" in conveyor("job", last.id).out
    state = "deferred, waits for its turn: limit disk, 1 of 1 place taken"
    assert state in conveyor("job", turns[1].id).out
    document = conveyor("job", turns[1].id, "--json").document
    assert (document["state"], document["waits"]["limit"], document["waits"]["ahead"]) == (
        "deferred",
        "disk",
        0,
    )
    assert conveyor("queues", "--json").document["queues"][0]["deferred"] == 2
    assert conveyor("cancel", last.id).out == f"{last.id}: cancelled\n"
    assert conveyor("purge", "pages", "--yes").out == "pages: 3 jobs cancelled.\n"


def test_limit_of_a_queue_is_set_shown_and_removed(at_server: Any, conveyor: Any) -> None:
    queue = Queue("pages", store=at_server.client)
    queue.submit_many(made(limit=Limit(running=1, name="disk")), [(1,), (2,), (3,)])
    first = conveyor("limit", "pages", "--running", 3, "--starts", 100, "--reason", "small disk")
    assert words(first.out) == [
        ["pages:", "3", "at", "a", "time,", "100", "starts", "per", "minute"],
        [],
        ["KEY", "LIMIT", "WAITING", "NOW"],
        ["disk", "1", "at", "a", "time", "2", "1", "of", "1", "place", "taken"],
    ]
    own = queue.limits().queue
    assert own
    assert (own.max_running, own.max_starts, own.period) == (3, 100, 60.0)
    assert conveyor("limit", "pages", "--starts", 0).out.startswith("pages: 3 at a time\n")
    document = conveyor("limit", "pages", "--json").document
    assert (document["schema"], document["limit"]["running"], document["rests_until"]) == (
        "conveyor.limit/v1",
        3,
        None,
    )
    assert [(one["key"], one["waiting"], one["now_running"]) for one in document["keys"]] == [("disk", 2, 1)]
    assert conveyor("limit", "pages", "--off").out.startswith("pages: no limit\n")
    assert queue.limits().queue is None
    acts = conveyor("audit", "--json").document["acts"]
    assert [(one["action"], one["before"].get("running"), one["after"].get("running")) for one in acts] == [
        ("limit_queue", 3, 0),
        ("limit_queue", 3, 3),
        ("limit_queue", 0, 3),
    ]


def test_rest_of_a_queue_is_shown_and_ended(at_server: Any, conveyor: Any) -> None:
    client = at_server.client
    Queue("pages", store=client).submit(made())
    batch = client.run(commands.claim("pages", "ann", "nonce.1", 1, 60.0))
    client.run(commands.throttle("pages", batch.token, batch.jobs[0].id, 600.0))
    assert "until" in conveyor("limit", "pages").out
    assert conveyor("queues").out.split()[-1] == "throttled"
    assert conveyor("queues", "--json").document["queues"][0]["rests_until"] is not None
    assert "a task raised Throttle" in conveyor("doctor").out
    assert conveyor("limit", "pages", "--end-rest").out == "pages: jobs start again.\n"
    assert conveyor("limit", "pages", "--end-rest").out == "pages: it did not rest.\n"
    assert conveyor("queues", "--json").document["queues"][0]["rests_until"] is None


def test_rest_of_a_key_is_ended_by_its_name(at_server: Any, conveyor: Any) -> None:
    client = at_server.client
    Queue("pages", store=client).submit(made(limit=Limit(running=1, name="disk")))
    batch = client.run(commands.claim("pages", "ann", "nonce.1", 1, 60.0))
    client.run(commands.throttle("pages", batch.token, batch.jobs[0].id, 600.0))
    assert "a task asked for a rest" in conveyor("limit", "pages").out
    ended = conveyor("limit", "pages", "--end-rest", "--key", "disk")
    assert ended.out == "pages, disk: jobs start again.\n"
    assert client.run(commands.count("pages")).ready == 1


def test_limit_refuses_what_makes_no_sense(at_server: Any, conveyor: Any) -> None:
    Queue("pages", store=at_server.client).submit(made())
    assert conveyor("limit", "nosuch").code == 3
    for refused in (
        ("--off", "--running", 1),
        ("--per", 5),
        ("--key", "disk"),
        ("--running", -1),
        ("--starts", 10**6),
    ):
        assert conveyor("limit", "pages", *refused).code == 2, refused
