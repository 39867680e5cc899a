"""Commands of workers, sent until the server has replied."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.consumer.settings import LEASE
from conveyor.errors import LeaseLost, StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from conveyor.store.command import Exchange
from conveyor.store.waiting import MAX_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.store import Client
    from conveyor.store.command import Command, Operation

#: Seconds between two attempts at a server that replies and refuses.
REFUSED_PAUSE = 1.0
#: Seconds for which a process that lacks the file descriptors for a connection retries before it exits.
STARVED_AFTER = 3.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class RunLostError(LeaseLost):
    """The run cannot go on: its lease is lost, or the server has lost items of the job."""


class Sender:
    """Sends the commands of one process of workers, of which `status` shows what the server refuses."""

    def __init__(
        self,
        client: Client,
        status: SharedStatus,
        is_stopping: Callable[[], bool],
        starved: Callable[[str], None],
    ) -> None:
        self._client = client
        self._status = status
        self._is_stopping = is_stopping
        self._starved = starved

    def send(self, sent: list[Command], *, patience: float = 0.0) -> list[Any]:
        """Run commands, however long the server is unavailable or refuses; a stopping worker tries for `patience` s.

        The shared status holds the refusal meanwhile, and the supervisor reports it. A refusal that no operator can
        lift, such as that of an invalid command, is raised after the length of a lease. A worker that cannot open a
        connection, whatever the server does, exits before its leases expire: a task may have left it without file
        descriptors.
        """
        until: clock.Deadline | None = None
        refused: clock.Deadline | None = None
        starved: clock.Deadline | None = None
        while True:
            try:
                replies = self._client.run_all(sent, patience=MAX_BLOCK)
                if refused is not None:
                    self._status.error = ""
            except StoreError as error:
                until = (until or clock.Deadline(patience)) if self._is_stopping() else None
                if until is not None and until.passed():
                    raise
                sent = [one.resent() for one in sent]
                if isinstance(error, StoreUnavailable):
                    lack = missing_resource()
                    starved = (starved or clock.Deadline(STARVED_AFTER)) if lack else None
                    if starved is not None and starved.passed():
                        self._starved(lack)
                        raise
                    continue
                refused = refused or clock.Deadline(LEASE)
                self._status.error = str(error)
                if refused.passed() and not isinstance(error, StoreFull | StoreDenied):
                    raise
                clock.sleep(REFUSED_PAUSE)
            else:
                return replies


def of_run(command: Command, within: float | None = None) -> Operation[Any]:
    """Return the reply to a command of a running job, however long the server is unavailable.

    Raises RunLostError if the run has lost its lease, and what the server has refused for the length of a lease. With
    `within` it tries once, for so many seconds, and raises StoreError.
    """
    refused: clock.Deadline | None = None
    patience = MAX_BLOCK if within is None else 0.0
    while True:
        try:
            (reply,) = yield Exchange((command,), within, patience)
        except LeaseLost as error:
            raise RunLostError(error.message) from None
        except StoreUnavailable:
            if within is not None:
                raise
        except StoreRefused:
            refused = refused or clock.Deadline(LEASE)
            if within is not None or refused.passed():
                raise
            yield partial(clock.sleep, REFUSED_PAUSE)
        else:
            return reply


def missing_resource() -> str:
    """Return why this process cannot open files, or an empty string if it can.

    The error of a connection does not always say so: without file descriptors, a host name is only not found.
    """
    try:
        for one in os.pipe():
            os.close(one)
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno in _NO_ROOM else ""
    return ""
