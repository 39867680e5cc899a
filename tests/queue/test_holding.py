"""Items taken with `get`: held as long as their consumer lives, and returned otherwise."""

from __future__ import annotations

import dataclasses
import logging
import operator
import os
import signal
import socket
import sys
import textwrap
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from conveyor import Call, Empty, LeaseLost, Queue, StoreUnavailable, UnknownClass, clock, held_items
from conveyor.errors import StoreError
from conveyor.inbox import inbox_of
from conveyor.store import Client, commands, connect
from conveyor.wire import codec
from conveyor.wire.call import decode_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench
    from conveyor.store.command import Command

TAKE_AND_HOLD = """
import sys
from conveyor import Queue, held_items
held_items.LEASE, held_items.RENEWAL = 2.0, 0.2
item = Queue(sys.argv[2], store=sys.argv[1]).get()
print(item, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_items, "LEASE", 1.5)
    monkeypatch.setattr(held_items, "RENEWAL", 0.05)


@pytest.fixture
def quick_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_items, "RENEWAL", 0.05)


def key(bench: Bench, name: str) -> str:
    return f"conveyor:{{{bench.queue.name}}}:{name}"


def lease_clock(bench: Bench) -> int:
    """Return the server's lease clock after a check for expired leases."""
    bench.worker.run(commands.reap(bench.queue.name))
    return int(bench.server.raw.hget(key(bench, "meta"), "clock"))


def end_of_lease(bench: Bench) -> int:
    ((_, end),) = bench.server.raw.zrange(key(bench, "leased"), 0, 0, withscores=True)
    return int(end)


def test_item_is_held_beyond_its_lease_while_its_consumer_lives(bench: Bench, short_leases: None) -> None:
    bench.queue.put("item")
    bench.queue.get()
    first_end = end_of_lease(bench)
    bench.eventually(lambda: lease_clock(bench) > first_end + 200)
    count = bench.queue.count()
    assert (count.leased, count.ready, count.lapsed) == (1, 0, 0)
    bench.queue.task_done()
    bench.queue.join(timeout=20)


def test_unrenewed_item_goes_to_the_next_consumer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_items, "LEASE", 0.1)
    monkeypatch.setattr(held_items, "RENEWAL", 60.0)
    bench.queue.put("item")
    assert bench.queue.get() == "item"
    batch = bench.eventually(lambda: found if (found := bench.claim()).jobs else None)
    with pytest.raises(LeaseLost, match="another consumer"):
        bench.queue.task_done()
    with pytest.raises(ValueError, match="too many"):
        bench.queue.task_done()
    assert bench.worker.run(commands.release(bench.queue.name, batch.token, [batch.jobs[0].id])) == 1


def test_item_returns_if_its_consumer_is_killed(bench: Bench, start_python: Any) -> None:
    bench.queue.put("item")
    taker = start_python(TAKE_AND_HOLD, bench.server.url, bench.queue.name)
    assert taker.stdout.readline().strip() == "item"
    os.kill(taker.pid, signal.SIGKILL)
    taker.wait()
    assert bench.queue.get(timeout=15) == "item"
    bench.queue.task_done()
    count = bench.queue.count()
    assert (count.finished, count.lapsed) == (1, 1)


def test_late_task_done_is_refused_if_another_has_settled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_items, "LEASE", 0.3)
    monkeypatch.setattr(held_items, "RENEWAL", 60.0)
    bench.queue.put("item")
    bench.queue.get()
    other = Queue(bench.queue.name, store=bench.worker)
    assert other.get(timeout=30) == "item"
    other.task_done()
    with pytest.raises(LeaseLost, match="another consumer"):
        bench.queue.task_done()


def test_idle_live_consumer_keeps_its_item(bench: Bench, start_python: Any) -> None:
    bench.queue.put("item")
    taker = start_python(TAKE_AND_HOLD, bench.server.url, bench.queue.name)
    assert taker.stdout.readline().strip() == "item"
    first_end = end_of_lease(bench)
    bench.eventually(lambda: lease_clock(bench) > first_end)
    assert bench.queue.count().leased == 1


