import { formatHost } from "../../../net/address.ts";
import type { Topic } from "../../topics/topic.ts";
import type { Origin, TraceName } from "../../trace/trace-name.ts";
import { CONTEXT_BYTES, parseTraceparent } from "../../trace/traceparent.ts";
import type { RequestHead } from "./request-head.ts";

/** Who publishes on one connection, for traces. One object serves all its publishes. */
export class ConnectionOrigin {
  private origin: { traceName: TraceName; traceContext: Uint8Array | undefined } | undefined;
  private context: Uint8Array | undefined;

  constructor(private readonly client: { readonly remoteAddress: string }) {}

  /** @param head of the request, which was parsed in `bytes` @returns undefined where the topic is not traced */
  of(topic: Topic, head: RequestHead, bytes: Buffer): Origin | undefined {
    if (topic.trace === undefined) return undefined;
    this.origin ??= { traceName: topic.trace.named(`HTTP ${formatHost(this.client.remoteAddress)}`), traceContext: undefined };
    this.origin.traceContext = head.traceparentEnd > 0 ? this.contextOf(head, bytes) : undefined;
    return this.origin;
  }

  private contextOf({ traceparentStart, traceparentEnd }: RequestHead, bytes: Buffer): Uint8Array | undefined {
    this.context ??= new Uint8Array(CONTEXT_BYTES);
    return parseTraceparent(bytes, traceparentStart, traceparentEnd, this.context) ? this.context : undefined;
  }
}
