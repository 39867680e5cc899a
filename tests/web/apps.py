"""The same small site three times: it puts jobs on a queue that is full, and answers pings."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI, Response
from flask import Flask

from conveyor import Full, task


@task(queue=os.environ.get("SITE_QUEUE", "site"), wait=0)
def work(number: int) -> int:
    return number


async def put() -> int:
    """Return the status of an answer in a coroutine."""
    try:
        await work.submit_async(1)
    except Full:
        return 503
    return 202


def put_and_block() -> int:
    """Return the status of an answer in a thread."""
    try:
        work.submit(1)
    except Full:
        return 503
    return 202


if os.environ.get("SITE_PUTS_FIRST"):  # so that children are forked from a process with connections
    put_and_block()

fastapi = FastAPI()


@fastapi.get("/ping")
async def _fastapi_ping() -> str:
    return "pong"


@fastapi.get("/put")
async def _fastapi_put(response: Response) -> str:
    response.status_code = await put()
    return ""


flask = Flask(__name__)


@flask.get("/ping")
def _flask_ping() -> str:
    return "pong"


@flask.get("/put")
def _flask_put() -> tuple[str, int]:
    return "", put_and_block()


def _django_ping(_: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


async def _django_put(_: HttpRequest) -> HttpResponse:
    return HttpResponse(status=await put())


def _django_put_and_block(_: HttpRequest) -> HttpResponse:
    return HttpResponse(status=put_and_block())


urlpatterns = [
    path("ping", _django_ping),
    path("put", _django_put),
    path("put/blocking", _django_put_and_block),
]


def make_django() -> Any:
    """Return the site in Django, for ASGI."""
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
    django.setup()
    return get_asgi_application()
