"""A supervisor like `python -m conveyor.consumer`, but worker 1 makes its code fail, or its forks are slow."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from conveyor.consumer import recovery, relief, supervisor
from conveyor.consumer.__main__ import main
from conveyor.consumer.control import Ladder
from conveyor.consumer.heartbeat import Beat
from conveyor.consumer.worker_handle import Worker


def breaking(usual: Any) -> Any:
    def broken(*arguments: Any, **settings: Any) -> Any:
        for one in arguments:
            if one.__class__ is Worker and one.name.endswith("/1"):
                raise LookupError("an error of ours")
        return usual(*arguments, **settings)

    return broken


def slow(usual: Any) -> Any:
    def fork(worker: Worker, live: Any) -> None:
        mark("fork")
        time.sleep(supervisor.STARTING)
        usual(worker, live)

    return fork


def marking(usual: Any) -> Any:
    def beat(*arguments: Any) -> None:
        mark("beat")
        usual(*arguments)

    return beat


def mark(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def never(*_: Any) -> None:
    raise LookupError("an error of ours")


match sys.argv[1]:
    case "recover":
        supervisor.recover = breaking(recovery.recover)
    case "report":
        Worker.report = breaking(Worker.report)
    case "relieve":
        relief._give_back = breaking(relief._give_back)
    case "obey":
        Ladder.obey = never
    case "slow":
        Worker.start, Beat.beat = slow(Worker.start), marking(Beat.beat)

os._exit(main(sys.argv[2:]))
