"""OpenTelemetry's spans, where somebody wants them: one for each request, told when it is answered."""

import time
from typing import Any

from recsys.errors import SettingError
from recsys.serving.access.call import Call


class Spans:
    """endpoint: of OTLP over HTTP. share: of the requests that become a span where their caller did not
    decide."""

    def __init__(self, endpoint: str, share: float) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.propagate import extract
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace import SpanKind
        except ModuleNotFoundError as error:
            raise SettingError(
                f"setting 'otel': {error}. It needs the extra `otel`: pip install 'recsys-embeddings[otel]'."
            ) from None
        self._extract, self._kind = extract, SpanKind.SERVER
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "recsys"}),
            sampler=ParentBased(TraceIdRatioBased(share)),
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5)))
        self._tracer: Any = self._provider.get_tracer("recsys.serving")

    def record(self, call: Call, method: str, route: str, status: int, seconds: float) -> None:
        """Records a span for a request that was just answered, if it is in the sample."""
        parent = call.traceparent
        context = None if parent is None else self._extract({"traceparent": parent.decode()})
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{method} {route}", context, self._kind, start_time=end - int(seconds * 1e9)
        )
        if span.is_recording():
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            span.set_attribute("recsys.request_id", call.shown_id.decode())
        span.end(end)

    def close(self) -> None:
        self._provider.shutdown()
