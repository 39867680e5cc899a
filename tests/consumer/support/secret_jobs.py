"""Tasks with secret arguments."""

from __future__ import annotations

import time
from pathlib import Path

from conveyor import JobCancelled, task


def log_in(user: str, password: str, **more: str) -> str:
    return user


@task(name="pay", queue="work", redact=["card"])
def pay(card: str) -> None:
    pass


@task(name="refuse", queue="work", retries=1, first_delay=0.01)
def refuse(user: str, password: str) -> None:
    raise PermissionError(f"{user} may not come in")


def blurt(api_key: str) -> None:
    raise ValueError(f"token={api_key}")


def ignore_for_ever(path: str, password: str) -> None:
    """Swallow every exception raised in here."""
    while True:
        try:
            Path(path).touch()
            time.sleep(60.0)
        except JobCancelled:
            pass
