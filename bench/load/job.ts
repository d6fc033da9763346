/** The layers between the generator and the broker. The generator has the cost of its side. */
export interface Layers {
  tls?: boolean;
  compression?: "snappy" | "deflate";
}

/** A job for the generator, which gets it as one argument in JSON. */
export type Job = PublishJob | DrainJob | PublishAndDrainJob | LatencyJob | WavesJob | FloodJob | ProbeJob | IdleJob;

export interface Target {
  tcpPort: number;
  /** 0 if the server does not speak HTTP. */
  httpPort: number;
  /** The server's process, whose CPU time is measured. */
  serverPid: number;
  /** Further processes of the server, as those of a cluster. Loads of whole messages count their CPU time, too. */
  morePids?: readonly number[];
}

export interface PublishLoad {
  /** The messages of a DPUB are due an hour later, so none is delivered during a run. */
  command: "PUB" | "MPUB" | "MPUB_EXT" | "DPUB" | "HTTP /pub" | "HTTP /mpub";
  connections: number;
  /** Messages in one MPUB, MPUB_EXT or /mpub; 1 for the others. */
  batch: number;
  bodyBytes: number;
  /** The number of commands that may wait for their replies, per connection. */
  outstanding: number;
  /** Whether the next commands are sent only when all outstanding ones are answered, in one write. */
  asTrains: boolean;
  /** The number of topics, to which commands are sent in turn; 1 by default. */
  topics?: number;
  layers?: Layers;
  /** The length of the JSON that each message of an MPUB_EXT has in its header. */
  headerBytes?: number;
  /** The number of keys that the messages of MPUB_EXT have in turn; 0, the default: none has one. */
  keys?: number;
  /** Whether bodies are different lines of JSON instead of one repeated letter. */
  json?: boolean;
}

export interface DrainLoad {
  consumers: number;
  rdy: number;
  /** The number of channels that the consumers are spread over; 1 by default. Each message is delivered once per channel. */
  channels?: number;
  /** Whether each message is requeued with a delay of an hour instead of finished. */
  requeue?: boolean;
  /** Whether the consumers understand headers, and get them. */
  extended?: boolean;
  layers?: Layers;
}

export interface PublishJob extends Target {
  kind: "publish";
  publish: PublishLoad;
  messages: number;
  /** The number of messages at the beginning that are not measured. */
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

/** One producer publishes at a fixed rate without waiting for replies. Measures the time until one consumer gets each message. */
export interface LatencyJob extends Target {
  kind: "latency";
  perSecond: number;
  bodyBytes: number;
  messages: number;
  warmUp: number;
}

/** Publishes and drains `waveMessages` at a time, `messages` in all. Only the drains are measured. */
export interface WavesJob extends Target {
  kind: "waves";
  publish: PublishLoad;
  drain: DrainLoad;
  messages: number;
  waveMessages: number;
}

/** Publishes as fast as the server accepts it, for a time. */
export interface FloodJob extends Target {
  kind: "flood";
  publish: PublishLoad;
  seconds: number;
}

/** One producer sends a PUB at a fixed interval without waiting for replies. Measures the time until each OK. */
export interface ProbeJob extends Target {
  kind: "probe";
  intervalMs: number;
  bodyBytes: number;
  seconds: number;
}

/** Consumers that only answer heartbeats. */
export interface IdleJob extends Target {
  kind: "idle";
  consumers: number;
  heartbeatMs: number;
  seconds: number;
}

/** The last line that the generator prints. */
export interface Measurement {
  /** Measured messages, without the warm-up. */
  messages: number;
  seconds: number;
  serverCpuSeconds: number;
  generatorCpuSeconds: number;
  /** Cores that processes other than server and generator kept busy. It should be near 0, or the run says little. */
  othersBusy: number;
  /** Messages with attempts above 1. No load gives a broker a reason to redeliver. */
  redelivered: number;
  /** Milliseconds from publish to delivery (latency job) or to the OK (probe job). */
  latencyMs?: { p50: number; p99: number; p999: number };
  /** The cost of idle connections (idle job). */
  idle?: IdleCost;
}

export interface IdleCost {
  connections: number;
  /** Resident memory of the server before the first connection and with all of them, bytes. */
  rssBefore: number;
  rssWith: number;
  /** CPU time of the server to identify and subscribe one connection, µs. */
  openingCpuUs: number;
  /** CPU time of the server per connection and second, µs. */
  cpuUsPerSecond: number;
}
