import { expect } from "bun:test";
import type { Etcd, EtcdEntry, EtcdEvent, EtcdOperation, EtcdWatch } from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { until } from "../../support/server.ts";
import { SimEtcd } from "../simulator/sim-etcd.ts";
import { SimNode } from "../simulator/sim-node.ts";
import { SimTime } from "../simulator/sim-time.ts";

const STEPS = 600;
const KEYS = Array.from({ length: 6 }, (_, i) => `/d/k${i}`);

/** One etcd, whose leases are called by the order in which they were granted. */
class Side {
  readonly leases: string[] = [];
  readonly told: string[] = [];
  readonly watch: EtcdWatch;

  constructor(
    readonly etcd: Etcd,
    readonly settle: <T>(promise: Promise<T>) => Promise<T>,
  ) {
    this.watch = etcd.watch("/d/", 1, {
      onEvents: (revision, events) => {
        this.told.push(`${revision}: ${events.map((event) => this.showEvent(event)).join(" ")}`);
      },
      onCompacted: () => this.told.push("compacted"),
      onTrouble: (error) => this.told.push(error.message),
    });
  }

  show(entry: EtcdEntry | undefined): string {
    if (entry === undefined) return "none";
    const { key, value, createRevision, modRevision, lease } = entry;
    return `${key}=${value} ${createRevision} ${modRevision} lease ${this.leases.indexOf(lease)}`;
  }

  private showEvent({ key, entry }: EtcdEvent): string {
    return `${key} ${entry === undefined ? "removed" : this.show(entry)}`;
  }
}

/** Does one thing. The same random numbers do the same at both sides. */
async function step(side: Side, random: Random, revision: number): Promise<string> {
  const { etcd, leases } = side;
  const key = random.pick(KEYS);
  const value = `v${random.int(0, 99)}`;
  const lease = () => (random.chance(0.3) && leases.length > 0 ? random.pick(leases) : "");
  const operation = (key: string): EtcdOperation => {
    const what = random.next();
    if (what < 0.4) return { put: key, value, lease: random.chance(0.02) ? "99" : lease() };
    return what < 0.7 ? { remove: key } : { get: key };
  };
  const operations = () => Array.from({ length: random.int(0, 4) }, () => operation(random.pick(KEYS)));
  const what = random.next();
  const call = (): Promise<object> => {
    if (what < 0.2) return etcd.put(key, value, lease());
    if (what < 0.3) return etcd.remove(key);
    if (what < 0.4) return etcd.get(key);
    if (what < 0.5) return etcd.range("/d/");
    if (what < 0.53) return etcd.grant(random.int(600, 900) * 1_000);
    if (what < 0.56) return etcd.keepAlive(leases.length > 0 && random.chance(0.8) ? random.pick(leases) : "4711");
    const conditions = Array.from({ length: random.int(0, 2) }, () => ({
      key: random.pick(KEYS),
      modRevision: random.pick([0, revision, revision - 1]),
    }));
    return etcd.txn(conditions, operations(), operations());
  };
  const answer = (await side.settle(call())) as Record<string, unknown>;
  if (answer instanceof EtcdError) return `${answer.reason} ${answer.outcome}`;
  if (typeof answer.lease === "string" && !leases.includes(answer.lease)) leases.push(answer.lease);
  const entries = (answer.entries ?? ("entry" in answer ? [answer.entry] : [])) as (EtcdEntry | undefined)[];
  const { revision: at = "", succeeded = "", ttlMs = "" } = answer;
  return `${at} ${succeeded} ${ttlMs} ${entries.map((entry) => side.show(entry)).join(", ")}`;
}

testUnless(missing("etcd"))(
  "the simulated etcd answers and tells as a real one does",
  async () => {
    const seed = seedFromEnvironment();
    console.log(`seed ${seed}: BUNSQ_SEED=${seed} plays it again`);
    await using real = await RealEtcd.start();
    const time = new SimTime();
    const sim = new SimEtcd(time, new Random(seed));
    const one = new Side(new EtcdHttp({ endpoints: real.endpoints, callLimitMs: 20_000 }), (promise) => promise);
    const other = new Side(sim.client(new SimNode("tester", time)), async (promise) => time.settle(promise));
    for (let i = 0; i < STEPS; i++) {
      const [a, b] = [Random.forPart(seed, i), Random.forPart(seed, i)];
      const { revision } = sim.store;
      const expected = await step(one, a, revision);
      expect(`step ${i}: ${await step(other, b, revision)}`).toBe(`step ${i}: ${expected}`);
    }
    time.advance(100);
    await until("the real watch has told all", () => one.told.length >= other.told.length);
    expect(other.told).toEqual(one.told);
    expect(one.told.length).toBeGreaterThan(STEPS / 4);
    one.watch.close();
  },
  60_000,
);
