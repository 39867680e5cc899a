"""Builds the command line's parser from the table of commands."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
import typing
from typing import TYPE_CHECKING, Annotated, Any

import typer

import conveyor
from conveyor.cli.exits import Usage
from conveyor.cli.table import GROUPS, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.cli.table import Entry

#: How the address of a server may begin.
SCHEMES = ("redis://", "rediss://", "unix://", "sentinel://", "sentinels://")
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_EPILOG = (
    "Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 ran and failed, 2 usage, "
    "3 not found, 4 timed out, 5 wrong state, 69 server unreachable, 130 interrupted."
)


def build() -> typer.Typer:
    """Give the parser of all commands; calling it runs one."""
    app = typer.Typer(
        name="conveyor",
        help="A bounded, blocking queue on Redis or Valkey, with producers, consumers and workers.",
        epilog=_EPILOG,
        context_settings=_HELP_NAMES,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    groups: dict[str, typer.Typer] = {}
    for name, (words, panel) in GROUPS.items():
        groups[name] = typer.Typer(help=words)
        groups[name].callback(invoke_without_command=True)(_help_alone)
        app.add_typer(groups[name], name=name, context_settings=_HELP_NAMES, rich_help_panel=panel)
    for entry in TABLE:
        group, _, name = entry.name.rpartition(" ")
        groups.get(group, app).command(
            name,
            help=_help_text(entry),
            context_settings=_HELP_NAMES,
            rich_help_panel=None if group else entry.panel,
        )(_command(entry))
    return app


def _root(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            "-u",
            metavar="ADDRESS",
            help="Server: redis://…, rediss://…, unix://…, sentinel://… or sentinels://… Else CONVEYOR_URL, else the "
            "embedded one. May stand after the command too.",
            show_default=False,
        ),
    ] = "",
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", metavar="", help="Print the version.", is_eager=True)
    ] = False,
) -> int:
    if url:
        address = importlib.import_module("conveyor.store.address")
        if not address.normal(url).startswith(SCHEMES):
            message = f"invalid server URL {address.shown(url)!r}"
            raise Usage(message, hint=f"an address begins with {', '.join(SCHEMES)}")
        os.environ["CONVEYOR_URL"] = url  # children read it as well
    if version:
        print(f"conveyor {conveyor.__version__} (Python {sys.version.split()[0]})")
        raise typer.Exit(0)
    return _help_alone(context)


def _help_alone(context: typer.Context) -> int:
    """Print the help where no command follows."""
    if context.invoked_subcommand is None:
        print(context.get_help())
    return 0


def _command(entry: Entry) -> Callable[..., int]:
    """Make the function that typer reads a command's parameters from."""

    def run(**given: Any) -> int:
        module, _, function = entry.does.partition(":")
        status: int = getattr(importlib.import_module(module), function)(entry.asks(**given))
        return status

    hints = typing.get_type_hints(entry.asks, include_extras=True)
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name], default=_default(one)
            )
            for one in dataclasses.fields(entry.asks)
        ]
    )
    return run


def _help_text(entry: Entry) -> str:
    """Give the docstring with each paragraph in one line, as typer folds lines itself."""
    paragraphs = (inspect.getdoc(entry.asks) or "").split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return inspect.Parameter.empty if one.default is dataclasses.MISSING else one.default
