import type { Counts } from "../console-api.ts";

/**
 * The figures of a topic, a channel or a broker: what its broker says, and rates. NaN is what nobody has measured. They are kept as
 * plain numbers, thousands of times, and added up after every poll.
 */
export class Figures {
  depth = 0;
  backendDepth = 0;
  inFlight = 0;
  deferred = 0;
  messageCount = 0;
  requeueCount = 0;
  timeoutCount = 0;
  clients = 0;
  oldestAgeMs = Number.NaN;
  inRate = Number.NaN;
  outRate = Number.NaN;
  finishRate = Number.NaN;
  requeueRate = Number.NaN;
  timeoutRate = Number.NaN;

  reset(): void {
    this.depth = 0;
    this.backendDepth = 0;
    this.inFlight = 0;
    this.deferred = 0;
    this.messageCount = 0;
    this.requeueCount = 0;
    this.timeoutCount = 0;
    this.clients = 0;
    this.oldestAgeMs = Number.NaN;
    this.clearRates();
  }

  clearRates(): void {
    this.inRate = Number.NaN;
    this.outRate = Number.NaN;
    this.finishRate = Number.NaN;
    this.requeueRate = Number.NaN;
    this.timeoutRate = Number.NaN;
  }

  /** Adds what the same topic or channel does elsewhere. */
  add(other: Figures): void {
    this.messageCount += other.messageCount;
    this.inRate = sum(this.inRate, other.inRate);
    this.addConsumption(other);
  }

  /** Adds a channel to its topic, which has published each message once, for however many channels. */
  addConsumption(channel: Figures): void {
    this.depth += channel.depth;
    this.backendDepth += channel.backendDepth;
    this.inFlight += channel.inFlight;
    this.deferred += channel.deferred;
    this.requeueCount += channel.requeueCount;
    this.timeoutCount += channel.timeoutCount;
    this.clients += channel.clients;
    this.oldestAgeMs = greater(this.oldestAgeMs, channel.oldestAgeMs);
    this.outRate = sum(this.outRate, channel.outRate);
    this.finishRate = sum(this.finishRate, channel.finishRate);
    this.requeueRate = sum(this.requeueRate, channel.requeueRate);
    this.timeoutRate = sum(this.timeoutRate, channel.timeoutRate);
  }

  /** As the console's API has them. */
  counts(): Counts {
    return {
      depth: this.depth,
      backend_depth: this.backendDepth,
      in_flight: this.inFlight,
      deferred: this.deferred,
      message_count: this.messageCount,
      requeue_count: this.requeueCount,
      timeout_count: this.timeoutCount,
      clients: this.clients,
      oldest_age_ms: rounded(this.oldestAgeMs),
      in_rate: rounded(this.inRate),
      out_rate: rounded(this.outRate),
      finish_rate: rounded(this.finishRate),
      requeue_rate: rounded(this.requeueRate),
      timeout_rate: rounded(this.timeoutRate),
    };
  }
}

/** What is known of the two, added up. */
function sum(a: number, b: number): number {
  if (Number.isNaN(a)) return b;
  return Number.isNaN(b) ? a : a + b;
}

function greater(a: number, b: number): number {
  if (Number.isNaN(a)) return b;
  return Number.isNaN(b) ? a : Math.max(a, b);
}

/** Two digits behind the point; null if it was not measured. */
export function rounded(value: number): number | null {
  return Number.isNaN(value) ? null : Math.round(value * 100) / 100;
}
