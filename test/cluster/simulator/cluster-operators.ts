import { SHAPES } from "../../../src/cluster/state/records.ts";
import type { ClusterRun } from "./cluster-run.ts";
import { KEYS } from "./sim-world.ts";

/** What operators ask for in a schedule. */
export class ClusterOperators {
  /** When a topic was to have another number of replicas. */
  resizedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly run: ClusterRun,
    /** Whether the number of replicas of a topic may be changed now. */
    private readonly mayResize: () => boolean,
  ) {}

  /** Something that operators ask for. */
  operate(): void {
    const { world, lookups, machines } = this.run;
    const { random } = world;
    const { requests, topics, view } = random.pick(lookups);
    const { uid } = random.pick(machines.all).dataPath;
    const names = [...view.partitions.keys()];
    const what = random.next();
    const topic = random.pick(["t", "u"]);
    // As many brokers stay as the most replicas that are asked for.
    if (what < 0.15 && view.removals.size < this.spareMachines()) void requests.removeBroker(uid);
    else if (what < 0.25) void requests.keepBroker(uid);
    else if (what < 0.65 && names.length > 0) {
      const name = random.pick(names);
      const { replicas = [] } = view.partitions.get(name)?.value ?? {};
      const [topic, partition] = [name.split("/")[0], Number(name.split("/")[1])];
      if (replicas.length === 0) return;
      if (random.chance(0.4)) void requests.lead(topic, partition, random.pick(replicas));
      else void requests.move(topic, partition, random.pick(replicas), uid);
    } else if (what < 0.8 && this.mayResize()) {
      const replicas = random.int(1, machines.all.length);
      world.note(`${topic} is to have ${replicas} replicas`);
      this.resizedMs = world.time.nowMs;
      void topics.change(topic, { replicas, minInSync: random.int(1, replicas) });
    } else if (what < 0.85) {
      world.note("u is removed");
      void topics.remove("u");
    } else void topics.expand(topic, random.int(2, 5));
  }

  /** How many brokers may be removed so that every topic can have its replicas. */
  private spareMachines(): number {
    const { machines, world } = this.run;
    const topics = world.etcd.store.range(`${KEYS.prefix}topics/`).map(({ value }) => SHAPES.topics.read(value));
    return machines.all.length - Math.max(0, ...topics.map((topic) => (topic instanceof Error ? 0 : topic.replicas)));
  }

  /** Operators remove what is lost, and keep as many brokers as are needed. */
  removeLost(): void {
    const { world, machines } = this.run;
    const { store } = world.etcd;
    const { revision } = store;
    const key = (uid: string) => KEYS.member("removals", uid);
    for (const { uid, isLost } of machines.dataPaths.values()) {
      const record = { state: "draining", partitions: 0, left: 0, problem: "" } as const;
      if (isLost && !store.entries.has(key(uid))) store.txn([], [{ put: key(uid), value: SHAPES.removals.write(record) }], []);
    }
    const living = machines.all.filter(({ dataPath }) => store.entries.has(key(dataPath.uid)));
    for (const { dataPath } of living.slice(Math.max(0, this.spareMachines()))) store.txn([], [{ remove: key(dataPath.uid) }], []);
    this.recoverEmpty();
    if (store.revision > revision) world.etcd.changed();
  }

  /** Partitions that were placed on a disk just before it was lost, and never had a message: operators begin them anew. */
  private recoverEmpty(): void {
    const { world, machines, checks } = this.run;
    const { store } = world.etcd;
    for (const { key, value } of store.range(`${KEYS.prefix}partitions/`)) {
      const record = SHAPES.partitions.read(value);
      if (record instanceof Error || !record.inSync.every((uid) => machines.dataPaths.get(uid)?.isLost)) continue;
      if ((checks.histories.get(record.prefix)?.released.length ?? 0) > 0) continue;
      const { uid } = world.random.pick(machines.all).dataPath;
      const anew = { ...record, replicas: [uid], inSync: [uid], leader: "", epoch: record.epoch + 1, successor: undefined };
      checks.placement.recovered.add(record.prefix);
      store.txn([], [{ put: key, value: SHAPES.partitions.write(anew) }], []);
    }
  }
}
