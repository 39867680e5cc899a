"""The protocol of claims, leases and tokens as a small model, and an exhaustive search through its states.

Two workers share two jobs. Each function of `Scripts` stands for the server script of the same name, reduced to what
decides who holds a job. `Model` names all that can happen next: a worker sends a request, the server executes a copy
of it, the reply arrives or is lost, a lease expires, a process or a host dies. `search` visits every state that any
sequence of these steps leads to, and looks for one that breaks a promise:

    one place      a job is ready, leased or over: never two of these, and never none
    one outcome    an outcome, once recorded, does not change, and the ledger counts it once
    newest token   an outcome is never that of a run whose lease expired or was given back
    no robbery     a holder is refused only after its lease expired or was given back
    no orphan      a living worker knows of its leases, or still awaits the reply that tells it
    no dead end    all jobs can still end, whatever has happened so far

A worker repeats a request until a reply arrives, so the server may execute it any number of times. After the reply,
copies may still be under way; they are executed at any later time, or never. The model assumes what the scripts see to
by their limits: claims and outcomes are remembered for longer than a copy is under way.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS, JOBS = 2, 2
#: Faults in all: a lease expires under a living worker, a job is released, copies are late, a process or host dies.
FAULTS = 2
IDLE, RUN = "idle", "run"


# --- the state


class Lease(NamedTuple):
    """An entry of `leases`: who holds a job."""

    token: int
    owner: int


class Memory(NamedTuple):
    """An entry of `claim:<owner>`: the last claim of an owner and its result; token 0 for none."""

    nonce: int = 0
    token: int = 0
    job: int = 0


class Keys(NamedTuple):
    """The keys of one queue."""

    ready: frozenset[int] = frozenset(range(JOBS))
    leased: frozenset[int] = frozenset()
    expired: frozenset[int] = frozenset()
    """The jobs of `leased` whose time is over."""
    leases: tuple[Lease | None, ...] = (None,) * JOBS
    outcomes: tuple[int, ...] = (0,) * JOBS
    """The token of the run whose outcome is kept, by job; 0 for none."""
    finished: int = 0
    memories: tuple[Memory, ...] = (Memory(),) * (WORKERS + FAULTS)
    token: int = 0


class Request(NamedTuple):
    """A command under way."""

    script: str
    owner: int
    nonce: int
    job: int
    token: int
    want: int


class Worker(NamedTuple):
    """A worker; or, after its process died, the supervisor that settles its jobs."""

    owner: int
    doing: str = IDLE
    """`idle`, `run`, or the script whose reply it awaits."""
    nonce: int = 0
    job: int = 0
    token: int = 0
    alive: bool = True

    def request(self) -> Request:
        """Return the request whose reply it awaits."""
        return Request(self.doing, self.owner, self.nonce, self.job, self.token, int(self.alive))

    def awaits(self) -> bool:
        """Return True if it awaits a reply."""
        return self.doing not in {IDLE, RUN}


class State(NamedTuple):
    """The complete state at one moment."""

    keys: Keys = Keys()
    workers: tuple[Worker, ...] = tuple(map(Worker, range(WORKERS)))
    late: frozenset[Request] = frozenset()
    """Copies that are under way although no process awaits a reply."""
    ended: frozenset[int] = frozenset()
    """Tokens whose lease expired or was given back. Only the promises are measured by it."""
    robbed: bool = False
    """True if a holder was refused with the last reply."""
    faults: int = 0


def put(items: tuple, place: int, item: object) -> tuple:
    """Return the items with one of them replaced."""
    return (*items[:place], item, *items[place + 1 :])


# --- the server's actions: the keys before, the keys after, and the reply


class Scripts:
    """The scripts. A reply is a job and its token, or whether the request was accepted."""

    def is_holder(self, lease: Lease | None, token: int) -> bool:
        """shared/lease.lua: return True if the lease carries the token."""
        return lease is not None and lease.token == token

    def claim(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        """claim.lua: ready -> leased under a new token; the same nonce gets its jobs again that are still held."""
        last = keys.memories[ask.owner]
        if last.nonce == ask.nonce:
            held = last.token and self.is_holder(keys.leases[last.job], last.token)
            return keys, (last.job, last.token) if held else None
        if ask.nonce < last.nonce:
            return keys, None
        if not keys.ready or not ask.want:
            return self.nothing(keys, ask), None
        job, token = min(keys.ready), keys.token + 1
        keys = keys._replace(
            ready=keys.ready - {job},
            leased=keys.leased | {job},
            leases=put(keys.leases, job, Lease(token, ask.owner)),
            memories=put(keys.memories, ask.owner, Memory(ask.nonce, token, job)),
            token=token,
        )
        return keys, (job, token)

    def nothing(self, keys: Keys, ask: Request) -> Keys:
        """claim.lua, nothing: another copy that is still under way must bring nothing, too."""
        return keys._replace(memories=put(keys.memories, ask.owner, Memory(ask.nonce)))

    def renew(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        """renew.lua: leased -> leased, for longer."""
        if not self.is_holder(keys.leases[ask.job], ask.token):
            return keys, False
        return keys._replace(expired=keys.expired - {ask.job}), True

    def finish(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        """finish.lua: leased -> over, with the outcome; accepted again if it is the recorded outcome."""
        if not self.is_holder(keys.leases[ask.job], ask.token):
            return keys, keys.outcomes[ask.job] == ask.token
        keys = self.without_lease(keys, ask.job)
        return keys._replace(
            outcomes=put(keys.outcomes, ask.job, ask.token), finished=keys.finished + 1
        ), True

    def release(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        """release.lua: leased -> ready, by its holder."""
        if not self.is_holder(keys.leases[ask.job], ask.token):
            return keys, False
        keys = self.without_lease(keys, ask.job)
        return keys._replace(ready=keys.ready | {ask.job}), True

    def lost(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        """lost.lua: leased -> ready, by the supervisor of the holder, which died."""
        if not self.is_holder(keys.leases[ask.job], ask.token):
            return keys, False
        keys = self.without_lease(keys, ask.job)
        return keys._replace(ready=keys.ready | {ask.job}), True

    def reap(self, keys: Keys, job: int) -> Keys:
        """reap.lua: leased -> ready, by any worker, once the lease has expired."""
        return self.without_lease(keys, job)._replace(ready=keys.ready | {job})

    def without_lease(self, keys: Keys, job: int) -> Keys:
        """ZREM leased, HDEL leases."""
        return keys._replace(
            leased=keys.leased - {job}, expired=keys.expired - {job}, leases=put(keys.leases, job, None)
        )


# --- possible steps


class Step(NamedTuple):
    """A possible step: its kind, the worker concerned, and the state after it."""

    name: str
    owner: int
    state: State


class Model:
    """All steps from any state, with the server's part done by `scripts`."""

    def __init__(self, scripts: Scripts, faults: int) -> None:
        self.scripts, self.most = scripts, faults

    def steps(self, state: State) -> Iterator[Step]:
        """Yield the possible steps and the state after each."""
        for worker in state.workers:
            yield from self.work(state, worker)
            yield from self.replies(state, worker)
            if state.faults < self.most:
                yield from self.faults(state._replace(faults=state.faults + 1), worker)
        for copy in state.late:
            after, _ = self.execute(state, copy)
            yield Step(f"the server executes a late {copy.script} of {{}}", copy.owner, after)
        yield from self.time(state)

    def work(self, state: State, worker: Worker) -> Iterator[Step]:
        """Claim a job, finish it, and renew its lease if needed."""
        if worker.doing == IDLE and state.keys.ready:
            asking = worker._replace(doing="claim", nonce=worker.nonce + 1)
            yield Step("{} claims", worker.owner, having(state, asking))
        elif worker.doing == RUN:
            yield Step("{} finishes", worker.owner, having(state, worker._replace(doing="finish")))
            is_held = state.keys.leases[worker.job] == (worker.token, worker.owner)
            if not is_held or worker.job in state.keys.expired:  # otherwise a renewal changes nothing
                yield Step("{} renews", worker.owner, having(state, worker._replace(doing="renew")))

    def replies(self, state: State, worker: Worker) -> Iterator[Step]:
        """The server executes the request of a worker, and the reply is lost, or arrives; then copies may be late."""
        if not worker.awaits():
            return
        copy = worker.request()
        after, reply = self.execute(state, copy)
        name = f"the server executes {copy.script} of {{}}, and the reply"
        yield Step(f"{name} is lost", worker.owner, after)
        received = having(after, self.received(worker, reply))._replace(robbed=is_robbery(after, copy, reply))
        yield Step(f"{name} is {reply}", worker.owner, received)
        if state.faults < self.most:
            late = received._replace(late=received.late | {copy}, faults=received.faults + 1)
            yield Step(f"{name} is {reply}; a copy is under way", worker.owner, late)

    def execute(self, state: State, copy: Request) -> tuple[State, object]:
        """Execute a request on the server; return the state after it and the reply."""
        keys, reply = getattr(self.scripts, copy.script)(state.keys, copy)
        gave_back = reply and copy.script in {"release", "lost"}
        ended = state.ended | {copy.token} if gave_back else state.ended
        return state._replace(keys=keys, ended=ended), reply

    def received(self, worker: Worker, reply: object) -> Worker:
        """Return the worker after a reply."""
        if worker.doing == "claim" and reply:
            job, token = reply
            # A supervisor releases the job that the worker left unfinished.
            return worker._replace(doing=RUN if worker.alive else "release", job=job, token=token)
        if worker.doing == "renew" and reply:
            return worker._replace(doing=RUN)
        return Worker(worker.owner, nonce=worker.nonce)

    def faults(self, state: State, worker: Worker) -> Iterator[Step]:
        """Release a job, or kill a process with or without a supervisor that notices."""
        if worker.doing == RUN:
            yield Step("{} gives its job back", worker.owner, having(state, worker._replace(doing="release")))
        late = state.late | {worker.request()} if worker.awaits() else state.late
        if worker.alive and worker.doing != IDLE:
            doing = "claim" if worker.doing == "claim" else "lost"
            dead = having(state._replace(late=late), worker._replace(doing=doing, alive=False))
            yield Step(f"{{}} dies, and its supervisor sends {doing}", worker.owner, dead)
        yield Step("the host of {} dies", worker.owner, replaced(state._replace(late=late), worker.owner))

    def time(self, state: State) -> Iterator[Step]:
        """Let a lease expire, which is an error if its holder lives, and let any worker recover the job."""
        keys = state.keys
        for job in keys.leased - keys.expired:
            lease = keys.leases[job]
            faults = state.faults + (lease is not None and lease.owner < WORKERS)
            if faults <= self.most:
                expired = keys._replace(expired=keys.expired | {job})
                yield Step(f"the lease of job {job} expires", 0, state._replace(keys=expired, faults=faults))
        for job in keys.expired:
            lease, after = keys.leases[job], self.scripts.reap(keys, job)
            ended = state.ended | {lease.token} if lease and not after.leases[job] else state.ended
            yield Step(f"job {job} is taken back", 0, state._replace(keys=after, ended=ended))


