"""Decodes OTLP/HTTP JSON by OpenTelemetry's own protobuf messages, strictly.

Each line of the input is the body of a request. Each line of the output is the same message, written again by protobuf. What is not
an ExportTraceServiceRequest ends the program with an error.
"""

import base64
import json
import re
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

ID_BYTES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def members(pairs):
    """An object's members: each once, and in lowerCamelCase, which is all that OTLP allows."""
    for key, _ in pairs:
        if "_" in key:
            raise ValueError(f"{key} is not in lowerCamelCase")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a member comes twice: {[key for key, _ in pairs]}")
    return found


def with_ids(value, convert):
    """OTLP has ids in hex, where the JSON of protobuf has bytes in base64."""
    if isinstance(value, list):
        return [with_ids(item, convert) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: convert(item, ID_BYTES[key]) if key in ID_BYTES else with_ids(item, convert) for key, item in value.items()}


def from_hex(text, length):
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * length}}}", text) or not text.strip("0"):
        raise ValueError(f"{text} is no id of {length} bytes")
    return base64.b64encode(bytes.fromhex(text)).decode()


def to_hex(text, _):
    return base64.b64decode(text).hex()


def decode(line):
    parsed = with_ids(json.loads(line, object_pairs_hook=members), from_hex)
    request = json_format.ParseDict(parsed, ExportTraceServiceRequest(), ignore_unknown_fields=False)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                if span.kind not in Span.SpanKind.values() or span.status.code not in Status.StatusCode.values():
                    raise ValueError("an enumeration does not have the value")
                if not span.name or span.start_time_unix_nano > span.end_time_unix_nano:
                    raise ValueError("a span has no name, or ends before it starts")
    return with_ids(json_format.MessageToDict(request, use_integers_for_enums=True), to_hex)


for line in sys.stdin:
    print(json.dumps(decode(line)))
