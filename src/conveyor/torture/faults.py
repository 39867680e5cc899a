"""The faults: what each does to a stage, how it is undone, and what it may do to jobs by the documented contract.

`FAULTS` is the table. A fault is a generator: it injects, yields the ids of the affected processes, and undoes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from conveyor import Job, Queue
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.monitor import Inspector
from conveyor.monitor.actions import EXPIRES_AFTER
from conveyor.store import commands, control_channel, records
from conveyor.torture.history import CancelAsked, note
from conveyor.torture.load import fill
from conveyor.torture.proxy import PASS, REPLIES, REQUESTS, Mode, Proxy
from conveyor.torture.servers import wait_for
from conveyor.torture.stage import PROMOTED, Effect, Need
from conveyor.wire import ids
from conveyor.wire.control_messages import ControlCommand, encode

if TYPE_CHECKING:
    from conveyor.torture.stage import Kept, OwnStage, Stage, WatchedStage


_UNDOING = 60.0  # seconds within which a server that is not gone for good undoes a fault

T = TypeVar("T")
#: Injects a fault into a stage, yields the ids of the affected processes, and undoes it.
Steps = Callable[[Any, Random], Iterator[list[int]]]


class Fault(NamedTuple):
    """One row of the table."""

    name: str
    steps: Steps
    lasts: tuple[float, float]
    """Min and max seconds from doing to undoing."""
    needs: frozenset[Need]
    effects: frozenset[Effect]
    weight: float
    """How often it is chosen, compared with others."""

    @property
    def is_outside(self) -> bool:
        """True for faults of the server or the network, False for those of processes and for actions of operators."""
        return bool(self.needs)

    @property
    def about(self) -> str:
        """Its description, in one line."""
        return (self.steps.__doc__ or "").partition("\n")[0]


#: The table, by name.
FAULTS: dict[str, Fault] = {}


def _fault(
    name: str,
    *needs: Need,
    lasts: tuple[float, float] = (0.0, 0.0),
    effects: tuple[Effect, ...] = (),
    weight: float = 1.0,
) -> Callable[[Steps], Steps]:
    """Register a function as a fault of the table."""

    def add(steps: Steps) -> Steps:
        FAULTS[name] = Fault(name, steps, lasts, frozenset(needs), frozenset(effects), weight)
        return steps

    return add


class Missing(Exception):
    """The fault has no possible target at the moment."""


def _one(found: list[T], chance: Random) -> T:
    if not found:
        raise Missing
    return chance.choice(found)


def _to_end(found: list[Kept], chance: Random) -> Kept:
    return _one([one for one in found if not one.stays], chance)


def _worker(stage: Stage, chance: Random) -> int:
    return _one([pid for one in stage.of_role("consumer") for pid in one.children()], chance)


def _proxy(stage: Stage) -> Proxy:
    assert stage.proxy is not None
    return stage.proxy


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stopped(pid: int, *children: int) -> Iterator[list[int]]:
    """Send SIGSTOP to a process, and SIGCONT after a while; its children are affected, too."""
    _send(pid, signal.SIGSTOP)
    yield [pid, *children]
    _send(pid, signal.SIGCONT)


def _ended(one: Kept, number: int = signal.SIGKILL) -> Iterator[list[int]]:
    """Send a process a signal that ends it; its children are affected, too."""
    pids = [one.pid, *one.children()]
    one.signal(number)
    yield pids


def _network(proxy: Proxy, mode: Mode, *pids: int, cut: bool = False) -> Iterator[list[int]]:
    """Change the network for a while, and then cut the connections if `cut`."""
    proxy.mode = mode
    yield list(pids)
    if cut:
        proxy.cut()
    proxy.mode = PASS


# --- workers ------------------------------------------------------------------------------------------------------


@_fault("worker killed", effects=(Effect.KILL,), weight=3)
def kill_worker(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGKILL to a worker; its supervisor replaces it."""
    pid = _worker(stage, chance)
    _send(pid, signal.SIGKILL)
    yield [pid]