def having(state: State, worker: Worker) -> State:
    """Return the state with a worker that has changed."""
    keys, workers, *rest = state
    return State(keys, put(workers, worker.owner, worker), *rest)


def replaced(state: State, owner: int) -> State:
    """Return the state with a new worker in place of another, whose requests and leases then have no owner."""
    keys = state.keys
    names = {one.owner for one in (*state.late, *filter(None, keys.leases))}
    gone = next(name for name in range(WORKERS, WORKERS + FAULTS) if name not in names)
    keys = keys._replace(
        memories=put(put(keys.memories, gone, keys.memories[owner]), owner, Memory()),
        leases=tuple(one._replace(owner=gone) if one and one.owner == owner else one for one in keys.leases),
    )
    late = frozenset(one._replace(owner=gone) if one.owner == owner else one for one in state.late)
    return having(state._replace(keys=keys, late=late), Worker(owner))


def simplified(state: State) -> State:
    """Return the state without claims that cannot be repeated: states that differ in nothing else are equal."""
    asking = {one.owner for one in (*state.late, *state.workers) if "claim" in one}
    for owner, memory in enumerate(state.keys.memories):
        if memory.nonce and owner not in asking:
            memories = put(state.keys.memories, owner, Memory())
            state = state._replace(keys=state.keys._replace(memories=memories))
    for worker in state.workers:
        if worker.nonce and worker.owner not in asking:
            state = having(state, worker._replace(nonce=0))
    return state


