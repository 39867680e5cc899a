"""A queue of a real server, as the tests of the scripts see it: commands in, the whole state out."""

from __future__ import annotations

import itertools
import struct
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from conveyor.store import commands, keys, scripts
from conveyor.store.client import receive, send
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.store.command import Command

_names = (f"lane{number}" for number in itertools.count())
LONG = 1000.0  # seconds; a lease or a delay that does not end while a test runs
VOLATILE = {"token", "clock", "wall", "due_wall", "due_shift", "born", "rest"}  # of meta
State = dict[str, Any]


def _plain(answer: Any) -> Any:
    """Return a reply without the lineage, which is different each time."""
    return answer._replace(lineage=commands.Lineage()) if hasattr(answer, "lineage") else answer


#: How to read a key of each kind, as a command of a pipeline.
READ: dict[bytes, Callable[[Any, bytes], object]] = {
    b"string": lambda pipe, key: pipe.get(key),
    b"list": lambda pipe, key: pipe.lrange(key, 0, -1),
    b"set": lambda pipe, key: pipe.smembers(key),
    b"stream": lambda pipe, key: pipe.xrange(key),
    b"zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    b"hash": lambda pipe, key: pipe.hgetall(key),
    b"none": lambda pipe, key: pipe.hgetall(key),  # it has just expired
}
#: Times before it, in ms, are past: tests set them. Measured by the clock, they would change every hundred seconds.
LONG_AGO = 1e12
#: A limit, as scripts pack it.
_LIMIT = struct.Struct(">IIdBIId")


