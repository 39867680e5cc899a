"""A small process that outlives a supervisor for a moment, to end what the tasks of its workers have started.

The kernel ends workers whose supervisor was killed, but not their programs, which would run on beside the next run.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
from typing import NoReturn

_GROUP = struct.Struct("=q")
#: Process groups that can be noted at a time, with room to spare.
_SLOTS = 4096
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GroupWatcher:
    """Kills the noted process groups as soon as the process that made it is gone, however it ended.

    The groups are in shared memory, and the end of the supervisor is that of a pipe which it alone holds open. The
    process is nobody's child, so that it is not taken for a worker. A number stays noted only while a worker lives or
    is about to be settled, and a group keeps its number while there is a process in it, so none of others is killed.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _GROUP.size)
        reading, self._writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.fork() == 0:
                    self._watch(reading)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(reading)

    def free_slot(self) -> int:
        """Return where the next group can be noted."""
        groups = _GROUP.iter_unpack(self._memory[:])
        return next(number for number, (group,) in enumerate(groups) if not group)

    def note(self, slot: int, group: int) -> None:
        """Note a group; 0 if there is none any more. A worker notes itself, before it runs any code of users."""
        _GROUP.pack_into(self._memory, slot * _GROUP.size, group)

    def let_go(self) -> None:
        """Close the pipe: in a forked worker, which must not hold it open."""
        os.close(self._writing)

    def _watch(self, reading: int) -> NoReturn:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.closerange(0, reading)
        os.closerange(reading + 1, max(4096, os.sysconf("SC_OPEN_MAX")))
        os.read(reading, 1)  # until there is nobody who could write
        for (group,) in _GROUP.iter_unpack(self._memory[:]):
            if group:
                _kill(group)
        os._exit(0)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError):  # its worker is gone, and what it had started may live
            if os.getsid(group) != os.getsid(0) or os.getpgid(group) != group:
                return  # the number is another's by now
        os.killpg(group, signal.SIGKILL)