def test_items_are_settled_in_the_order_of_get(bench: Bench) -> None:
    bench.queue.put_many(["a", "b", "c"])
    for _ in range(3):
        bench.queue.get()
    order = [one.decode() for one in bench.server.raw.zrange(key(bench, "leased"), 0, -1)]
    for left in (2, 1, 0):
        bench.queue.task_done()
        held = sorted(one.decode() for one in bench.server.raw.hkeys(key(bench, "leases")))
        assert held == sorted(order)[3 - left :]


def test_renewal_thread_ends_without_items_and_starts_again(bench: Bench, short_leases: None) -> None:
    holder = held_items.holder_of(bench.client)
    for _ in range(2):
        bench.queue.put("item")
        bench.queue.get()
        assert holder.thread
        bench.queue.task_done()
        bench.eventually(lambda: holder.thread is None)


@pytest.mark.parametrize("error", [StoreUnavailable, MemoryError, OSError])
def test_failed_renewal_is_retried(
    error: type[Exception], bench: Bench, short_leases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.queue.put("item")
    bench.queue.get()
    run, failed = bench.client.run, []

    def fail_twice(command: Command, **options: Any) -> Any:
        if command.script and command.script.name == "renew" and len(failed) < 2:
            failed.append(command)
            raise error
        return run(command, **options)

    monkeypatch.setattr(bench.client, "run", fail_twice)
    bench.eventually(lambda: len(failed) == 2)
    first_end = end_of_lease(bench)
    bench.eventually(lambda: end_of_lease(bench) > first_end)
    bench.queue.task_done()


def ends_of_leases(bench: Bench) -> list[float]:
    return [end for _, end in bench.server.raw.zrange(key(bench, "leased"), 0, -1, withscores=True)]


def assert_leases_are_renewed(bench: Bench, count: int) -> None:
    """Wait until all leases of the queue, of which there are `count`, end later than now."""
    ends = ends_of_leases(bench)
    assert len(ends) == count
    bench.eventually(lambda: all(map(operator.gt, ends_of_leases(bench), ends)), 8.0)


def test_logging_that_raises_does_not_end_renewals(
    bench: Bench, quick_renewals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, raised = bench.client.run, []

    def fail_once(command: Command, **options: Any) -> Any:
        if command.script and command.script.name == "renew" and not raised:
            raise OSError
        return run(command, **options)

    def raise_error(record: logging.LogRecord) -> bool:
        raised.append(record)
        raise MemoryError

    monkeypatch.setattr(bench.client, "run", fail_once)
    monkeypatch.setattr(logging.getLogger("conveyor"), "filters", [raise_error])
    bench.queue.put("item")
    bench.queue.get()
    bench.eventually(lambda: raised)
    assert_leases_are_renewed(bench, 1)
    bench.queue.task_done()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("call", ["get", "task_done"])
def test_ended_lease_thread_is_replaced_by_next_call(
    call: str, bench: Bench, quick_renewals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = held_items.holder_of(bench.client)
    bench.queue.put_many(range(3))
    with monkeypatch.context() as ending:
        ending.setattr(holder, "_send", lambda *_: sys.exit())
        bench.queue.get()
        thread = holder.thread
        assert thread
        thread.join(20)
        bench.queue.get()
        assert holder.thread
        holder.thread.join(20)
    getattr(bench.queue, call)()
    assert_leases_are_renewed(bench, 3 if call == "get" else 1)
    for _ in range(len(holder.held)):
        bench.queue.task_done()


def test_task_done_starts_the_lease_thread_if_get_could_not(
    bench: Bench, quick_renewals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    bench.queue.put_many(["a", "b"])
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        for _ in range(2):
            bench.queue.get()
    bench.queue.task_done()
    assert_leases_are_renewed(bench, 1)
    bench.queue.task_done()


def test_lease_is_renewed_after_task_done_without_reply(
    bench: Bench, quick_renewals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ends while only items being settled are held."""
    bench.queue.put("item")
    bench.queue.get()
    holder, run = held_items.holder_of(bench.client), bench.client.run

    def unavailable(command: Command, **options: Any) -> Any:
        if command.script and command.script.name == "finish":
            bench.eventually(lambda: holder.thread is None)
            raise StoreUnavailable
        return run(command, **options)

    with monkeypatch.context() as away:
        away.setattr(bench.client, "run", unavailable)
        with pytest.raises(StoreUnavailable):
            bench.queue.task_done()
    assert_leases_are_renewed(bench, 1)
    bench.queue.task_done()


@pytest.mark.parametrize("error", [StoreUnavailable, KeyboardInterrupt, MemoryError])
def test_item_can_be_settled_after_a_finish_without_reply(
    error: type[BaseException], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.queue.put_many(["a", "b"])
    bench.queue.get()
    bench.queue.get()

    def unavailable(command: Command, **options: Any) -> Any:
        raise error

    with monkeypatch.context() as away:
        away.setattr(bench.client, "run", unavailable)
        with pytest.raises(error):
            bench.queue.task_done()
    bench.queue.task_done()
    bench.queue.task_done()
    bench.queue.join(timeout=20)


def test_job_taken_with_get_is_returned_as_a_call(bench: Bench) -> None:
    bench.queue.submit(textwrap.indent, "a", "b")
    taken = bench.queue.get()
    assert isinstance(taken, Call)
    assert (taken.task, taken.positional(), taken.named()) == ("textwrap.indent", ["a", "b"], {})
    bench.queue.task_done()


@dataclasses.dataclass
class Ware:
    number: int


def test_item_of_an_unknown_class_returns_to_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    bench.queue.put([Ware(1)])
    with monkeypatch.context() as without:
        without.delitem(sys.modules, __name__)
        with pytest.raises(UnknownClass, match=r"Ware: this process has not imported"):
            bench.queue.get()
    eventually(lambda: bench.queue.qsize() == 1)
    assert bench.queue.get() == [Ware(1)]
    bench.queue.task_done()


def by_four_threads_at_once(function: Callable[[], object]) -> list[object]:
    """Return a function's results for threads that call it at the same moment."""
    start = threading.Barrier(4)
    got: list[object] = []

    def call() -> None:
        start.wait()
        got.append(function())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def items_held(bench: Bench) -> list[object]:
    """Return the items that the process still holds, in the order of their claims."""
    held = held_items.holder_of(bench.client).held.values()
    data = bench.server.raw.hmget(key(bench, "jobs"), [one.id for one in held])
    return [decode_call(one).item() for one in data]


def test_task_done_spares_item_of_ended_thread(bench: Bench) -> None:
    """The system reuses the number of an ended thread for a new one."""
    bench.queue.put_many(["a", "b"])
    ended = threading.Thread(target=bench.queue.get)
    ended.start()
    ended.join()
    is_over = threading.Event()

    def process_one_if_number_is_reused() -> None:
        if threading.get_ident() == ended.ident:
            bench.queue.get()
            bench.queue.task_done()
        else:
            is_over.wait(30)  # keeps its number from the next thread

    threads: list[threading.Thread] = []
    while len(threads) < 100 and ended.ident not in [one.ident for one in threads]:
        threads.append(threading.Thread(target=process_one_if_number_is_reused))
        threads[-1].start()
    is_over.set()
    for one in threads:
        one.join()
    if ended.ident not in [one.ident for one in threads]:
        pytest.skip("the system gave no thread the same number")
    assert items_held(bench) == ["a"]
    bench.queue.task_done()


def test_task_done_settles_item_of_its_queue_object(bench: Bench) -> None:
    first, second = (Queue(bench.queue.name, store=bench.client) for _ in range(2))
    bench.queue.put_many(["a", "b"])
    first.get()
    second.get()
    second.task_done()
    assert items_held(bench) == ["a"]
    with pytest.raises(ValueError, match="too many"):
        second.task_done()
    first.task_done()


def test_late_task_done_spares_item_taken_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_items, "LEASE", 0.3)
    monkeypatch.setattr(held_items, "RENEWAL", 60.0)
    bench.queue.put("item")
    bench.queue.get()
    is_taken, is_refused = threading.Event(), threading.Event()
    errors = []

    def take_over() -> None:
        try:
            assert bench.queue.get(timeout=30) == "item"
            is_taken.set()
            assert is_refused.wait(30)
            bench.queue.task_done()
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            errors.append(error)

    thread = threading.Thread(target=take_over)
    thread.start()
    try:
        assert is_taken.wait(30)
        with pytest.raises(LeaseLost, match="another consumer"):
            bench.queue.task_done()
    finally:
        is_refused.set()
        thread.join()
    assert errors == []
    count = bench.queue.count()
    assert (count.finished, count.leased) == (1, 0)


@pytest.mark.parametrize("of", [held_items.holder_of, inbox_of, lambda client: connect(client.url)])
def test_threads_that_race_for_the_first_use_get_the_same_object(of: Callable[[Client], object]) -> None:
    """Otherwise one of them would hold an item that the other does not know of."""
    for number in range(200):
        client = Client(f"unix:///nowhere/{number}")
        assert len({id(one) for one in by_four_threads_at_once(lambda client=client: of(client))}) == 1


def test_undecodable_job_is_dead_and_get_returns_the_next_item(bench: Bench) -> None:
    bench.worker.run(commands.put(bench.queue.name, [("junk", b"\xc1")], commands.PutParams()))
    bench.queue.put("good")
    assert bench.queue.get(timeout=10) == "good"
    assert bench.server.raw.hget(key(bench, "jobs"), "junk") == b"\xc1"
    bench.queue.task_done()
    count = bench.queue.count()
    assert (count.dead, count.finished, count.leased, count.imbalance) == (1, 1, 0, 0)
    with pytest.raises(ValueError, match="too many times"):
        bench.queue.task_done()


@pytest.mark.parametrize("lack", [ImportError, MemoryError, OSError])
def test_item_returns_without_blame_if_it_cannot_be_read(
    lack: type[Exception], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The item needs numpy, which cannot be loaded for a while."""

    def fail(name: str) -> None:
        raise lack(name)

    bench.queue.put((np.arange(3),))
    with monkeypatch.context() as away:
        away.setattr(codec, "importlib", SimpleNamespace(import_module=fail))
        with pytest.raises(lack, match="numpy"):
            bench.queue.get(timeout=0)
    bench.eventually(lambda: bench.queue.count().ready == 1)
    bench.eventually(lambda: not held_items.holder_of(bench.client).unanswered)
    assert tries(bench) == {}
    assert bench.queue.get(timeout=5)[0].tolist() == [0, 1, 2]
    bench.queue.task_done()


def test_entry_without_a_job_does_not_hide_later_jobs(bench: Bench) -> None:
    bench.queue.put("item")
    bench.server.raw.zadd(key(bench, "ready"), {"ghost": 1})
    assert bench.queue.get_nowait() == "item"
    bench.queue.task_done()


def tries(bench: Bench) -> dict[bytes, bytes]:
    return bench.server.raw.hgetall(key(bench, "tries"))


class Broken:
    """Several queues of a new client, the middle one of which is corrupted on request."""

    def __init__(self, bench: Bench) -> None:
        self.raw = bench.server.raw
        self.client = bench.server.another_client()
        self.holder = held_items.holder_of(self.client)
        self.queues = [Queue(f"{bench.queue.name}-{number}", store=self.client) for number in range(9)]
        self.whole = [one for one in self.queues if one is not self.queues[4]]
        for one in self.queues:
            one.put("item")

    def break_one(self) -> None:
        self.raw.delete(self._key(self.queues[4], "leases"))
        self.raw.set(self._key(self.queues[4], "leases"), "broken")

    def repair(self) -> None:
        self.holder.held.clear()
        self.holder.unanswered.clear()
        self.raw.delete(self._key(self.queues[4], "leases"))

    def ends_of_leases(self) -> list[float]:
        """Return when the leases end of the items of the other queues."""
        keys = [self._key(one, "leased") for one in self.whole]
        return [self.raw.zrange(key, 0, 0, withscores=True)[0][1] for key in keys]

    def _key(self, queue: Queue, name: str) -> str:
        return f"conveyor:{{{queue.name}}}:{name}"


@pytest.fixture
def broken(bench: Bench, short_leases: None) -> Iterator[Broken]:
    queues = Broken(bench)
    yield queues
    queues.repair()


def test_corrupt_queue_costs_no_other_queue_its_leases(bench: Bench, broken: Broken) -> None:
    for one in broken.queues:
        one.get()
    broken.break_one()
    for _ in range(2):
        ends = broken.ends_of_leases()
        bench.eventually(lambda ends=ends: all(map(operator.gt, broken.ends_of_leases(), ends)), 8.0)
    for one in broken.whole:
        one.task_done()


def test_corrupt_queue_does_not_block_other_unanswered_claims(bench: Bench, broken: Broken) -> None:
    for one in broken.queues:
        bench.worker.run(commands.claim(one.name, "owner", "1", 1, 15.0))
    broken.break_one()
    with broken.holder.lock:
        until = clock.Deadline(60.0)
        broken.holder.unanswered += [
            held_items.Unanswered(one.name, "owner", "1", until) for one in broken.queues
        ]
        broken.holder._wake()
    bench.eventually(lambda: all(one.count().ready == 1 for one in broken.whole), 8.0)


def test_unreceived_item_returns_without_blame(bench: Bench) -> None:
    """The server stalls for longer than `get` waits, time after time."""
    bench.queue.put_many(["first", "item"])
    bench.queue.get()  # now the server knows the script
    bench.queue.task_done()
    for _ in range(4):
        os.kill(bench.server.pid, signal.SIGSTOP)
        try:
            with pytest.raises((StoreError, Empty)):
                bench.queue.get(timeout=0.05)
        finally:
            os.kill(bench.server.pid, signal.SIGCONT)
        bench.eventually(lambda: bench.queue.count().ready == 1)
        bench.eventually(lambda: not held_items.holder_of(bench.client).unanswered)
        count = bench.queue.count()
        assert (count.ready, count.leased) == (1, 0)
    assert tries(bench) == {}
    assert bench.queue.get(timeout=5) == "item"
    bench.queue.task_done()


@pytest.mark.parametrize("late", [False, True])
def test_interrupted_get_returns_its_item_to_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Ctrl-C comes while the reply is awaited, or when the item has just been noted."""
    bench.queue.put("item")
    holder = held_items.holder_of(bench.client)
    place, name = (holder, "_wake") if late else (bench.client, "run")
    usual = getattr(place, name)
    with monkeypatch.context() as ctrl_c:

        def interrupted(*args: Any, **options: Any) -> Any:
            usual(*args, **options)
            ctrl_c.undo()
            raise KeyboardInterrupt

        ctrl_c.setattr(place, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.queue.get()
    bench.eventually(lambda: bench.queue.count().ready == 1)
    bench.eventually(lambda: not holder.unanswered)
    assert tries(bench) == {}
    assert bench.queue.get(timeout=5) == "item"
    bench.queue.task_done()
    assert not holder.held


def test_received_item_soon_counts_as_started(bench: Bench) -> None:
    bench.queue.put("item")
    bench.queue.get()
    bench.eventually(
        lambda: b" S " in bench.server.raw.hvals(key(bench, "leases"))[0], 4.0
    )  # before the first renewal
    bench.queue.task_done()


def test_lease_has_no_whitespace_of_host_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my\thost name")
    queue = Queue(bench.queue.name, store=bench.server.another_client())
    queue.put("item")
    queue.get()
    (lease,) = bench.server.raw.hvals(key(bench, "leases"))
    assert len(lease.split()) == 4
    assert b" my-host-name-" in lease
    queue.task_done()


def test_forked_child_with_the_same_pid_holds_no_items(
    bench: Bench, forked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reuses the process id of a dead ancestor."""
    bench.queue.put("item")
    bench.queue.get()
    number = os.getpid()

    def count_held() -> str:
        monkeypatch.setattr(os, "getpid", lambda: number)
        return str(len(held_items.holder_of(bench.client).held))

    assert forked(count_held) == "0"
    bench.queue.task_done()
