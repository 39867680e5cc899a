"""`conveyor dashboard`: serves the page until Ctrl-C, and writes the files of those who may log in."""

from __future__ import annotations

import datetime as dt
import getpass
import sys
import webbrowser
from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor import dashboard
from conveyor.cli import exits
from conveyor.cli.ask import leaving
from conveyor.cli.desk import open_store
from conveyor.cli.exits import Usage
from conveyor.cli.output import note
from conveyor.dashboard import serve as serving
from conveyor.dashboard.access.policy import from_environment
from conveyor.dashboard.access.request import read_hosts
from conveyor.dashboard.access.rights import BadPolicy, Role
from conveyor.dashboard.access.users import Tokens, Users

if TYPE_CHECKING:
    from conveyor.cli.commands.work import Dashboard
    from conveyor.dashboard.access.policy import Policy


def serve(asked: Dashboard) -> int:
    """Serve the page."""
    try:
        if asked.add_user or asked.add_token:
            return _add_user(asked) if asked.add_user else _add_token(asked)
        policy = _policy(asked)
    except BadPolicy as error:
        raise Usage(str(error), hint=error.hint) from error
    listening = serving.listen(asked.host, asked.port)
    client = open_store()
    root_path = "/" + asked.root_path.strip("/") if asked.root_path.strip("/") else ""
    address = serving.address_of(listening, root_path)
    app = dashboard.create_dashboard(client.url, auth=policy, tasks=asked.tasks)
    if policy.insecure:
        note("conveyor: WARNING: there is no login: everybody who reaches this address can stop your work")

    def ready() -> None:
        note(f"The page is at {address} (Ctrl-C ends it)")
        if asked.open:
            webbrowser.open(address)

    serving.serve(app, listening, root_path=root_path, ready=ready)
    return exits.OK


def _policy(asked: Dashboard) -> Policy:
    policy = from_environment()
    return replace(
        policy,
        users=Users(asked.users) if asked.users else policy.users,
        tokens=Tokens(asked.tokens) if asked.tokens else policy.tokens,
        hosts=policy.hosts | read_hosts(asked.allow_host),
        read_only=policy.read_only or asked.read_only,
        no_kill=policy.no_kill or asked.no_kill,
        insecure_no_auth=policy.insecure_no_auth or asked.insecure_no_auth,
    ).checked(asked.host, asked.port)


def _add_user(asked: Dashboard) -> int:
    """Write a user into the file."""
    if not asked.users:
        message = "--add-user needs --users FILE, the file to write to"
        raise Usage(message)
    Users(asked.users).add(asked.add_user, Role.of(asked.role), _password(asked.add_user))
    note(f"{asked.add_user} may log in as {asked.role}: {asked.users}")
    return exits.OK


def _password(name: str) -> str:
    """Ask for a password twice, or read one line of standard input if that is not a terminal."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise Usage("no password on standard input", hint="write it there as one line, or use a terminal")
        return password
    with leaving():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != password:
            raise Usage("the two passwords are not the same")
    return password


def _add_token(asked: Dashboard) -> int:
    """Make a token, write its hash into the file, and print it: it is kept nowhere."""
    if not asked.tokens:
        message = "--add-token needs --tokens FILE, the file to write to"
        raise Usage(message)
    try:
        until = dt.date.fromisoformat(asked.until) if asked.until else None
    except ValueError as error:
        message = f"--until {asked.until}: {error}"
        raise Usage(message, hint="give a day as 2030-12-31") from error
    token = Tokens(asked.tokens).add(asked.add_token, Role.of(asked.role), until)
    good = f"good until {until} begins (UTC)" if until else "good for ever"
    note(
        f"The token of {asked.add_token}, {asked.role}, {good}, is shown this once: {asked.tokens} has its hash"
    )
    print(token)
    return exits.OK