class Lane:
    """Runs commands on a separate queue, and shows all its keys as a plain dict after a consistency check."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.client = server.client
        self.raw = server.raw
        self.queue = next(_names)
        self.tokens: list[str] = []
        self.sound = True
        self._nonces = itertools.count()

    def key(self, name: str) -> str:
        """Return a key of the queue."""
        return keys.key(self.queue, name)

    def run(self, verb: Callable[..., Command], *args: Any) -> Any:
        """Run a verb of commands.py on this queue."""
        return _plain(self.client.run(verb(self.queue, *args)))

    def run_again(self, verb: Callable[..., Command], *args: Any) -> Any:
        """Run it with the words for a command that got no reply the first time."""
        command = verb(self.queue, *args)
        connection = self.client.connection()
        try:
            send(connection, [command], again=True)
            (reply,) = receive(connection, [command], again=True)
        finally:
            connection.disconnect()
        if isinstance(reply, Exception):
            raise reply
        return _plain(command.read(reply))

    def put(self, *ids: str, **place: Any) -> Any:
        """Put jobs whose bytes are made from their ids."""
        jobs = [(one, f"bytes of {one}".encode()) for one in ids]
        return self.run(commands.put, jobs, commands.PutParams(**place))

    def submit(self, *ids: str, again: bool = False, **options: Any) -> Any:
        """Put jobs with terms: those of `commands.pack_terms`, `limits`, `uniques`, and those of PutParams."""
        own = {
            name: options.pop(name)
            for name in ("limit", "unique", "after", "policy", "hooks")
            if name in options
        }
        shared = options.pop("limits", (0, 0, 0.0, False)), options.pop("uniques", (0.0, False))
        jobs = [(one, options.pop("data", f"bytes of {one}".encode())) for one in ids]
        terms = commands.Terms(dict.fromkeys(ids, commands.pack_terms(**own)), *shared)
        run = self.run_again if again else self.run
        return run(commands.submit, jobs, commands.PutParams(terms=terms, **options))

    def finish(self, batch: commands.Batch, state: str = "done") -> None:
        """End the jobs of a batch."""
        ended = [commands.Settlement(job.id, encode_settled(state), 60.0) for job in batch.jobs]
        assert self.run(commands.finish, batch.token, ended) == []

    def state(self, job_id: str) -> str:
        """Return the state of a job."""
        return self.run(commands.state, job_id).state

    def claim(
        self, want: int = 1, owner: str = "ann", nonce: str = "", lease: float = LONG
    ) -> commands.Batch:
        """Take jobs; each call is another claim unless it names a nonce."""
        batch = self.run(commands.claim, owner, nonce or f"n{next(self._nonces)}", want, lease)
        if batch.token and batch.token not in self.tokens:
            self.tokens.append(batch.token)
        return batch

    def take(self, *ids: str) -> str:
        """Put jobs and take them in a batch; return the token."""
        self.put(*ids)
        batch = self.claim(len(ids))
        assert names(batch) == [*ids]
        return batch.token

    def count(self) -> commands.Count:
        return self.run(commands.count)

    def dump(self) -> State:
        """Return everything that the server holds of this queue, times in hundreds of seconds, tokens by number."""
        prefix = self.key("")
        pattern = _pattern(f"{prefix}*")
        pipe = self.raw.pipeline(transaction=False)
        found = list(self.raw.scan_iter(match=pattern, count=1000))
        for key in found:
            pipe.type(key)
        kinds = dict(zip(found, pipe.execute(), strict=True))
        pipe.time()
        pipe.hget(self.key("meta"), "clock")
        for key, kind in kinds.items():
            READ[kind](pipe, key)
        (seconds, _), clock, *contents = pipe.execute()
        state: State = {}
        for (key, kind), content in zip(kinds.items(), contents, strict=True):
            name = key.decode().removeprefix(prefix)
            now = int(clock) if name == "leased" else seconds * 1000
            state[name] = self._plain(name, kind, content, now)
        for field, value in state.pop("meta", {}).items():
            if field not in VOLATILE:
                state[f"meta.{field}"] = value
        if self.sound:
            self.check()
            self._check_inputs(state)
        return state

    def changes(self, before: State) -> State:
        """Return the differences from before; None for a removed entry."""
        after = self.dump()
        return {
            name: after.get(name) for name in sorted({*before, *after}) if before.get(name) != after.get(name)
        }

    def check(self) -> None:
        """Check that no two indexes disagree, and that the ledger balances."""
        indexes = ("ready", "delayed", "deferred", "leased", "dead")
        hashes = ("leases", "jobs", "tries", "priorities", "reasons", "groups", "streams", "steps", "terms")
        pipe = self.raw.pipeline(transaction=False)
        for name in indexes:
            pipe.zrange(self.key(name), 0, -1)
        for name in hashes:
            pipe.hkeys(self.key(name))
        ids = dict(zip((*indexes, *hashes), map(set, pipe.execute()), strict=True))
        known = set().union(*(ids[name] for name in indexes))
        assert sum(len(ids[name]) for name in indexes) == len(known), "a job is in two places"
        assert ids["jobs"] == known
        assert ids["leases"] == ids["leased"]
        assert ids["reasons"] == ids["groups"] == ids["dead"]
        assert ids["tries"] <= known
        assert ids["priorities"] <= ids["delayed"] | ids["dead"]
        assert ids["streams"] <= known - ids["dead"]
        assert ids["steps"] <= known
        if ids["terms"] or self.raw.exists(*map(self.key, ("limits", "deferred", "followed", "turns"))):
            self._check_terms(ids)
        count = self.count()
        assert (count.imbalance, count.torn) == (0, 0)

    def _check_terms(self, ids: dict[str, set[bytes]]) -> None:
        """Check that each job with terms is where its letter says, and that the limits count their jobs."""
        raw, key = self.raw, self.key
        assert ids["terms"] <= ids["jobs"]
        assert ids["deferred"] <= ids["terms"]
        slots: Counter[tuple[str, str]] = Counter()
        lanes: dict[str, set[bytes]] = defaultdict(set)
        for one, text in raw.hgetall(key("terms")).items():
            letter, name = text[:1].decode(), one.decode()
            terms = _unpacked(text)[1]
            places = {"t": "leased", "k": "delayed", "a": "deferred", "b": "deferred"}
            found = ids["ready"] | ids["leased"] if letter == "r" else ids[places.get(letter, "jobs")]
            assert one in found, (name, letter)
            waits = raw.exists(key(f"after:{name}"), key(f"before:{name}"))
            assert (letter == "a") == bool(waits), (name, letter)
            if "l" in terms:
                unlimited = ids["leased"] if terms.get("m", [0])[0] == 0 else set()
                assert letter != "-" or one in ids["delayed"] | ids["dead"] | unlimited, (name, letter)
                slots[terms["l"], {"k": "t"}.get(letter, letter)] += 1
                if letter == "b":
                    lanes[terms["l"]].add(one)
            if "u" in terms and not {"us", "uk"} & terms.keys() and one not in ids["dead"]:
                assert raw.get(key(f"unique:{terms['u']}")) == one, (name, terms)
        assert (ids["deferred"] == set()) == (raw.exists(key("deferred")) == 0)
        limits = {name.decode(): _LIMIT.unpack(text) for name, text in raw.hgetall(key("limits")).items()}
        for name in {*limits, *(name for name, _ in slots)} - {""}:
            counts = [slots[name, "r"], slots[name, "t"]]
            assert list(limits.get(name, [0] * 7)[4:6]) == counts, (name, limits.get(name), counts)
        found = {one.decode() for one in raw.scan_iter(match=_pattern(key("lane:*")), count=1000)}
        assert found == {key(f"lane:{name}") for name in lanes}
        for name, members in lanes.items():
            assert set(raw.zrange(key(f"lane:{name}"), 0, -1)) == members
        followed = set(raw.smembers(key("followed")))
        ended = {one.split()[0] for one in raw.lrange(key("ended"), 0, -1)}
        assert followed <= ids["jobs"] | ended
        for one in followed:
            assert raw.exists(key(f"followers:{one.decode()}")), one
        for name in raw.zrange(key("turns"), 0, -1):
            assert name.decode() in limits, name

    def _check_inputs(self, state: State) -> None:
        """Check that only jobs have inputs, and that each shared one is there for as many as it counts."""
        holders: Counter[str] = Counter()
        for name, fields in state.items():
            kind, _, job = name.partition(":")
            if kind == "inputs":
                assert job in state["jobs"], name
                holders.update(f"shared:{one}" for one in fields.get("", "").split(",")[:-1])
        counts = {name: int(fields["jobs"]) for name, fields in state.items() if name.startswith("shared:")}
        assert counts == holders

    def inputs(self, job_id: str) -> dict[str, bytes]:
        """Return the outcomes that a job gets, by queue and id."""
        outcomes, shared = self.run(commands.inputs, job_id)
        return outcomes | {one: self.run(commands.shared_input, one) for one in shared}

    def turn_clock(self, milliseconds: int) -> None:
        """Simulate a jump of the server's clock since the last script."""
        self.raw.hincrby(self.key("meta"), "wall", -milliseconds)

    def let_leases_run_out(self, *ids: str) -> None:
        """Set the ends of leases (of all, if none is named) to a past time."""
        for one in ids or self.raw.zrange(self.key("leased"), 0, -1):
            self.raw.zadd(self.key("leased"), {one: 1})

    def _plain(  # noqa: PLR0911 - one for each kind
        self, name: str, kind: bytes, content: Any, now: int
    ) -> Any:
        """Return the content of a key without bytes, with times relative to `now` in milliseconds."""
        if kind == b"string":
            return self._named(content.decode(errors="replace"))
        if name in {"terms", "limits"}:
            return {field.decode(): _unpacked(value) for field, value in content.items()}
        if kind == b"list":
            return [
                "now" if name.startswith("starts:") else item.decode(errors="replace") for item in content
            ]
        if kind == b"set":
            return {item.decode() for item in content}
        if kind == b"stream":
            return [entry[field].decode(errors="replace") for _, entry in content for field in entry]
        if kind == b"zset":
            return {item.decode(errors="replace"): self._score(name, score, now) for item, score in content}
        found = {
            field.decode(): self._named(value.decode(errors="replace")) for field, value in content.items()
        }
        for field, value in found.items() if name.startswith("steps:") else ():
            if field.startswith(("wait ", "sleep ")):
                number, _, end = value.partition(" ")
                found[field] = f"{number} {self._score(name, int(end), now)}"
        return dict.fromkeys(found, "now") if name == "seen" else found

    def _score(self, name: str, score: float, now: int) -> int:
        if name in {"ready", "line", "deferred"} or name.startswith("lane:") or score < LONG_AGO:
            return int(score)
        return round((score - now) / 100_000) * 100

    def _named(self, text: str) -> str:
        for number, token in enumerate(self.tokens, 1):
            text = text.replace(token, f"#{number}")
        return text


