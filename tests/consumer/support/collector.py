"""A collector of OpenTelemetry: what exporters send to it by OTLP over HTTP."""

from __future__ import annotations

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Span(NamedTuple):
    """A span as it arrived."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: bool
    events: list[dict[str, Any]]


class Collector:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: dict[str, list[tuple[dict[str, Any], int]]] = {}
        """By metric: attributes, and how many were counted."""
        self.url = ""

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [one for one in self.spans if one.name == name]

    def total(self, metric: str) -> int:
        """Return the sum of a metric, of which each process has sent its last state once."""
        return sum(count for _, count in self.points.get(metric, []))

    def take_traces(self, data: bytes) -> None:
        """Take an exported message."""
        request = ExportTraceServiceRequest.FromString(data)
        for of in request.resource_spans:
            resource = _attributes(of.resource.attributes)
            for one in (span for scope in of.scope_spans for span in scope.spans):
                self.spans.append(
                    Span(
                        one.name,
                        one.trace_id.hex(),
                        one.span_id.hex(),
                        one.parent_span_id.hex(),
                        [link.span_id.hex() for link in one.links],
                        _attributes(one.attributes),
                        resource,
                        one.status.code == 2,
                        [_attributes(event.attributes) for event in one.events],
                    )
                )

    def take_metrics(self, data: bytes) -> None:
        """Take an exported message."""
        request = ExportMetricsServiceRequest.FromString(data)
        for scope in (scope for of in request.resource_metrics for scope in of.scope_metrics):
            for metric in scope.metrics:
                points = self.points.setdefault(metric.name, [])
                points += [(_attributes(one.attributes), int(one.as_int)) for one in metric.sum.data_points]
                points += [(_attributes(one.attributes), one.count) for one in metric.histogram.data_points]


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Serve a collector on a port of its own."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            (found.take_traces if self.path == "/v1/traces" else found.take_metrics)(data)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in pairs}
