"""Telemetry: spans and metrics of OpenTelemetry around each submit and each run, whose trace travels with the job.

Names follow the semantic conventions for messaging; what they have no name for begins with `conveyor.`. Needs only the
API: without an SDK that the program sets up, nothing is recorded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import conveyor
from conveyor import clock, middleware
from conveyor.errors import BadCall, MissingExtra
from conveyor.resources import resource
from conveyor.wire import call, codec
from conveyor.wire.outcome import Fail, Retry

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
except ModuleNotFoundError as error:
    raise MissingExtra("telemetry", "otel", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

    from conveyor.context import CurrentJob
    from conveyor.middleware import SubmittedCalls
    from conveyor.wire.outcome import Outcome

    Attributes = dict[str, str | int | float]

__all__ = ["Instrumentor", "instrument"]

SYSTEM = "conveyor"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
#: The header of a trace itself, which the others only add to.
TRACE_PARENT = "traceparent"
#: Seconds for the last export of a worker process; less than a resource has to close.
FLUSH_WITHIN = 4.0
#: Upper bounds of the buckets, seconds: of round trips, and of runs, which may take hours.
SEND_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
RUN_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 43200)


def instrument(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    links: bool = False,
) -> None:
    """Make spans and metrics of each submit and each run of this process from now on.

    Call it in producers and, in a module that workers import, in workers. The providers are by default those of the
    process, which may be set up before or later. A run belongs to the trace of its submit; with `links`, it has a trace
    of its own that links to the submit. Called again, it replaces what it has registered.
    """
    recorder = _Recorder(tracer_provider, meter_provider, links=links)
    middleware.whole_submits.add(recorder.send)
    middleware.runs.add(recorder.process)
    resource(recorder.flush)  # a worker process ends without the hooks of `atexit`


class Instrumentor:
    """What the command `opentelemetry-instrument` finds and calls."""

    def instrument(self, **_: Any) -> None:
        """Call `instrument`."""
        instrument()


class _Recorder:
    """Records spans and metrics of submits and runs."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None, *, links: bool
    ) -> None:
        self._providers = tracer_provider, meter_provider
        self._links = links
        version = conveyor.__version__
        self._tracer = trace.get_tracer(SYSTEM, version, tracer_provider, SCHEMA_URL)
        meter = metrics.get_meter(SYSTEM, version, meter_provider, SCHEMA_URL)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were put."
        )
        self._sending = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of submits, waits for room included.",
            explicit_bucket_boundaries_advisory=SEND_BUCKETS,
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Runs that began."
        )
        self._processing = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of runs.",
            explicit_bucket_boundaries_advisory=RUN_BUCKETS,
        )

    def send(self, calls: SubmittedCalls) -> Iterator[None]:
        """Surround a submit, as middleware does."""
        common = _attributes("send", calls.queue, calls.task)
        began = time.perf_counter()
        ended: Attributes = {}
        with self._tracer.start_as_current_span(
            f"send {calls.queue}",
            kind=trace.SpanKind.PRODUCER,
            attributes=common,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            _inject(calls.headers)
            try:
                yield
            except BaseException as error:
                ended = {"error.type": _name(type(error))}
                span.set_status(trace.StatusCode.ERROR, str(error))
                raise
            finally:
                span.set_attributes(ended)
                if calls.is_batch:
                    span.set_attribute("messaging.batch.message_count", calls.accepted)
                else:
                    span.set_attribute("messaging.message.id", calls.job_id)
                self._sent.add(calls.accepted, common)
                self._sending.record(time.perf_counter() - began, common | ended)

    def process(self, job: CurrentJob) -> Iterator[None]:
        """Surround a run, as middleware does. The span ends with the outcome, which is certain only later.

        That of a batch belongs to the trace of its first job, and links to the submits of the others.
        """
        common = _attributes("process", job.queue, job.task)
        context = propagate.extract(job.headers)
        jobs = job.gathered or [job]
        submits = _submits_of(jobs)
        links = [trace.Link(one) for one in submits[0 if self._links else 1 :] if one.is_valid]
        if self._links:
            context = trace.set_span_in_context(trace.INVALID_SPAN, context)
        span = self._tracer.start_span(
            f"process {job.queue}", context, trace.SpanKind.CONSUMER, common | _details(job), links
        )
        self._consumed.add(len(jobs), common)
        outcomes: list[Outcome] = []
        for one in job.gathered:
            one.on_outcome(outcomes.append)
        job.on_outcome(partial(self._end, span, common, time.perf_counter(), outcomes))
        token = contexts.attach(trace.set_span_in_context(span, context))
        try:
            yield
        finally:
            contexts.detach(token)

    def flush(self) -> Iterator[None]:
        """Export at the end of a worker process what its SDK has gathered.

        On threads of their own, since exporters catch what would interrupt them. Raises TimeoutError.
        """
        yield
        tracer_provider, meter_provider = self._providers
        providers = (
            tracer_provider or trace.get_tracer_provider(),
            meter_provider or metrics.get_meter_provider(),
        )
        threads = [threading.Thread(target=_force_flush, args=(one,), daemon=True) for one in providers]
        for thread in threads:
            thread.start()
        until = clock.Deadline(FLUSH_WITHIN)
        for thread in threads:
            thread.join(until.left(FLUSH_WITHIN))
        if any(thread.is_alive() for thread in threads):
            raise TimeoutError(f"the exporters of OpenTelemetry took more than {FLUSH_WITHIN:g} s")

    def _end(
        self, span: Span, common: Attributes, began: float, of_batch: Sequence[Outcome], outcome: Outcome
    ) -> None:
        """End the span of a run. The error is the one that is kept, without the secrets among the arguments.

        Of a batch the first failure counts, and each different error is recorded.
        """
        failed = [one for one in of_batch or (outcome,) if isinstance(one, Fail | Retry)]
        ended: Attributes = {"conveyor.outcome": type(failed[0] if failed else outcome).__name__.lower()}
        for error in dict.fromkeys(one.error for one in failed):
            kind, message, traceback = codec.decode(error)
            if "error.type" not in ended:
                ended["error.type"] = kind
                span.set_status(trace.StatusCode.ERROR, message)
            details = {
                "exception.type": kind,
                "exception.message": message,
                "exception.stacktrace": traceback,
            }
            span.add_event("exception", details)
        span.set_attributes(ended)
        span.end()
        self._processing.record(time.perf_counter() - began, common | ended)


def _attributes(operation: str, queue: str, task: str) -> Attributes:
    """Return the attributes of spans and metrics."""
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": queue,
        "conveyor.task": task,
    }


