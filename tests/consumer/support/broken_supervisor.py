"""A supervisor like `python -m conveyor.consumer`, but worker 1 makes its code fail, or its forks are slow."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from conveyor.consumer import recovery, supervisor
from conveyor.consumer.__main__ import main
from conveyor.consumer.control import ControlHandler
from conveyor.consumer.heartbeat import Heartbeat
from conveyor.consumer.worker_handle import ChildProcess, WorkerHandle


def breaking(usual: Any) -> Any:
    def broken(*arguments: Any, **settings: Any) -> Any:
        for one in arguments:
            if one.__class__ is WorkerHandle and one.name.endswith("/1"):
                raise LookupError("an error of ours")
        return usual(*arguments, **settings)

    return broken


def slow(usual: Any) -> Any:
    def fork(process: ChildProcess, work: Any) -> None:
        mark("fork")
        time.sleep(supervisor.STARTING)
        usual(process, work)

    return fork


def marking(usual: Any) -> Any:
    def send(*arguments: Any) -> None:
        mark("heartbeat")
        usual(*arguments)

    return send


def mark(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def never(*_: Any) -> None:
    raise LookupError("an error of ours")


match sys.argv[1]:
    case "recover":
        supervisor.recover = breaking(recovery.recover)
    case "report":
        WorkerHandle.report = breaking(WorkerHandle.report)
    case "release":
        recovery._release_prefetched = breaking(recovery._release_prefetched)
    case "control":
        ControlHandler.handle = never
    case "slow":
        ChildProcess.start = slow(ChildProcess.start)
        Heartbeat.send = marking(Heartbeat.send)

os._exit(main(sys.argv[2:]))
