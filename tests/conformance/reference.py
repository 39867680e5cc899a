"""A queue as it should be: a dict of jobs, where they are, and the books. What the scripts are measured by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MAXSIZE = 6
CRASH_BUDGET, LAPSE_BUDGET = 3, 10


@dataclass
class Modelled:
    """One job as it should be."""

    id: str
    state: str = "ready"
    priority: int = 0
    place: tuple[int, int] = (0, 0)
    due: float = 0.0
    token: str = ""
    old_token: str = ""
    how: str = ""
    retries: int = 0
    crashes: int = 0
    recoveries: int = 0
    lapses: int = 0

    @property
    def tries(self) -> str:
        """Give what is kept of its attempts; nothing of one that has none."""
        counts = (self.retries, self.crashes, self.recoveries, *([self.lapses] if self.lapses else []))
        return " ".join(map(str, counts)) if any(counts) else ""

    def is_held_by(self, token: str) -> bool:
        """Tell whether this token may settle it."""
        return self.state == "leased" and self.token == token

    def lay_down(self) -> None:
        """End the lease."""
        self.old_token, self.token, self.how = self.token or self.old_token, "", ""


@dataclass
class Model:
    """A queue as it should be: a dict of jobs, a counter for places, and the books."""

    jobs: dict[str, Modelled] = field(default_factory=dict)
    books: Counter[str] = field(default_factory=Counter)
    sequence: int = 0

    def of(self, state: str) -> list[Modelled]:
        return [job for job in self.jobs.values() if job.state == state]

    def waiting(self) -> list[str]:
        """Give the ids of those that are ready, in order."""
        return [job.id for job in sorted(self.of("ready"), key=lambda job: job.place)]

    def stand(self, job: Modelled) -> None:
        """Have a job stand at the end of the line of its priority."""
        self.sequence += 1
        job.state, job.place = "ready", (-job.priority, self.sequence)

    def put(self, ids: list[str], priority: int, delay: float) -> int:
        room = max(0, MAXSIZE - len(self.of("ready")) - len(self.of("delayed")))
        for one in ids[:room]:
            self.jobs[one] = job = Modelled(one, priority=priority)
            self.stand(job)
            if delay:
                job.state, job.due = "delayed", delay
        self.books["accepted"] += min(room, len(ids))
        return min(room, len(ids))

    def claim(self, want: int, token: str) -> list[str]:
        """Take the first; one that was recovered before goes alone."""
        taken: list[str] = []
        for one in self.waiting()[:want]:
            job = self.jobs[one]
            alone = job.recoveries > 0 or job.crashes > 0 or job.lapses > 0
            if taken and alone:
                break
            job.state, job.how, job.token = "leased", "H" if taken else "S", token
            taken.append(one)
            if alone:
                break
        return taken

    def end(self, job: Modelled, state: str, counter: str = "") -> None:
        """Have a job be over or dead."""
        job.state = state
        job.lay_down()
        if state != "dead":
            job.retries = job.crashes = job.recoveries = job.lapses = 0
        if counter:
            self.books[counter] += 1

    def retry(self, job: Modelled, delay: float) -> str:
        if job.how == "C":
            self.end(job, "over", "cancelled")
            return "cancelled"
        job.retries += 1
        job.lay_down()
        job.state, job.due = "delayed", delay
        if not delay:
            self.stand(job)
        return "OK"

    def take_back(self, job: Modelled, *, crashed: bool) -> str:
        """Say what becomes of a job whose worker crashed, or was not heard of until its lease ended."""
        if job.how == "C":
            self.end(job, "over", "cancelled")
            return "cancelled"
        job.crashes += crashed
        job.lapses += not crashed and job.how == "S"
        if job.crashes >= CRASH_BUDGET or job.lapses >= LAPSE_BUDGET:
            self.end(job, "dead")
            return "dead"
        job.state = "ready"
        job.lay_down()
        job.recoveries += 1
        return "ready"

    def release(self, job: Modelled) -> None:
        """Give a job back, without blame."""
        if job.how == "C":
            self.end(job, "over", "cancelled")
        else:
            job.state = "ready"
            job.lay_down()

    def cancel(self, job: Modelled | None) -> str:
        if job is None:
            return "gone"
        if job.state == "leased" and job.how != "H":
            job.how = "C"
            return "running"
        if job.state in {"ready", "delayed", "leased"}:
            self.end(job, "over", "cancelled")
            return "cancelled"
        return job.state

    def purge(self, index: str, most: int) -> int:
        """Cancel the first jobs of an index."""
        gone = [self.jobs[one] for one in self.waiting()]
        if index == "delayed":
            gone = sorted(self.of("delayed"), key=lambda job: (job.due, job.id))
        for job in gone[:most]:
            self.end(job, "over", "cancelled")
        return len(gone[:most])

    def revive(self, job: Modelled | None) -> int:
        """Bring a dead job back, as if it had never been tried."""
        if job is None or job.state != "dead":
            return 0
        job.retries = job.crashes = job.recoveries = job.lapses = 0
        self.stand(job)
        return 1
