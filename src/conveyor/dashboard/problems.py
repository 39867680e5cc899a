"""The pages of the guard: a problem in words, and the login form. They stand alone and ask the server nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.dashboard import assets
from conveyor.dashboard.access import asgi
from conveyor.dashboard.rendering import render

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import Scope
    from conveyor.dashboard.access.problem import LoginForm, Problem


def render_problem(scope: Scope, problem: Problem) -> str:
    """Give the page of a request that was refused."""
    return render(
        "problem.html",
        **_frame(scope),
        status=problem.status,
        what=problem.title,
        why=problem.detail,
        hint=problem.hint,
    )


def render_login(scope: Scope, form: LoginForm) -> str:
    """Give the login page."""
    return render("login.html", **_frame(scope), form=form)


def _frame(scope: Scope) -> dict[str, Any]:
    root = asgi.base(scope)
    return {"root": root, "static": f"{root}/static/{assets.version()}"}
