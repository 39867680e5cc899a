"""`conveyor dashboard`: serve the dashboard, and write the files of its users and tokens."""

from __future__ import annotations

import datetime as dt
import getpass
import sys
import webbrowser
from dataclasses import replace
from typing import Annotated

from conveyor.cli.connection import open_store
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import ReadOnly, TaskModules, flag, option, options
from conveyor.cli.output import note
from conveyor.cli.prompts import interruptible
from conveyor.dashboard import create_dashboard
from conveyor.dashboard import serve as serving
from conveyor.dashboard.access.policy import from_environment
from conveyor.dashboard.access.request import read_hosts
from conveyor.dashboard.access.rights import BadPolicy, Role
from conveyor.dashboard.access.users import Tokens, Users


def dashboard(
    *,
    host: Annotated[str, option("ADDRESS", "Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, option("N", "Port; 0 for any free one.", "--port", "-p", min=0, max=65535)] = 9181,
    read_only: ReadOnly = False,
    no_kill: Annotated[bool, flag("Forbid killing workers.", "--no-kill")] = False,
    users: Annotated[str, option("FILE", "File of the users who may log in.")] = "",
    add_user: Annotated[
        str,
        option(
            "NAME",
            "User to add to --users, then exit. The password is prompted for, or a line of standard input.",
        ),
    ] = "",
    tokens: Annotated[str, option("FILE", "File of the tokens of programs.")] = "",
    add_token: Annotated[
        str,
        option("NAME", "Program to add to --tokens, then exit. Its new token is printed."),
    ] = "",
    role: Annotated[
        str,
        option("ROLE", "With --add-user and --add-token: viewer, operator or admin."),
    ] = "operator",
    until: Annotated[
        str,
        option(
            "DATE",
            "With --add-token: valid until the start of this date (UTC), such as 2030-12-31.",
            show_default="never",
        ),
    ] = "",
    allow_host: Annotated[
        list[str],
        options("NAME", "Host name of the dashboard; repeatable."),
    ],
    root_path: Annotated[str, option("PATH", "Path before all others, behind a proxy.")] = "",
    tasks: TaskModules,
    insecure_no_auth: Annotated[
        bool, flag("Allow any --host without a login.", "--insecure-no-auth")
    ] = False,
    open_browser: Annotated[bool, flag("Open it in a browser.", "--open")] = False,
) -> None:
    """Serve the dashboard: everything live, with controls to stop any of it.

    Only this machine can reach it unless --host says otherwise, which needs a login: --users FILE, or the environment
    variables of docs/dashboard-security.md.
    """
    try:
        if add_user:
            _add_user(users, add_user, role)
            return
        if add_token:
            _add_token(tokens, add_token, role, until)
            return
        policy = from_environment()
        policy = replace(
            policy,
            users=Users(users) if users else policy.users,
            tokens=Tokens(tokens) if tokens else policy.tokens,
            hosts=policy.hosts | read_hosts(allow_host),
            read_only=policy.read_only or read_only,
            no_kill=policy.no_kill or no_kill,
            insecure_no_auth=policy.insecure_no_auth or insecure_no_auth,
        ).checked(host, port)
    except BadPolicy as error:
        raise Usage(str(error), hint=error.hint) from error
    listening = serving.listen(host, port)
    root_path = f"/{root_path.strip('/')}".rstrip("/")
    client = open_store()
    url = serving.address_of(listening, root_path)
    app = create_dashboard(client.url, auth=policy, tasks=tasks)
    if policy.insecure:
        note("conveyor: WARNING: no login is set up: anyone who can reach this URL can stop jobs")

    def ready() -> None:
        note(f"The dashboard is at {url} (Ctrl-C stops it)")
        if open_browser:
            webbrowser.open(url)

    serving.serve(app, listening, root_path=root_path, ready=ready)


def _add_user(file: str, name: str, role: str) -> None:
    if not file:
        raise Usage("--add-user needs --users FILE, the file to write to")
    Users(file).add(name, Role.of(role), _password(name))
    note(f"{name} may log in as {role}: {file}")


def _password(name: str) -> str:
    """Prompt for a password twice, or read one line of standard input if that is not a terminal."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise Usage("no password on standard input", hint="write it there as one line, or use a terminal")
        return password
    with interruptible():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != password:
            raise Usage("the two passwords differ")
    return password


def _add_token(file: str, name: str, role: str, until: str) -> None:
    """Add the hash of a new token to the file, and print the token, which is stored nowhere."""
    if not file:
        raise Usage("--add-token needs --tokens FILE, the file to write to")
    try:
        expiry = dt.date.fromisoformat(until) if until else None
    except ValueError as error:
        raise Usage(f"--until {until}: {error}", hint="write a date such as 2030-12-31") from error
    token = Tokens(file).add(name, Role.of(role), expiry)
    validity = f"valid until the start of {expiry} (UTC)" if expiry else "valid until revoked"
    note(f"The token of {name}, {role}, {validity}, is shown only once: {file} has its hash")
    print(token)
