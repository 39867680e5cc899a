"""All commands: the name, the dataclass that says what can be asked, and the function that does it.

The function's module is imported when the command is called, never for a help text.
"""

from __future__ import annotations

from typing import NamedTuple

from conveyor.cli.commands import act, look, work

WORK, LOOK, CONTROL, SERVER = "Work", "Look", "Control", "Server"


class Entry(NamedTuple):
    """One command. A name of two words stands in a group."""

    name: str
    asks: type
    does: str
    """module:function; the function takes an object of `asks` and gives the exit code."""
    panel: str


TABLE = (
    Entry("demo", work.Demo, "conveyor.cli.demo:show", WORK),
    Entry("produce", work.Produce, "conveyor.cli.produce:produce", WORK),
    Entry("consume", work.Consume, "conveyor.cli.consume:consume", WORK),
    Entry("dashboard", work.Dashboard, "conveyor.cli.dashboard:serve", LOOK),
    Entry("top", look.Top, "conveyor.cli.top:show", LOOK),
    Entry("status", look.Status, "conveyor.cli.status:show", LOOK),
    Entry("queues", look.Queues, "conveyor.cli.queues:show", LOOK),
    Entry("workers", look.Workers, "conveyor.cli.workers:show", LOOK),
    Entry("jobs", look.Jobs, "conveyor.cli.jobs:show", LOOK),
    Entry("job", look.JobShown, "conveyor.cli.job:show", LOOK),
    Entry("tasks", look.Tasks, "conveyor.cli.tasks:show", LOOK),
    Entry("audit", look.Audit, "conveyor.cli.audit:show", LOOK),
    Entry("pause", act.Pause, "conveyor.cli.queue_control:pause", CONTROL),
    Entry("resume", act.Resume, "conveyor.cli.queue_control:resume", CONTROL),
    Entry("purge", act.Purge, "conveyor.cli.queue_control:purge", CONTROL),
    Entry("delete", act.Delete, "conveyor.cli.queue_control:delete", CONTROL),
    Entry("cancel", act.Cancel, "conveyor.cli.job_control:cancel", CONTROL),
    Entry("retry", act.Retry, "conveyor.cli.job_control:retry", CONTROL),
    Entry("kill", act.Kill, "conveyor.cli.kill:kill", CONTROL),
    Entry("server start", act.ServerStart, "conveyor.cli.server:start", SERVER),
    Entry("server stop", act.ServerStop, "conveyor.cli.server:stop", SERVER),
    Entry("server status", act.ServerStatus, "conveyor.cli.server:show", SERVER),
    Entry("torture", work.Torture, "conveyor.cli.torture:run", SERVER),
    Entry("doctor", look.Doctor, "conveyor.cli.doctor:examine", SERVER),
)

#: Groups of commands: what their help says, and where they stand.
GROUPS = {
    "server": ("The embedded server, which is used where no --url and no CONVEYOR_URL is given.", SERVER)
}
