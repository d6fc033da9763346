/** The longest name in bytes of UTF-8. A longer one is cut. */
export const MAX_NAME_BYTES = 255;

/** A name that trace records refer to by a number: of a client, an operator or a channel. */
export class TraceName {
  /** In this generation of numbers it has its number (tracer.ts). */
  generation = 0;
  number = 0;

  constructor(readonly text: string) {}
}

/** Who published a message. */
export interface Origin {
  readonly traceName: TraceName;
  /** The W3C trace context that came with it, CONTEXT_BYTES bytes (traceparent.ts); undefined: none came. */
  readonly traceContext?: Uint8Array | undefined;
  /** The tracestate that came with that context, as parseTracestate() returned it. */
  readonly traceState?: string | undefined;
}
