import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { Origin, TraceName } from "../trace/trace-name.ts";
import { CONTEXT_BYTES, parseTraceparent } from "../trace/traceparent.ts";
import { parseTracestate } from "../trace/tracestate.ts";
import type { HttpCall } from "./call.ts";

/** Who publishes, with the W3C trace context of the request; undefined where the topic is not traced. */
export function publishOrigin(call: HttpCall, { trace }: TopicPartition): Origin | undefined {
  if (trace === undefined) return undefined;
  const traceName = trace.named(`HTTP ${call.clientHost}`);
  const traceparent = call.request.headers.get("traceparent");
  if (traceparent === null) return { traceName };
  const value = Buffer.from(traceparent, "latin1");
  const traceContext = new Uint8Array(CONTEXT_BYTES);
  if (!parseTraceparent(value, 0, value.length, traceContext)) return { traceName };
  // Several headers are joined by commas.
  const tracestate = call.request.headers.get("tracestate");
  return { traceName, traceContext, traceState: tracestate === null ? undefined : parseTracestate(tracestate) };
}

/** What traces call whoever made an operator's call; undefined where the channel is not traced. */
export function operatorName(call: HttpCall, channel: ChannelPartition): TraceName | undefined {
  return channel.inFlight.trace === undefined ? undefined : call.broker.tracer.named(`operator at ${call.clientHost}`);
}
