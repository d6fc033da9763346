import { parseBalanceHours } from "../../../../src/cluster/placement/balance-hours.ts";
import { PlacementChecks } from "../../simulator/placement-checks.ts";
import { SETTINGS, SimLookup } from "../../simulator/sim-lookup.ts";
import { SimWorld } from "../../simulator/sim-world.ts";
import { StubBroker } from "../../simulator/stub-broker.ts";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;

/** Brokers without messages, and a lookup server that moves their partitions. */
export class PlacedCluster {
  readonly world: SimWorld;
  readonly checks: PlacementChecks;
  readonly brokers: StubBroker[] = [];
  private readonly joined = new Set<string>();
  lookup: SimLookup;

  constructor(seed: number, brokers: number, hours = "0-0") {
    this.world = new SimWorld(seed);
    this.checks = new PlacementChecks(this.world, (prefix, uid) => (this.joined.has(`${prefix} ${uid}`) ? undefined : "has not copied"));
    for (let i = 1; i <= brokers; i++) this.addBroker();
    this.lookup = new SimLookup(this.world, "l1", parseBalanceHours(hours));
    this.world.time.advance(2_000);
  }

  /** @param address where other brokers reach it */
  addBroker(address = `h${this.brokers.length + 1}:1`): StubBroker {
    const broker = new StubBroker(this.world, this.joined, `b${this.brokers.length + 1}`, "z", address);
    this.brokers.push(broker);
    for (const one of this.brokers) for (const other of this.brokers) one.others.set(other.uid, other);
    broker.start();
    return broker;
  }

  create(topic: string, partitions: number, replicas: number, minInSync = 1): void {
    const { world, lookup } = this;
    const refusal = world.time.settle(lookup.topics.create(topic, { ...SETTINGS, partitions, replicas, minInSync }));
    if (refusal !== undefined) throw refusal;
    const own = () => [...lookup.view.partitions].flatMap(([name, { value }]) => (name.startsWith(`${topic}/`) ? value : []));
    const isLed = () => own().length === partitions && own().every(({ leader }) => leader !== "");
    world.time.until(isLed, 5_000, "all have leaders");
  }

  /** How many replicas each broker has. */
  get kept(): number[] {
    const all = [...this.lookup.view.partitions.values()].flatMap(({ value }) => value.replicas);
    return this.brokers.map(({ uid }) => all.filter((one) => one === uid).length);
  }

  /** How many partitions each broker leads. */
  get led(): number[] {
    const all = [...this.lookup.view.partitions.values()].map(({ value }) => value.leader);
    return this.brokers.map(({ uid }) => all.filter((one) => one === uid).length);
  }

  removal(uid: string) {
    return this.lookup.view.removals.get(uid)?.value;
  }

  /** Waits for no more moves. */
  rest(): void {
    const { world, lookup } = this;
    const isAtRest = () => lookup.view.moves.size === 0 && lookup.view.revision === world.etcd.store.revision;
    world.time.until(isAtRest, 10 * MINUTE_MS, "moves have ended");
    this.checks.throwIfViolated();
  }
}
