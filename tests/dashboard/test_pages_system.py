"""The page about the server: its own facts, the ledger, the versions."""

from __future__ import annotations

from typing import Any

from conveyor.speedup import Amdahl, Experiment, Run, encode, rows_of
from conveyor.store import records

from .visitor_kit import Visitor, put, report, tell, words_of


def test_system_page_shows_server_ledger_and_versions(server: Any) -> None:
    visitor = Visitor(server.url)
    put(server, "video", 3)
    tell(server, report(), report("rack-0002", version="0.0.9"))
    words = words_of(visitor.see("/system"))
    kind = "Redis" if server.kind == "redis-server" else "Valkey"
    assert f"Kind {kind} " in words
    assert "Every job that was accepted is accounted for" in words
    assert "video 3 3 0 0 0 0 0" in words
    assert "Conveyor 0.0.9 another , Python 3.12.1" in words
    assert "Eviction off: puts are refused" in words
    server.raw.hincrby("conveyor:{video}:meta", "accepted", 2)
    words = words_of(Visitor(server.url).see("/system"))
    assert "1 of 1 queues do not balance" in words
    assert "video 5 3 0 0 0 0 2" in words


def test_system_page_shows_the_levels_of_durability(server: Any) -> None:
    def levels() -> str:
        words = words_of(Visitor(server.url).see("/system"))
        return words.partition("Levels of durability ")[2].partition(" Last snapshot")[0]

    assert levels() == "memory"
    server.raw.config_set("appendonly", "yes")
    server.raw.config_set("appendfsync", "always")
    try:
        assert levels() == "memory, written, fsync"
    finally:
        server.raw.config_set("appendonly", "no")
        server.raw.config_set("appendfsync", "everysec")


def test_start_of_a_server_does_not_count_as_a_snapshot(server: Any) -> None:
    def told() -> bool:
        return "Last snapshot none since it started" in words_of(Visitor(server.url).see("/system"))

    assert told() == (server.raw.info("persistence")["rdb_saves"] == 0)
    server.raw.save()
    assert not told()


def test_system_page_shows_the_last_speedup_experiment(one_server: Any) -> None:
    assert "Speedup" not in words_of(Visitor(one_server.url).see("/system"))
    runs = [Run(1, 2.0, 2.0, 0.9, [4]), Run(2, 1.25, 2.0, None, [2, 2])]
    found = Experiment("<nap>", 4, 2, 1e9, True, runs, rows_of(runs), Amdahl(0.1, 0.02), None)  # noqa: FBT003
    one_server.client.run(records.keep_speedup(encode(found)))
    page = Visitor(one_server.url).see("/system")
    words = words_of(page)
    assert "The last conveyor speedup : &lt;nap&gt;, 4 jobs on 2 cores" in words
    assert "1 worker 2 s 1.00 100 % 2 workers 1.25 s 1.60 80 %" in words
    assert "Amdahl's law: 10.0% ± 2.0% is serial; at most 10.0 times as fast" in words.replace("&#39;", "'")
    assert 'aria-label="Speedup by number of workers: 1.00 with 1, 1.60 with 2"' in page
