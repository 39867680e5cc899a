"""Tasks that the tests of the API enqueue."""

from __future__ import annotations

import datetime as dt
import enum
import time
from typing import Annotated, Literal

from conveyor import current_job, task
from conveyor.errors import BadInput


@task(name="greet", queue="alpha")
def greet(
    name: Annotated[str, "who is greeted"],
    times: int = 1,
    *,
    loud: bool = False,
    tone: Literal["kind", "gruff"] = "kind",
    password: str = "",
) -> str:
    """Greet somebody.

    More about it.
    """
    return f"{tone} hello {name}" * times


class Shade(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


@task(name="arrange", queue="alpha")
def arrange(
    when: dt.datetime,
    names: list[str],
    shade: Shade = Shade.BLUE,
    sizes: tuple[int, ...] = (1, 2),
    *,
    sure: bool | None = None,
    level: Literal[1, 2] | None = 2,
) -> str:
    """Arrange things."""
    return f"{when} {names} {shade} {sizes} {sure} {level}"


@task(name="visit", queue="alpha")
def visit(address: str, *, day: dt.date = dt.date(2026, 3, 1), token: str = "") -> str:
    """Go somewhere."""
    return f"{address} {day} {bool(token)}"


@greet.checks
def check_greet(name: str, *_: object, **__: object) -> None:
    """Refuse nobody."""
    if not name.strip():
        raise BadInput("nobody to greet", hint="give a name")
    if name == "broken":
        raise ZeroDivisionError("the check itself")


@task(name="enter", queue="alpha", redact=["pin"])
def enter(
    door: str = "https://me:hunter2@example.org", *, password: str = "hunter2", pin: int = 7007
) -> None:
    """Go in."""


@task(name="spread", queue="alpha")
def spread(part: int, secret_token: str = "") -> int:
    """Do one part."""
    return part


@spread.splits
def split_spread(parts: int = 3) -> list[dict[str, object]]:
    """Return the given number of parts."""
    return [{"part": number} for number in range(parts)]


@task(name="linger", queue="alpha")
def linger(seconds: float = 60.0) -> None:
    """Stay a while, and log a line."""
    current_job().log("a line with a secret")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)


@task(name="fail", queue="alpha")
def fail(why: str = "no reason") -> None:
    """Fail."""
    raise ValueError(why)


@task(name="deliver", queue="alpha")
def deliver(address: str, api_key: str, text: str = "") -> None:
    """Fail, and be careless about what it was given."""
    current_job().log(f"Authorization: Bearer {api_key}")
    raise ValueError(f"refused, api_key={api_key}")
