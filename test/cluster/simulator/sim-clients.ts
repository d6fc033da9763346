import type { ClusterChecks } from "./cluster-checks.ts";
import type { PartitionHistory } from "./partition-history.ts";
import type { SimBroker } from "./sim-broker.ts";
import type { SimNetwork } from "./sim-network.ts";
import { hasKey, type Outcome, type SimPartition } from "./sim-partition.ts";
import type { SimWorld } from "./sim-world.ts";
import { Violation } from "./violation.ts";

/** The machine that all clients are on: it is never cut off by itself. */
const NAME = "client";
/** A producer that has no answer after this long does not know what came of its publish. */
const ANSWER_MS = 1_500;
const AGAIN_MS = 300;
/** A publish without a key is tried again this often, and may be there as often. */
const ATTEMPTS_WITHOUT_KEY = 3;
/** The probability that a consumer forgets a message. */
const FORGETS = 0.03;

/** Messages that are published at once, and what became of that. */
interface Publish {
  readonly name: string;
  readonly messages: readonly number[];
  attempts: number;
  /** Attempts that may have written something. */
  maybeWritten: number;
  isAcked: boolean;
}

/** Producers and consumers, and what they have to account for. */
export class SimClients {
  private nextMessage = 1;
  private readonly publishes: Publish[] = [];
  /** No new messages. What has a key is still tried again. */
  isEnding = false;
  /** The first message of each publish that may be tried again. */
  readonly open = new Set<number>();

  constructor(
    private readonly world: SimWorld,
    private readonly network: SimNetwork,
    private readonly checks: ClusterChecks,
    private readonly brokers: () => readonly SimBroker[],
  ) {}

  /** Publishes have been acknowledged, or given up. */
  get isIdle(): boolean {
    return this.open.size === 0;
  }

  /** @param partitions by their names, as producers know them */
  publishForEver(partitions: () => readonly string[]): void {
    const { time, random } = this.world;
    time.after(random.int(1, random.pick([10, 100, 500])), () => {
      if (this.isEnding) return;
      this.publishForEver(partitions);
      const names = partitions();
      if (names.length === 0) return;
      const keyed = random.chance(0.5);
      const messages = Array.from({ length: random.pick([1, 1, 1, 3, 10]) }, () => 2 * this.nextMessage++ + (keyed ? 0 : 1));
      const publish = { name: random.pick(names), messages, attempts: 0, maybeWritten: 0, isAcked: false };
      this.publishes.push(publish);
      this.open.add(messages[0]);
      this.attempt(publish);
      for (let i = random.int(0, 2); i > 0; i--) this.changeState();
    });
  }

  /** Channels and deferred messages of a partition change. */
  private changeState(): void {
    const { random } = this.world;
    const brokers = this.brokers();
    if (brokers.length === 0) return;
    const broker = random.pick(brokers);
    const leading = [...broker.partitions.values()].filter(({ role }) => role.name === "leader");
    if (leading.length === 0) return;
    const partition = random.pick(leading);
    broker.node.run(() => this.checks.history(partition.prefix, partition.name).state.propose(partition, random));
  }

  private attempt(publish: Publish): void {
    const { random, time } = this.world;
    const { name, messages } = publish;
    publish.attempts++;
    publish.maybeWritten++;
    let isAnswered = false;
    const answered = (outcome: Outcome) => {
      // An answer that comes late still tells that nothing was written.
      if (outcome === "refused") publish.maybeWritten--;
      if (isAnswered) return;
      isAnswered = true;
      time.cancel(timer);
      if (outcome === "ok") publish.isAcked = true;
      const isOver = outcome === "ok" || (!hasKey(messages[0]) && publish.attempts >= ATTEMPTS_WITHOUT_KEY);
      if (isOver || !this.checks.recordOf(name)) this.open.delete(messages[0]);
      else time.after(random.int(1, AGAIN_MS), () => this.attempt(publish));
    };
    const timer = time.after(ANSWER_MS, () => answered("unknown"));
    const broker = this.chosen(name);
    if (broker === undefined) return;
    const { node } = broker;
    const back = (outcome: Outcome) => this.network.send(node.name, NAME, this.network.delay(), () => answered(outcome));
    this.network.send(NAME, node.name, this.network.delay(), () => node.run(() => broker.publish(name, messages, back)));
  }

  /** The one that the lookups say leads, or any. */
  private chosen(name: string): SimBroker | undefined {
    const { random } = this.world;
    const brokers = this.brokers();
    if (brokers.length === 0) return undefined;
    const leader = this.checks.recordOf(name)?.leader;
    const leading = random.chance(0.7) ? brokers.find(({ uid }) => uid === leader) : undefined;
    return leading ?? random.pick(brokers);
  }

  /** Brings a message to a consumer, which finishes it after a while, or forgets it. */
  deliver({ broker }: SimPartition, finish: () => void): void {
    const { random } = this.world;
    const { node } = broker;
    if (random.chance(FORGETS)) return;
    const workMs = random.next() * random.pick([1, 1, 50]);
    this.network.send(node.name, NAME, this.network.delay() + workMs, () =>
      this.network.send(NAME, node.name, this.network.delay(), () => node.run(finish)),
    );
  }

  /** What must hold when everything has come to its end. @throws Violation */
  checkEnd(): void {
    const there = new Map<string, Map<number, number[]>>();
    for (const history of this.checks.histories.values()) count(there, history);
    for (const { name, messages, maybeWritten, isAcked } of this.publishes) {
      for (const message of messages) {
        const found = there.get(name)?.get(message) ?? [];
        const most = hasKey(message) ? 1 : maybeWritten;
        const times = Math.max(0, ...found);
        if (times > most || (maybeWritten === 0 && found.length > 0))
          throw new Violation(`${name}: ${message} is there ${times} times, and ${maybeWritten} attempts may have written it`);
        if (isAcked && found.length === 0) throw new Violation(`${name}: ${message} was acknowledged to its producer, and is not there`);
        there.get(name)?.delete(message);
      }
    }
    for (const [name, messages] of there)
      for (const message of messages.keys()) throw new Violation(`${name}: nobody has published ${message}`);
  }
}

/** How often each message is in each log of a partition of that name: there may have been several, one after the other. */
function count(there: Map<string, Map<number, number[]>>, { name, released }: PartitionHistory): void {
  const own = new Map<number, number>();
  for (const message of released) own.set(message, (own.get(message) ?? 0) + 1);
  const known = there.get(name) ?? new Map<number, number[]>();
  for (const [message, times] of own) known.set(message, [...(known.get(message) ?? []), times]);
  there.set(name, known);
}
