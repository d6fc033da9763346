/** What versus asks the generator to do: one argument of JSON. */
export type Job = PublishJob | DrainJob | PublishAndDrainJob | LatencyJob;

interface Target {
  tcpPort: number;
  /** 0: the server speaks no HTTP. */
  httpPort: number;
  /** Whose CPU time is taken: the server's process. */
  serverPid: number;
}

export interface PublishLoad {
  command: "PUB" | "MPUB" | "HTTP /pub";
  connections: number;
  /** Messages in one MPUB; 1 for the others. */
  batch: number;
  bodyBytes: number;
  /** Commands that may wait for their reply, per connection. */
  outstanding: number;
  /** Send the next commands only when all that were outstanding are answered, in one write. */
  asTrains: boolean;
}

export interface DrainLoad {
  consumers: number;
  rdy: number;
}

export interface PublishJob extends Target {
  kind: "publish";
  publish: PublishLoad;
  messages: number;
  /** Messages at the beginning that are not measured. */
  warmUp: number;
}

/** The messages are in the channel already. */
export interface DrainJob extends Target {
  kind: "drain";
  drain: DrainLoad;
  messages: number;
  warmUp: number;
}

export interface PublishAndDrainJob extends Target {
  kind: "publish-and-drain";
  publish: PublishLoad;
  drain: DrainLoad;
  messages: number;
  warmUp: number;
}

/** One producer at a fixed rate that waits for nobody, one consumer; the time between them, per message. */
export interface LatencyJob extends Target {
  kind: "latency";
  perSecond: number;
  bodyBytes: number;
  messages: number;
  warmUp: number;
}

/** What the generator prints on its last line. */
export interface Measurement {
  /** Messages measured, warm-up not among them. */
  messages: number;
  seconds: number;
  serverCpuSeconds: number;
  generatorCpuSeconds: number;
  /** Cores that neither server nor generator kept busy but something else did: near 0, or the run says little. */
  othersBusy: number;
  /** Messages that came with attempts over 1. None of the loads gives a broker cause for one. */
  redelivered: number;
  /** Milliseconds from publish to delivery; only of a latency job. */
  latencyMs?: { p50: number; p99: number; p999: number };
}
