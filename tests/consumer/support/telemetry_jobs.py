"""Tasks of an instrumented program, which sets up the SDK where the environment names a collector."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry import baggage, metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from conveyor import Queue, current_job, task, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

if os.environ.get("PLAIN_OTLP"):
    tracer_provider = TracerProvider()
    # An hour: what is exported in a test was flushed.
    tracer_provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=3_600_000)
    )
    trace.set_tracer_provider(tracer_provider)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3_600_000)
    metrics.set_meter_provider(MeterProvider([reader]))
    telemetry.instrument()


def _stage(queue: str) -> tuple[str, int, str]:
    """Submit a job to the other queue unless there is none; return what is current."""
    if current_job().attempt == 1 and queue:
        raise ValueError("not at once, api_key=abc")
    if queue:
        Queue(queue, store=current_url()).submit(last)
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}", current_job().attempt, str(baggage.get_baggage("tenant"))


def current_url() -> str:
    """Return the URL of the server of the tests."""
    return os.environ["TELEMETRY_SERVER"]


@task(retries=1, first_delay=0.0)
def first(queue: str) -> tuple[str, int, str]:
    """Fail once, and submit a job to another queue."""
    return _stage(queue)


@task(retries=1, first_delay=0.0)
async def first_async(queue: str) -> tuple[str, int, str]:
    """Do likewise."""
    await asyncio.sleep(0)
    return await asyncio.to_thread(_stage, queue)


@task
def last() -> None:
    """Do nothing."""


@task
def fail(api_key: str) -> None:
    """Raise an error that holds a secret."""
    raise ValueError(f"refused {api_key}")


@task
def unserializable() -> object:
    """Return what cannot travel."""
    return object()


@task
def stream() -> Iterator[int]:
    """Yield numbers."""
    yield from range(3)


@task
def crash_once(path: str) -> None:
    """Kill the process in the first run."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@task
async def crash_once_async(path: str) -> None:
    """Kill it likewise."""
    crash_once(path)


@task
def hold(path: str) -> None:
    """Run until it is cancelled."""
    Path(path).touch()
    while True:
        time.sleep(0.01)


@task
async def hold_async(path: str) -> None:
    """Run until it is cancelled."""
    hold_file(path)
    await asyncio.sleep(3600)


def hold_file(path: str) -> None:
    """Mark the beginning."""
    Path(path).touch()


@task(batch=10)
def together(numbers: list[int]) -> list[int | Exception]:
    """Refuse negative numbers."""
    return [one if one >= 0 else ValueError(f"{one} is negative") for one in numbers]


@task(batch=10)
async def together_async(numbers: list[int]) -> list[int | Exception]:
    """Refuse them likewise."""
    return [one if one >= 0 else ValueError(f"{one} is negative") for one in numbers]
