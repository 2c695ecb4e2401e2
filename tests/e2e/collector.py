"""An OTLP collector: takes `POST /v1/traces` as protobuf over HTTP and keeps the spans."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire


@dataclass
class Span:
    """A span in plain types; ids are hexadecimal."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: list
    attributes: dict = field(default_factory=dict)


def plain(value):
    return getattr(value, value.WhichOneof("value")) if value.WhichOneof("value") else None


def attributes(pairs):
    return {pair.key: plain(pair.value) for pair in pairs}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.server.collector.take(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Collector:
    """The server, its address and every span it was sent."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.collector = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.lock = threading.Lock()
        self._spans, self._raw = [], []
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self, body):
        request = ExportTraceServiceRequest.FromString(body)
        spans = []
        for resource in request.resource_spans:
            service = attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                spans += [self.span(service, span) for span in scope.spans]
        with self.lock:
            self._raw.append(body)
            self._spans += spans

    @staticmethod
    def span(service, span):
        return Span(
            service,
            span.name,
            Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            attributes(span.attributes),
        )

    def spans(self, trace_id=None):
        with self.lock:
            return [span for span in self._spans if trace_id in (None, span.trace_id)]

    def raw(self):
        """Everything that was sent, as bytes."""
        with self.lock:
            return b"".join(self._raw)