def swapped(state: State) -> State:
    """Return the state with the two workers in each other's place, which makes no difference."""
    keys, (first, second) = state.keys, state.workers
    names = (1, 0, *range(WORKERS, len(keys.memories)))
    keys = keys._replace(
        memories=tuple(keys.memories[name] for name in names),
        leases=tuple(one and one._replace(owner=names[one.owner]) for one in keys.leases),
    )
    return state._replace(
        keys=keys,
        workers=(second._replace(owner=0), first._replace(owner=1)),
        late=frozenset(one._replace(owner=names[one.owner]) for one in state.late),
    )


# --- promises about a step, given the state before and after it


def one_place(_: State, after: State) -> bool:
    keys = after.keys
    places = zip(keys.leases, keys.outcomes, strict=True)
    return keys.leased == {job for job in range(JOBS) if keys.leases[job]} and all(
        (job in keys.ready) + bool(lease) + bool(outcome) == 1 for job, (lease, outcome) in enumerate(places)
    )


def one_outcome(before: State, after: State) -> bool:
    pairs = zip(before.keys.outcomes, after.keys.outcomes, strict=True)
    return (
        all(old in {0, new} for old, new in pairs)
        and after.keys.finished + after.keys.outcomes.count(0) == JOBS
    )


def newest_token(_: State, after: State) -> bool:
    return after.ended.isdisjoint(after.keys.outcomes)


