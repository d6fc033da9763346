/** A job for the generator of loads for JetStream, which gets it as one argument in JSON. It prints a Measurement (bench/load/job.ts). */
export interface NatsJob {
  readonly kind: "publish" | "latency";
  /** The server that leads the stream. */
  readonly port: number;
  readonly serverPid: number;
  readonly morePids: readonly number[];
  readonly bodyBytes: number;
  readonly messages: number;
  readonly warmUp: number;
  readonly connections: number;
  /** Publishes that are sent together. */
  readonly batch: number;
  /** Batches that may wait for their acknowledgements, per connection; the next one is sent when a batch's worth is acknowledged. */
  readonly outstanding: number;
  readonly perSecond: number;
}

export const STREAM = "BENCH";
export const SUBJECT = "bench";
export const CONSUMER = "C";
export const DELIVERED_TO = "delivered.bench";
