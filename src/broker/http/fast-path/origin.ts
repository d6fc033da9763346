import { formatHost } from "../../../net/address.ts";
import type { TopicPartition } from "../../topics/topic-partition.ts";
import type { Origin, TraceName } from "../../trace/trace-name.ts";
import { CONTEXT_BYTES, parseTraceparent } from "../../trace/traceparent.ts";
import { parseTracestate } from "../../trace/tracestate.ts";
import type { RequestHead } from "./request-head.ts";

/** Who publishes on one connection, for traces. One object serves all its publishes. */
export class ConnectionOrigin {
  private origin: { traceName: TraceName; traceContext: Uint8Array | undefined; traceState: string | undefined } | undefined;
  private context: Uint8Array | undefined;

  constructor(private readonly client: { readonly remoteAddress: string }) {}

  /** @param head of the request, which was parsed in `bytes` @returns undefined where the topic is not traced */
  of({ trace }: TopicPartition, head: RequestHead, bytes: Buffer): Origin | undefined {
    if (trace === undefined) return undefined;
    const traceContext = head.traceparentEnd > 0 ? this.contextOf(head, bytes) : undefined;
    const hasState = traceContext !== undefined && head.tracestateEnd > 0;
    const traceState = hasState ? parseTracestate(bytes.toString("latin1", head.tracestateStart, head.tracestateEnd)) : undefined;
    this.origin ??= { traceName: trace.named(`HTTP ${formatHost(this.client.remoteAddress)}`), traceContext, traceState };
    this.origin.traceContext = traceContext;
    this.origin.traceState = traceState;
    return this.origin;
  }

  private contextOf({ traceparentStart, traceparentEnd }: RequestHead, bytes: Buffer): Uint8Array | undefined {
    this.context ??= new Uint8Array(CONTEXT_BYTES);
    return parseTraceparent(bytes, traceparentStart, traceparentEnd, this.context) ? this.context : undefined;
  }
}
