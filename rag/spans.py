"""The trace as OpenTelemetry spans: an answer is one, each of its steps is one in it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from rag.errors import SettingsError
from rag.steps import Entry, Step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider

_INSTALL = (
    "RAG_TRACE=otel needs {what}, which is not installed. Run pip install opentelemetry-sdk "
    "opentelemetry-exporter-otlp-proto-http, or set RAG_TRACE to a file."
)
_NAME = "rag"
_SERVICE = "grounded-chat"
# How long the end of the process waits for a collector, in seconds; its exporters try for ten.
_END_S = 2.0
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class Spans:
    """
    Writes answers as spans.

    The names are those of the OpenTelemetry semantic conventions for generative AI; what they do not name begins
    with `rag.`. No question, prompt, answer or document is in them.

    Args:
        provider: what makes the spans.
        owned: whether it is ours, so that `close` shuts it down.
    """

    def __init__(self, provider: TracerProvider, *, owned: bool = False) -> None:
        self._provider = provider
        self._owned = owned
        self._tracer = provider.get_tracer(_NAME)

    @classmethod
    def from_environment(cls) -> Spans:
        """
        Use the process's tracer provider; where it has none, one of our own with OpenTelemetry's own variables.

        Ours is not made the process's: what other libraries would then export may hold texts of the documents.

        Raises:
            SettingsError: the SDK or the exporter is not installed.
        """
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise SettingsError(_INSTALL.format(what="the OpenTelemetry SDK")) from error
        theirs = trace.get_tracer_provider()
        if not isinstance(theirs, trace.ProxyTracerProvider):
            return cls(theirs)
        named = os.environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {SERVICE_NAME: _SERVICE})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in _exporters():
            provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider, owned=True)

    def write(self, entry: Entry) -> None:
        """Make the spans of an answer, with the times at which it happened."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        answer = entry.answer
        whole = self._tracer.start_span(
            "answer",
            context=Context(),
            start_time=_ns(entry.when),
            attributes=_known(
                {
                    "rag.answer_id": entry.answer_id,
                    "rag.mode": entry.mode,
                    "rag.route": entry.route,
                    "rag.status": entry.status,
                    "rag.ttft_ms": _ms(answer.timings.ttft_s if answer else None),
                    "rag.confidence": answer.confidence.value if answer and answer.confidence else None,
                    "gen_ai.usage.input_tokens": entry.usage.prompt if entry.usage else None,
                    "gen_ai.usage.output_tokens": entry.usage.completion if entry.usage else None,
                }
            ),
        )
        for step in entry.steps:
            began = entry.when + step.start_s
            span = self._tracer.start_span(
                f"chat {step.asked.alias}" if step.asked else step.name,
                context=set_span_in_context(whole, Context()),
                kind=SpanKind.CLIENT if step.asked else SpanKind.INTERNAL,
                start_time=_ns(began),
                attributes=_attributes(step),
            )
            span.end(_ns(began + step.seconds))
        if entry.status == "failed":
            whole.set_status(Status(StatusCode.ERROR))
        whole.end(_ns(entry.when + entry.seconds))

    def close(self) -> None:
        """Send what is left, if the provider is ours; a collector that is not there is not waited for long."""
        shutdown = getattr(self._provider, "shutdown", None)
        if self._owned and shutdown:
            sending = threading.Thread(target=shutdown, name="trace-end", daemon=True)
            sending.start()
            sending.join(_END_S)


def _attributes(step: Step) -> dict[str, Any]:
    if step.asked is None:
        return {"rag.step": step.name}
    return _known(
        {
            "rag.step": step.name,
            "rag.where": step.asked.where,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": step.asked.alias,
            "gen_ai.response.model": step.model,
            "gen_ai.response.time_to_first_chunk": step.ttft_s,
            "gen_ai.usage.input_tokens": step.usage.prompt if step.usage else None,
            "gen_ai.usage.output_tokens": step.usage.completion if step.usage else None,
        }
    )


def _exporters() -> list[SpanExporter]:
    """Those that `OTEL_TRACES_EXPORTER` names; each reads its own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`."""
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    made = []
    for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        asked = name.strip().lower()
        if asked == "none":
            continue
        entry = _PROTOCOLS.get(protocol, protocol) if asked == "otlp" else asked
        found = list(importlib.metadata.entry_points(group="opentelemetry_traces_exporter", name=entry))
        if not found:
            raise SettingsError(_INSTALL.format(what=f"the exporter {entry} (OTEL_TRACES_EXPORTER)"))
        # Standard output has the answers, and of --json one document.
        made.append(found[0].load()(**({"out": sys.stderr} if entry == "console" else {})))
    return made


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
