/** What lies between the generator and the broker; the generator pays for its side too. */
export interface Layers {
  tls?: boolean;
  compression?: "snappy" | "deflate";
}

/** What versus asks the generator to do: one argument of JSON. */
export type Job = PublishJob | DrainJob | PublishAndDrainJob | LatencyJob | WavesJob | FloodJob | ProbeJob | IdleJob;

export interface Target {
  tcpPort: number;
  /** 0: the server speaks no HTTP. */
  httpPort: number;
  /** Whose CPU time is taken: the server's process. */
  serverPid: number;
}

export interface PublishLoad {
  /** A DPUB's messages fall due an hour later: none does during a run. */
  command: "PUB" | "MPUB" | "DPUB" | "HTTP /pub" | "HTTP /mpub";
  connections: number;
  /** Messages in one MPUB or /mpub; 1 for the others. */
  batch: number;
  bodyBytes: number;
  /** Commands that may wait for their reply, per connection. */
  outstanding: number;
  /** Send the next commands only when all that were outstanding are answered, in one write. */
  asTrains: boolean;
  /** Each command goes to the next of so many topics; one if not given. */
  topics?: number;
  layers?: Layers;
  /** Bodies are lines of JSON that differ, instead of one letter. */
  json?: boolean;
}

export interface DrainLoad {
  consumers: number;
  rdy: number;
  /** The consumers are spread over so many channels, and each message comes once per channel; one if not given. */
  channels?: number;
  /** Each message is requeued with a delay of an hour instead of finished. */
  requeue?: boolean;
  layers?: Layers;
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

/** Publishes `waveMessages` and drains them, until `messages` are through; only the drains are measured. */
export interface WavesJob extends Target {
  kind: "waves";
  publish: PublishLoad;
  drain: DrainLoad;
  messages: number;
  waveMessages: number;
}

/** Publishes as fast as the server takes it, for a time. */
export interface FloodJob extends Target {
  kind: "flood";
  publish: PublishLoad;
  seconds: number;
}

/** One producer that sends a PUB at a fixed interval and waits for nobody; the time until each one's OK. */
export interface ProbeJob extends Target {
  kind: "probe";
  intervalMs: number;
  bodyBytes: number;
  seconds: number;
}

/** Consumers that have nothing to do but to answer heartbeats. */
export interface IdleJob extends Target {
  kind: "idle";
  consumers: number;
  heartbeatMs: number;
  seconds: number;
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
  /** Milliseconds from publish to delivery (latency job), or to the OK (probe job). */
  latencyMs?: { p50: number; p99: number; p999: number };
  /** What the idle connections cost; only of an idle job. */
  idle?: IdleCost;
}

export interface IdleCost {
  connections: number;
  /** Resident memory of the server before the first connection and with all of them, bytes. */
  rssBefore: number;
  rssWith: number;
  /** CPU time that it takes the server to greet and subscribe one, µs. */
  openingCpuUs: number;
  /** CPU time that one takes of the server in a second, µs. */
  cpuUsPerSecond: number;
}
