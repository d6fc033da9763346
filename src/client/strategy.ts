import { murmur3 } from "./murmur3.ts";

/** How a producer chooses among several brokers for messages without a key. */
export type Strategy = "round-robin" | "fewest-pending";

/** What a strategy looks at. */
export interface Candidate {
  readonly broker: string;
  /** Messages that the broker has not acknowledged. */
  readonly pending: number;
  /** A hash of the broker's address. */
  readonly seed: number;
}

/** Chooses brokers, by one strategy. */
export class Chooser<Broker extends Candidate> {
  private turn = 0;

  constructor(private readonly strategy: Strategy) {}

  /** @param brokers at least one. @param key of the message; undefined: none */
  choose(brokers: readonly Broker[], key: string | undefined): Broker {
    if (brokers.length === 1) return brokers[0] as Broker;
    if (key !== undefined) return byKey(brokers, key);
    if (++this.turn >= brokers.length) this.turn = 0;
    return this.strategy === "fewest-pending" ? this.leastBusy(brokers) : (brokers[this.turn] as Broker);
  }

  /** Among brokers with equally few, the next in turn. */
  private leastBusy(brokers: readonly Broker[]): Broker {
    let best = brokers[this.turn] as Broker;
    for (let i = 1; i < brokers.length; i++) {
      const broker = brokers[(this.turn + i) % brokers.length] as Broker;
      if (broker.pending < best.pending) best = broker;
    }
    return best;
  }
}

/**
 * Rendezvous hashing: the broker whose hash together with the key is largest. A key changes its broker only if that one goes,
 * or if one comes whose hash is larger: of n + 1 brokers the new one gets one key in n + 1.
 */
function byKey<Broker extends Candidate>(brokers: readonly Broker[], key: string): Broker {
  let best = brokers[0] as Broker;
  let bestScore = -1;
  for (const broker of brokers) {
    const score = murmur3(key, broker.seed);
    if (score > bestScore || (score === bestScore && broker.broker < best.broker)) {
      best = broker;
      bestScore = score;
    }
  }
  return best;
}