def no_robbery(_: State, after: State) -> bool:
    return not after.robbed


def no_orphan(_: State, after: State) -> bool:
    return all(knows(after, lease) for lease in after.keys.leases if lease and lease.owner < WORKERS)


def knows(state: State, lease: Lease) -> bool:
    """Return True if the owner of a lease holds its token, or awaits the reply that brings it."""
    worker, memory = state.workers[lease.owner], state.keys.memories[lease.owner]
    awaited = memory.token if worker.doing == "claim" and memory.nonce == worker.nonce else 0
    return lease.token in {worker.token, awaited}


def is_robbery(state: State, request: Request, reply: object) -> bool:
    """Return True if a holder is refused although its lease neither expired nor was given back."""
    settled = request.token in state.keys.outcomes and request.script != "finish"
    return reply is False and request.token not in state.ended and not settled


PROMISES = {
    "one place": one_place,
    "one outcome": one_outcome,
    "newest token": newest_token,
    "no robbery": no_robbery,
    "no orphan": no_orphan,
}
#: The promises that depend on the state before a step, too; the others depend only on the state after it.
PROMISES_OF_A_STEP = {"one outcome": one_outcome}


# --- the search


#: The number of the state before a state, the step between them, and whether the workers were swapped after it.
Origin = tuple[int, Step, bool]


class Verdict(NamedTuple):
    """The number of states, the broken promise, if any, and the fewest steps that break it."""

    states: int
    promise: str = ""
    steps: tuple[str, ...] = ()


def search(scripts: Scripts, faults: int = FAULTS) -> Verdict:
    """Visit every state that can be reached, those that take fewer steps first, until a promise is broken."""
    was_enabled = gc.isenabled()
    gc.disable()  # it would visit all states again and again, and find no cycle
    try:
        return visit_all(Model(scripts, faults))
    finally:
        if was_enabled:
            gc.enable()


def visit_all(model: Model) -> Verdict:
    """Visit the states of a model; number them in the order of their first visits."""
    states = [State()]
    numbers = {State(): 0}
    origins: list[Origin | None] = [None]
    before: list[list[int]] = [[]]
    for number, state in enumerate(states):  # which grows meanwhile
        for step in model.steps(state):
            found = simplified(step.state)
            if is_swapped := found.workers[1][1:] < found.workers[0][1:]:
                found = swapped(found)
            place = numbers.get(found)
            # Neither simplifying nor swapping changes whether a promise about the state alone holds.
            for promise, holds in (PROMISES if place is None else PROMISES_OF_A_STEP).items():
                if not holds(state, step.state):
                    return Verdict(len(states), promise, names(origins, number, step))
            if place is None:
                numbers[found] = place = len(states)
                states.append(found)
                origins.append((number, step, is_swapped))
                before.append([])
            before[place].append(number)
    alive = leading_to([place for place, state in enumerate(states) if all(state.keys.outcomes)], before)
    for place in range(len(states)):
        if place not in alive:
            return Verdict(len(states), "no dead end", names(origins, place))
    return Verdict(len(states))


def names(origins: list[Origin | None], place: int, *last: Step) -> tuple[str, ...]:
    """Return the steps that lead to a state, and what follows, with each worker under one name throughout."""
    path = []
    while (origin := origins[place]) is not None:
        place, *way = origin
        path.append(way)
    labels, texts = ["A", "B", *["a dead worker"] * FAULTS], []
    for step, is_swapped in (*reversed(path), *((step, False) for step in last)):
        texts.append(step.name.format(labels[step.owner]))
        if is_swapped:
            labels[:2] = labels[1], labels[0]
    return tuple(texts)


def leading_to(ends: list[int], before: list[list[int]]) -> set[int]:
    """Return the numbers of the states from which one of these ends can be reached."""
    found = set(ends)
    while ends:
        for place in before[ends.pop()]:
            if place not in found:
                found.add(place)
                ends.append(place)
    return found
