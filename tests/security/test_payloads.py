"""The effect of hostile bytes on a program that reads them: they are at most shown as text."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import msgspec
import pytest

from conveyor import Job, JobFailed, Queue
from conveyor.store import commands

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Server


@pytest.mark.parametrize(
    "kind", ["os.system", "posix.system", "builtins.eval", "SystemExit", "__import__('os').abort"]
)
def test_error_type_of_a_result_is_never_imported(
    kind: str, one_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was run"))
    evidence = tmp_path / "evidence"
    message = f"touch {evidence}"
    queue = Queue("films", store=one_server.client)
    job: Job[int] = queue.submit(textwrap.dedent, "abc")
    batch = one_server.client.run(commands.claim("films", "ann", "n", 1, 60.0))
    outcome = msgspec.msgpack.encode(["failed", [kind, message, "a traceback"], 0])
    settlement = commands.Settlement(job.id, outcome, 60.0)
    assert one_server.client.run(commands.finish("films", batch.token, [settlement])) == []
    with pytest.raises(JobFailed) as caught:
        job.result(30)
    assert (type(caught.value), caught.value.kind, caught.value.reason) == (JobFailed, kind, message)
    assert not evidence.exists()