def _submits_of(jobs: Sequence[CurrentJob]) -> list[SpanContext]:
    """Return the spans of the submits of jobs, that of the first one first, each once."""
    spans = [trace.get_current_span(propagate.extract(one.headers)).get_span_context() for one in jobs]
    return list({(one.trace_id, one.span_id): one for one in spans}.values())


def _details(job: CurrentJob) -> Attributes:
    """Return the attributes of the span of a run alone: they have too many values for metrics."""
    found: Attributes = {
        "messaging.message.id": job.id,
        "messaging.client.id": job.worker,
        "conveyor.attempt": job.attempt,
    }
    if job.attempt == 1 and job.put_at:
        found["conveyor.waited"] = round(max(0.0, clock.wall() - job.put_at), 6)
    if job.gathered:
        found["messaging.batch.message_count"] = len(job.gathered)
    return found


def _force_flush(provider: TracerProvider | MeterProvider) -> None:
    """Export what a provider has gathered, if it is of an SDK; what fails is logged by that."""
    with contextlib.suppress(Exception):
        getattr(provider, "force_flush", bool)()


def _inject(headers: dict[str, str]) -> None:
    """Add the trace to the headers of jobs; as much of it as fits, since a submit must not fail for it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    least = {name: value for name, value in carrier.items() if name == TRACE_PARENT}
    for one in (carrier, least):
        with contextlib.suppress(BadCall):
            call.header_pairs(headers | one)
            headers.update(one)
            return


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