def _pattern(name: str) -> str:
    """Return the pattern of keys that finds a name with an asterisk as its only wildcard."""
    return name.replace("{", "\\{").replace("}", "\\}")


def _unpacked(value: bytes) -> Any:
    """Return the terms of a job, as its letter and then the rest, or a limit, whose rest may be "later" or 0."""
    if value[:1].isalpha() or value[:1] == b"-":
        line, _, packed = value.partition(b"\n")
        terms = msgspec.msgpack.decode(packed) or {}
        assert (line[1:2] == b"+") == bool(terms.keys() - {"m"}), value
        return line[:1].decode(), ({"l": line[2:].decode()} if line[2:] else {}) | terms
    *limit, rest = _LIMIT.unpack(value)
    return [*map(int, limit), "later" if rest else 0]


def names(batch: commands.Batch) -> list[str]:
    """Return the ids of the jobs in a batch."""
    return [job.id for job in batch.jobs]


def packed_hook(hook: commands.HookJob, state: str = "done") -> bytes:
    """Return what the queue of a job that has ended tells that of its hook."""
    outcome = encode_settled(state)
    *_, data, priority, own = hook.packed()
    text = msgspec.Raw(b"\xdb" + len(outcome).to_bytes(4, "big") + outcome)
    return msgspec.msgpack.encode([data, priority, own, text])


@pytest.fixture
def lane_at() -> type[Lane]:
    """Return a function that makes an empty queue on a server."""
    return Lane


@pytest.fixture
def lane(server: Any) -> Iterator[Lane]:
    """Provide an empty queue on each kind of server; check its ledger again afterwards."""
    lane = Lane(server)
    yield lane
    lane.dump()


@pytest.fixture
def few_dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit the dead jobs the scripts keep of a queue to two instead of ten thousand."""
    read, limit = scripts._read, "MAX_DEAD = 10000"
    assert limit in read("shared/settle.lua")
    monkeypatch.setattr(scripts, "_read", lambda file: read(file).replace(limit, "MAX_DEAD = 2"))
    scripts.load.cache_clear()
    yield
    monkeypatch.undo()
    scripts.load.cache_clear()


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit the steps of a job to two values and 80 bytes."""
    read = scripts._read
    limits = {"MAX_STEPS, MAX_STEP_BYTES = 1000, 16777216": "MAX_STEPS, MAX_STEP_BYTES = 2, 80"}
    ((old, new),) = limits.items()
    assert old in read("shared/steps.lua")
    monkeypatch.setattr(scripts, "_read", lambda file: read(file).replace(old, new))
    scripts.load.cache_clear()
    yield
    monkeypatch.undo()
    scripts.load.cache_clear()
