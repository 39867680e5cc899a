"""The protocol keeps its promises in every state of the model, and breaks one without any of its guards."""

from __future__ import annotations

import pytest

from . import protocol
from .protocol import Keys, Lease, Memory, Request, Scripts, put


class WithoutTokens(Scripts):
    """Any settlement of a held job counts as one by its holder."""

    def is_holder(self, lease: Lease | None, token: int) -> bool:
        return lease is not None


class WithoutNonces(Scripts):
    """A claim that is repeated is another claim."""

    def claim(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        return super().claim(keys._replace(memories=put(keys.memories, ask.owner, Memory())), ask)


class WithoutOrderOfNonces(Scripts):
    """A late copy of an old claim takes a job."""

    def claim(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        last = keys.memories[ask.owner]
        if ask.nonce < last.nonce:
            keys = keys._replace(memories=put(keys.memories, ask.owner, Memory()))
        return super().claim(keys, ask)


class WithoutMemoryOfNothing(Scripts):
    """A late copy of a claim that brought nothing takes a job."""

    def nothing(self, keys: Keys, ask: Request) -> Keys:
        return keys


class ReleaseWithoutToken(Scripts):
    """A late release takes the job from its current holder."""

    def release(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        lease = keys.leases[ask.job]
        return super().release(keys, ask._replace(token=lease.token) if lease else ask)


class LostWithoutToken(Scripts):
    """A supervisor that reports a crash takes the job from its current holder."""

    def lost(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        lease = keys.leases[ask.job]
        return super().lost(keys, ask._replace(token=lease.token) if lease else ask)


class RenewalThatSteals(Scripts):
    """A worker whose lease expired takes the job back by renewing it."""

    def renew(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        if keys.leases[ask.job] is None:
            return keys, False
        return keys._replace(leases=put(keys.leases, ask.job, Lease(ask.token, ask.owner))), True


class ReapThatLeavesTheLease(Scripts):
    """A job that is taken back has still a holder."""

    def reap(self, keys: Keys, job: int) -> Keys:
        return super().reap(keys, job)._replace(leases=keys.leases)


class ReapThatLeavesTheIndex(Scripts):
    """A job that is taken back is in two indexes."""

    def reap(self, keys: Keys, job: int) -> Keys:
        return super().reap(keys, job)._replace(leased=keys.leased)


class NoReap(Scripts):
    """Jobs of dead hosts are never recovered."""

    def reap(self, keys: Keys, job: int) -> Keys:
        return keys


class FinishThatCountsTwice(Scripts):
    """A finish that is repeated is counted again."""

    def finish(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        after, accepted = super().finish(keys, ask)
        return (after._replace(finished=keys.finished + 1) if accepted else after), accepted


class FinishThatDoesNotKnowItself(Scripts):
    """A finish that is repeated is refused."""

    def finish(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        after, _ = super().finish(keys, ask)
        return after, after.finished > keys.finished


class FinishOfWhatIsOver(Scripts):
    """A late finish replaces the outcome."""

    def finish(self, keys: Keys, ask: Request) -> tuple[Keys, object]:
        if keys.outcomes[ask.job]:
            return keys._replace(outcomes=put(keys.outcomes, ask.job, ask.token)), True
        return super().finish(keys, ask)


def test_protocol_keeps_its_promises_in_every_state() -> None:
    verdict = protocol.search(Scripts())
    assert (verdict.promise, verdict.steps) == ("", ())
    assert verdict.states > 50_000, "the model has become too small to prove anything"


@pytest.mark.parametrize(
    ("scripts", "promise"),
    [
        (WithoutTokens, "newest token"),
        (WithoutNonces, "no orphan"),
        (WithoutOrderOfNonces, "no orphan"),
        (WithoutMemoryOfNothing, "no orphan"),
        (ReleaseWithoutToken, "no robbery"),
        (LostWithoutToken, "no robbery"),
        (RenewalThatSteals, "no orphan"),
        (ReapThatLeavesTheLease, "one place"),
        (ReapThatLeavesTheIndex, "one place"),
        (FinishThatCountsTwice, "one outcome"),
        (FinishThatDoesNotKnowItself, "no robbery"),
        (FinishOfWhatIsOver, "one outcome"),
    ],
)
def test_protocol_without_a_guard_breaks_a_promise(scripts: type[Scripts], promise: str) -> None:
    assert protocol.search(scripts()).promise == promise


def test_protocol_without_recovery_has_a_dead_end() -> None:
    verdict = protocol.search(NoReap(), faults=1)
    assert verdict.promise == "no dead end"
    assert "the host of A dies" in verdict.steps