@_fault("worker stopped", lasts=(0.2, 3.0))
def stop_worker(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to a worker, and SIGCONT after a while."""
    yield from _stopped(_worker(stage, chance))


@_fault("worker killed by command")
def command_kill(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Make a supervisor kill a worker, as `conveyor kill --now` does; replace a killed consumer."""
    consumer = _to_end(stage.at_work(), chance)
    # Consumers on other machines may have the same process id, but not the queue.
    reports = [
        one
        for one in Inspector(stage.client).consumers()
        if (one.pid, one.queues) == (consumer.pid, [consumer.queue]) and one.workers
    ]
    if not reports:
        raise Missing
    report = reports[0]
    expires = stage.client.run(commands.server_time()) + EXPIRES_AFTER["kill"]
    command = ControlCommand(ids.unique(), "kill", [report.workers[-1].name], expires=expires)
    with contextlib.suppress(StoreUnavailable):  # it may arrive nevertheless
        stage.client.run(control_channel.send(report.name, encode(command)))
    # The command names the worker, which may have been replaced since the report.
    reported, killed = {one.pid for one in report.workers}, report.workers[-1].pid
    yield [killed, *(one for one in consumer.children() if one not in reported)]
    # A killed worker is not replaced, and a consumer without workers exits: a new consumer is started.
    consumer.wanted, pid = True, consumer.pid
    with contextlib.suppress(TimeoutError):  # it may be handled late
        wait_for(lambda: killed not in consumer.children(), EXPIRES_AFTER["kill"])
    if consumer.pid == pid:
        consumer.signal(signal.SIGTERM)


# --- supervisors and whole consumers ------------------------------------------------------------------------------


@_fault("supervisor killed", effects=(Effect.ORDER,))
def kill_supervisor(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGKILL to a supervisor; its workers end with it, and another consumer is started."""
    yield from _ended(_to_end(stage.at_work(), chance))


@_fault("supervisor stopped", lasts=(0.5, 3.0))
def stop_supervisor(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to a supervisor, and SIGCONT before its leases expire."""
    yield from _stopped(_one(stage.of_role("consumer"), chance).pid)


@_fault(
    "supervisor stopped beyond its leases",
    lasts=(16.0, 19.0),
    effects=(Effect.LEASE, Effect.ORDER),
    weight=0.3,
)
def stop_supervisor_long(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to a supervisor for longer than a lease, and SIGCONT: others have run its jobs."""
    # At work: a starting consumer gives up if it does not reach the server within 15 s.
    consumer = _one(stage.at_work(), chance)
    yield from _stopped(consumer.pid, *consumer.children())


@_fault("roll-out", effects=(Effect.ORDER,), weight=2)
def roll_out(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGTERM to a consumer and SIGKILL after a grace, as platforms do; another one is started."""
    consumer = _to_end(stage.at_work(), chance)
    pids = [consumer.pid, *consumer.children()]
    consumer.signal(signal.SIGTERM)
    deadline = time.monotonic() + chance.uniform(0.3, 1.5)
    while time.monotonic() < deadline and consumer.pid == pids[0]:
        time.sleep(0.02)
    if consumer.pid == pids[0]:
        consumer.signal(signal.SIGKILL)
    yield pids


@_fault("consumer leaves in good order")
def leave(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGTERM to a consumer, which finishes its jobs; then another one is started."""
    yield from _ended(_to_end(stage.at_work(), chance), signal.SIGTERM)


# --- producers and takers -----------------------------------------------------------------------------------------


@_fault("producer killed")
def kill_producer(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGKILL to a producer; the next one waits for the outcomes of its jobs."""
    yield from _ended(_to_end(stage.of_role("producer"), chance))


@_fault("producer stopped", lasts=(0.5, 6.0))
def stop_producer(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to a producer, and SIGCONT after a while."""
    yield from _stopped(_one(stage.of_role("producer"), chance).pid)


@_fault("taker killed")
def kill_taker(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Send SIGKILL to a process that takes items with `get`; its items return to the queue."""
    yield from _ended(_to_end(stage.of_role("taker"), chance))


# --- operators' actions ------------------------------------------------------------------------------------------


@_fault("jobs cancelled")
def cancel(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Cancel some waiting or running jobs."""
    lane = chance.choice([one for one in stage.lanes if one.consumers])
    found = [
        job
        for index in ("leased", "ready", "delayed")
        for job, _ in stage.client.run(records.page(lane.queue, index, 0, 3))
    ]
    if not found:
        raise Missing
    for job in chance.sample(found, min(3, len(found))):
        note(CancelAsked(time.monotonic(), job))
        Job(job, lane.queue, client=stage.client).cancel("torture")
    yield []


@_fault("queue paused", lasts=(0.1, 2.0))
def pause(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Pause a queue, and resume it."""
    queue = Queue(chance.choice(stage.lanes).queue, store=stage.client)
    yield from _undone(queue.pause, queue.resume)


@_fault("queue resized", lasts=(0.5, 6.0))
def resize(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Reduce a queue's limit to a fifth, then restore it."""
    lane = chance.choice(stage.lanes)
    queue = Queue(lane.queue, store=stage.client)
    yield from _undone(lambda: queue.resize(max(1, lane.maxsize // 5)), lambda: queue.resize(lane.maxsize))


def _undone(do: Callable[[], object], undo: Callable[[], object]) -> Iterator[list[int]]:
    """Do something on the server, and undo it after a while, even if the server has not confirmed it."""
    try:
        do()
        yield []
    finally:
        _insist(undo)


def _insist(undo: Callable[[], object]) -> None:
    """Retry until the server accepts it: other faults may be active. Raises StoreError if it never does."""
    deadline = time.monotonic() + _UNDOING
    while True:
        try:
            undo()
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


# --- the network --------------------------------------------------------------------------------------------------


@_fault("network slow", Need.NETWORK, lasts=(0.5, 3.0))
def slow_network(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Delay each request and each reply."""
    yield from _network(_proxy(stage), Mode(delay=chance.choice((0.005, 0.05, 0.2))))


@_fault("connections cut", Need.NETWORK, weight=2)
def cut(stage: Stage, _: Random) -> Iterator[list[int]]:
    """Close all connections."""
    _proxy(stage).cut()
    yield []


@_fault("replies lost", Need.NETWORK, lasts=(0.3, 1.0), weight=2)
def lose_replies(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Make the server execute some requests and lose the replies."""
    yield from _network(_proxy(stage), Mode(lost_replies=chance.randint(1, 10), matching=b"EVALSHA"))


@_fault("requests sent twice", Need.NETWORK, lasts=(0.3, 2.0))
def repeat(stage: Stage, _: Random) -> Iterator[list[int]]:
    """Send each script twice, the copy on a separate connection."""
    yield from _network(_proxy(stage), Mode(times=2, matching=b"EVALSHA"))


@_fault("requests held and sent twice later", Need.NETWORK, lasts=(0.5, 3.0))
def hold(stage: Stage, chance: Random) -> Iterator[list[int]]:
    """Hold all requests, send each twice later, and then, every other time, cut all connections."""
    _proxy(stage).mode = Mode(held=frozenset({REQUESTS}), matching=b"EVALSHA")
    yield []
    _proxy(stage).mode = Mode(times=2, matching=b"EVALSHA")
    time.sleep(0.2)
    _proxy(stage).mode = PASS
    if chance.random() < 0.5:  # noqa: PLR2004
        _proxy(stage).cut()


@_fault("blackhole to the server", Need.NETWORK, lasts=(0.5, 3.0))
def blackhole_requests(stage: Stage, _: Random) -> Iterator[list[int]]:
    """Drop everything to the server, then cut the connections, as a system does that gave up."""
    yield from _network(_proxy(stage), Mode(held=frozenset({REQUESTS})), cut=True)


@_fault("blackhole from the server", Need.NETWORK, lasts=(0.5, 3.0))
def blackhole_replies(stage: Stage, _: Random) -> Iterator[list[int]]:
    """Pass requests and drop replies, then cut the connections."""
    yield from _network(_proxy(stage), Mode(held=frozenset({REPLIES})), cut=True)


@_fault(
    "consumers cut off for longer than a lease",
    Need.NETWORK,
    lasts=(16.0, 20.0),
    effects=(Effect.LEASE, Effect.ORDER, Effect.REFUSAL),
    weight=0.15,
)
def cut_off(stage: Stage, _: Random) -> Iterator[list[int]]:
    """Cut some consumers of a lane off for longer than a lease; others run their jobs."""
    behind = [one for one in stage.of_role("consumer") if one.url == stage.other_url]
    if stage.branch is None or not behind:
        raise Missing
    pids = [pid for one in behind for pid in (one.pid, *one.children())]
    yield from _network(stage.branch, Mode(held=frozenset({REQUESTS, REPLIES})), *pids, cut=True)


# --- the server ---------------------------------------------------------------------------------------------------


def _restarted(stage: OwnStage, number: int, *, forget: bool = False) -> Iterator[list[int]]:
    """End the server by a signal, and start it after a while; without its file if `forget`."""
    with stage.server_down() as server:
        pid = server.pid
        server.end(number)
        if forget:
            server.forget()
        yield [pid]


@_fault("server killed, restarted with its file", Need.SERVER, lasts=(0.0, 2.0), effects=(Effect.REFUSAL,))
def kill_server(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SIGKILL to the server, and start it with its file, which is synced always."""
    yield from _restarted(stage, signal.SIGKILL)


@_fault("server restarted in good order", Need.SERVER, lasts=(0.0, 2.0), effects=(Effect.REFUSAL,))
def restart_server(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SIGTERM to the server, and start it again."""
    yield from _restarted(stage, signal.SIGTERM)


@_fault(
    "server restarted without its file",
    Need.SERVER,
    lasts=(0.0, 1.0),
    effects=(Effect.LOSS, Effect.ORDER, Effect.LEASE, Effect.REFUSAL),
    weight=0.3,
)
def empty_server(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SIGKILL to the server, remove its file, and start it; producers put the jobs that they hold again."""
    yield from _restarted(stage, signal.SIGKILL, forget=True)


@_fault("server stopped", Need.SERVER, lasts=(0.2, 3.0))
def stop_server(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to the server, and SIGCONT after a while."""
    yield from _stopped(stage.server.pid)


@_fault(
    "server stopped for longer than a lease",
    Need.SERVER,
    lasts=(16.0, 20.0),
    effects=(Effect.REFUSAL, Effect.ORDER),
    weight=0.15,
)
def stop_server_long(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SIGSTOP to the server for longer than a lease, and SIGCONT: no lease expires."""
    yield from _stopped(stage.server.pid)


@_fault("clock turned", Need.SERVER, Need.CLOCK, lasts=(0.5, 3.0), effects=(Effect.CLOCK,))
def turn_clock(stage: OwnStage, chance: Random) -> Iterator[list[int]]:
    """Set the server's clock ahead or back by up to 25 seconds, and then right."""
    stage.server.turn_clock(chance.choice((-25, -5, 5, 25)))
    yield []
    stage.server.turn_clock(0)


@_fault("clients killed", Need.SERVER, weight=2)
def kill_clients(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send CLIENT KILL TYPE normal: the server closes all connections."""
    stage.server.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield []


@_fault("clients paused", Need.SERVER)
def pause_clients(stage: OwnStage, chance: Random) -> Iterator[list[int]]:
    """Send CLIENT PAUSE: the server executes no commands, or no writes, for a while."""
    stage.server.run("CLIENT", "PAUSE", chance.randint(100, 3000), chance.choice(("ALL", "WRITE")))
    yield []


@_fault("scripts forgotten", Need.SERVER)
def flush_scripts(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Send SCRIPT FLUSH: the server forgets the scripts."""
    stage.server.run("SCRIPT", "FLUSH")
    yield []


def _configured(stage: OwnStage, name: str, value: str) -> Iterator[list[int]]:
    """Change a setting of the server for a while; 0 is its default."""
    configure = partial(stage.server.run, "CONFIG", "SET", name)
    yield from _undone(lambda: configure(value), lambda: configure("0"))


@_fault("server out of memory", Need.SERVER, lasts=(0.3, 2.0))
def fill_memory(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Set maxmemory below the memory in use, then restore it."""
    yield from _configured(stage, "maxmemory", "1mb")


@_fault("too few replicas", Need.SERVER, lasts=(0.3, 3.0))
def want_replicas(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Set min-replicas-to-write so that writes are refused (NOREPLICAS), then restore it."""
    yield from _configured(stage, "min-replicas-to-write", "3")


@_fault("disk full", Need.SERVER, Need.DISK, lasts=(0.3, 2.0), effects=(Effect.REFUSAL,))
def fill_disk(stage: OwnStage, _: Random) -> Iterator[list[int]]:
    """Fill the small disk that the server writes to, then free it."""
    assert stage.disk is not None
    place = Path(stage.disk, "filled")
    with stage.server_down():  # a server that syncs always ends if it cannot
        fill(place)
        yield []
        place.unlink()


# --- failover -----------------------------------------------------------------------------------------------------


@_fault("failover in good order", Need.REPLICA, lasts=(0.5, 1.5), effects=(Effect.REFUSAL,), weight=3)
def fail_over(stage: WatchedStage, _: Random) -> Iterator[list[int]]:
    """Swap the primary and its replica without losing a write; the address follows."""
    with stage.moving() as pair:
        pair.fail_over()
    yield []


@_fault("primary killed under sentinel", Need.REPLICA, lasts=(0.0, 0.5), effects=(*PROMOTED,))
def kill_primary(stage: WatchedStage, _: Random) -> Iterator[list[int]]:
    """Send SIGKILL to the primary; the sentinel promotes the replica, and the old primary returns as its replica."""
    with stage.moving() as pair:
        pid = pair.kill_primary()
    yield [pid]
