"""The audit trail is bounded, paged, and survives unreadable records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.monitor import audit
from conveyor.monitor.audit import counts, entries
from conveyor.store import control_channel, keys, records
from conveyor.wire.audit_entry import AuditEntry, encode

if TYPE_CHECKING:
    from conveyor.monitor.actions import Actions


def test_audit_trail_stays_bounded(one_server: Any) -> None:
    for first in range(0, 11_000, 1000):
        made = [AuditEntry("sing", f"song {number}") for number in range(first, first + 1000)]
        one_server.client.run_all([records.record(encode(act), "sing", "done") for act in made])
    assert 10_000 <= one_server.raw.xlen(keys.AUDIT) <= 10_200
    assert entries(count=1).ask(one_server.client)[0].act.target == "song 10999"


def test_large_record_is_abbreviated(one_server: Any) -> None:
    audit.record(
        one_server.client, AuditEntry("sing", "x" * 9999, reason="y" * 9999, before={"text": "z" * 9999})
    )
    ((_, fields),) = one_server.raw.xrange(keys.AUDIT)
    assert len(fields[b"act"]) < 2500
    (found,) = entries().ask(one_server.client)
    assert found.act.reason == "y" * 499 + "…"


def test_record_that_arrives_twice_is_kept_once(one_server: Any) -> None:
    data = encode(AuditEntry("sing", "song"))
    first = one_server.client.run(records.record(data, "sing", "done"))
    one_server.client.run(records.record(encode(AuditEntry("sing", "song")), "sing", "done"))
    assert one_server.client.run(records.record(data, "sing", "done")) == first
    assert one_server.raw.xlen(keys.AUDIT) == 2


def test_pages_are_consecutive_newest_first(actions: Actions, one_server: Any) -> None:
    for number in range(7):
        actions.record(AuditEntry("sing", str(number)))
    found, before = [], ""
    while page := entries(before, 3).ask(one_server.client):
        assert len(page) <= 3
        found += [one.act.target for one in page]
        before = page[-1].id
        actions.record(AuditEntry("hum", "meanwhile"))
    assert found == ["6", "5", "4", "3", "2", "1", "0"]


def test_page_of_results_has_200_records_at_most(one_server: Any) -> None:
    made = [encode(AuditEntry("sing", str(number))) for number in range(250)]
    one_server.client.run_all([records.record(data, "sing", "done") for data in made])
    assert len(entries(count=10_000).ask(one_server.client)) == 200


def test_unreadable_records_do_not_hide_others(actions: Actions, one_server: Any) -> None:
    actions.record(AuditEntry("sing", "before"))
    for rubbish in (b"", b"\xc1", b"\x80", encode({"action": 3}), encode(["act"]), b"\x81\xa6action\xa1\xff"):
        one_server.raw.xadd(keys.AUDIT, {"act": rubbish})
    one_server.raw.xadd(keys.AUDIT, {"other": "field", "and": "more"})
    actions.record(AuditEntry("sing", "after"))
    found = entries().ask(one_server.client)
    assert [one.act.target for one in found] == ["after", *["?"] * 7, "before"]
    assert found[1].act.outcome == "undecodable"


def test_audit_entry_has_the_last_reply_of_each_target(actions: Actions, one_server: Any) -> None:
    for order, words in (("one", ("acknowledged", "done")), ("two", ("expired: too late",))):
        actions.record(AuditEntry("stop_workers", "a/1", after={"order": order}, outcome="told"))
        for word in words:
            one_server.client.run(control_channel.acknowledge(order, b"", "a/1", word))
    actions.record(AuditEntry("sing", "song", outcome="done"))
    found = entries().ask(one_server.client)
    assert [one.result for one in found] == ["done", "told: too late", "told: done"]
    assert [one.had_no_effect for one in found] == [False, True, False]
    assert [dict(one.answers) for one in found] == [{}, {"a/1": "expired: too late"}, {"a/1": "done"}]


def test_replies_beyond_the_limit_of_a_page_are_counted(
    actions: Actions, one_server: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(records, "MAX_ACKNOWLEDGEMENTS", 5)
    for order, targets in (("one", 1), ("three", 3), ("four", 4)):
        actions.record(AuditEntry("stop_workers", "a", after={"order": order}, outcome="told"))
        for target in range(targets):
            one_server.client.run(control_channel.acknowledge(order, b"", f"a/{target}", "done"))
    found = entries().ask(one_server.client)
    assert [len(one.answers) for one in found] == [4, 0, 1]
    assert [one.result for one in found] == ["told: 4 done", "told: 3 answered", "told: done"]
    assert not found[1].had_no_effect


def test_oldest_replies_are_dropped_beyond_the_limit(one_server: Any, monkeypatch: Any) -> None:
    for most in (10_000, 5):
        monkeypatch.setattr(control_channel, "MAX_COMMANDS", most)
        for order in range(12):
            one_server.client.run(control_channel.acknowledge(f"order{order}", b"", "a", "done"))
    assert one_server.raw.zcard(keys.ORDERS) == len(one_server.raw.keys("conveyor:answers:*")) == 5


def test_kept_replies_are_bounded(one_server: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(control_channel, "MAX_TARGETS", 3)
    monkeypatch.setattr(control_channel, "MAX_COMMANDS", 5)
    for order in range(8):
        for word in ("acknowledged", "done"):
            told = [
                control_channel.acknowledge(f"order{order}", b"", f"a/{target}", word) for target in range(5)
            ]
            one_server.client.run_all(told)
    kept = sorted(one_server.raw.scan_iter("conveyor:answers:*"))
    assert kept == [f"conveyor:answers:order{order}".encode() for order in range(3, 8)]
    assert all(one_server.raw.hvals(key) == [b"done"] * 3 for key in kept)
    assert one_server.raw.zcard(keys.ORDERS) == 5


def test_entry_of_a_newer_version_can_be_read(one_server: Any) -> None:
    one_server.raw.xadd(keys.AUDIT, {"act": encode({"action": "sing", "target": "x", "later": 1})})
    (found,) = entries().ask(one_server.client)
    assert (found.act.action, found.act.target) == ("sing", "x")


def test_actions_are_counted_by_outcome(actions: Actions, one_server: Any) -> None:
    for outcome in ("done", "told", "not dead: waiting", "refused: no answer", "begun", "failed: no memory"):
        actions.record(AuditEntry("sing", "song", outcome=outcome))
    data = encode(AuditEntry("sing", "song"))
    for _ in range(2):  # this one arrives twice
        one_server.client.run(records.record(data, "hum", "done"))
    assert counts().ask(one_server.client) == {
        ("sing", "done"): 2,
        ("sing", "unchanged"): 1,
        ("sing", "refused"): 1,
        ("sing", "begun"): 1,
        ("sing", "failed"): 1,
        ("hum", "done"): 1,
    }


def test_actions_beyond_the_name_limit_are_counted_as_others(actions: Actions, one_server: Any) -> None:
    for number in range(records.MAX_COUNTED + 5):
        actions.record(AuditEntry(f"sing {number}", "song", outcome="done"))
    found = counts().ask(one_server.client)
    assert len(found) == records.MAX_COUNTED + 1
    assert (found["sing0", "done"], found["other", "done"]) == (1, 5)
