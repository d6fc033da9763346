/** What a client does in one run. */
export type Act = "batches" | "consume" | "singles";

/** What a client program is told, as JSON in its last argument. Each uses one connection. */
export interface ClientJob {
  readonly act: Act;
  /** The broker's host:port. */
  readonly address: string;
  readonly topic: string;
  readonly channel: string;
  /** Messages that are measured. */
  readonly messages: number;
  /** Messages before those, while compilers warm up. Both are a multiple of `batch` and of `outstanding`. */
  readonly warmUp: number;
  readonly bodyBytes: number;
  /** Messages of a batch. */
  readonly batch: number;
  /** batches: how many are unanswered at a time. singles: how many messages are published before all of them are awaited. */
  readonly outstanding: number;
  readonly maxInFlight: number;
}

/** What it prints, as one line of JSON. */
export interface ClientMeasurement {
  /** From the first measured publish to the last acknowledgement, or from the first measured message to the last. */
  readonly seconds: number;
  /** User and system time of the client's process in this time. */
  readonly cpuSeconds: number;
}
