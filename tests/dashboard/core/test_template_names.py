"""Attributes in templates exist in the views that they are rendered from, in branches that no test renders, too."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import typing
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import meta, nodes

from conveyor.dashboard import pages
from conveyor.dashboard.access.rights import Access
from conveyor.dashboard.page import Page, PageRegistry, PageRequest
from conveyor.dashboard.pages import system
from conveyor.dashboard.poller import PagePoller
from conveyor.dashboard.rendering import environment
from conveyor.monitor.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: What every template is rendered with, and the names that are no attributes of a class.
FRAME = (Page, PageRequest, Access, Snapshot)
KEYS = {*system.NUMBERS, *system.STRINGS}
#: Variables of the template language itself.
OWN = {"loop", "ns"}
METHODS = {*dir(str), *dir(list), *dir(dict)}


@functools.cache
def namespace(module: ModuleType) -> dict[str, Any]:
    """Return the names of a module with those that it imports for type checkers only."""
    names = dict(vars(module))
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            source = importlib.import_module(node.module)
            names |= {
                one.asname or one.name: getattr(source, one.name)
                for one in node.names
                if hasattr(source, one.name)
            }
    return names


def types_in(hint: Any) -> Iterator[type]:
    """Yield the classes of a type hint."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        yield hint
    for one in (typing.get_origin(hint), *typing.get_args(hint)):
        if one is not None and one is not hint:
            yield from types_in(one)


def hints_of(thing: Any) -> Iterator[Any]:
    """Yield the evaluated type hints of a class's own fields, or of a function."""
    names = namespace(importlib.import_module(thing.__module__))
    for hint in inspect.get_annotations(thing).values():
        text = getattr(hint, "__forward_arg__", hint)  # as named tuples keep it
        yield eval(text, names) if isinstance(text, str) else text


def reachable(start: type) -> set[type]:
    """Return Conveyor's classes of the values in an instance of a class, directly or in another value."""
    found: set[type] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if one in found or not one.__module__.startswith("conveyor."):
            continue
        found.add(one)
        waiting += one.__mro__
        methods = [part.fget for part in vars(one).values() if isinstance(part, property) and part.fget]
        for hint in (hint for thing in (one, *methods) for hint in hints_of(thing)):
            waiting += types_in(hint)
    return found


def attributes_of(start: type) -> set[str]:
    """Return the attributes of all classes in a view."""
    return {name for one in reachable(start) for name in (*vars(one), *inspect.get_annotations(one))}


def parsed(name: str) -> nodes.Template:
    """Return a template's syntax tree."""
    env = environment()
    assert env.loader is not None
    return env.parse(env.loader.get_source(env, name)[0])


def templates_of(name: str) -> set[str]:
    """Return a template with those that it includes, extends or imports."""
    found, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += filter(None, meta.find_referenced_templates(parsed(one)))
    return found


def attributes_in(name: str) -> set[str]:
    """Return the attributes that a template reads, but for methods of texts and containers."""
    tree = parsed(name)
    methods = {id(call.node) for call in tree.find_all(nodes.Call)}
    return {
        node.attr
        for node in tree.find_all(nodes.Getattr)
        if not (isinstance(node.node, nodes.Name) and node.node.name in OWN)
        and not (id(node) in methods and node.attr in METHODS)
    }


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Return the attributes that each template may read: those of the pages that it is part of."""
    poller = PagePoller(None, PageRegistry(()))  # type: ignore[arg-type]
    frame = {*dir(poller), *dir(poller.interval), *KEYS}.union(*map(attributes_of, FRAME))
    found: dict[str, set[str]] = defaultdict(lambda: set(frame))
    for page in pages.ALL:
        view = eval(page.view.__annotations__["return"], namespace(inspect.getmodule(page.view)))
        for template in templates_of(f"{page.name}.html"):
            found[template] |= set().union(*map(attributes_of, types_in(view)))
    return found


@pytest.mark.parametrize("template", environment().list_templates())
def test_template_reads_only_attributes_of_its_view(template: str, known: dict[str, set[str]]) -> None:
    assert attributes_in(template) <= known[template], "no class of its pages' views has these attributes"
