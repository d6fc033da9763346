import { expect, test } from "bun:test";
import { join } from "node:path";
import { describeUnless, missing } from "../../../support/needs.ts";
import { seedFromEnvironment } from "../../../support/random.ts";
import { Network, noNetworks } from "../../discovery/support/network.ts";
import { whyNoSmallDisk } from "../../full-disk/small-disk.ts";
import type { FaultRunJob } from "./support/fault-run.ts";

const RUN = join(import.meta.dir, "support/fault-run.ts");

/** How many rounds of faults are played, and how many messages a second are published meanwhile. */
const ROUNDS = Number(process.env.BUNSQ_CLUSTER_ROUNDS ?? 2);
const RATE = Number(process.env.BUNSQ_CLUSTER_RATE ?? 2_000);
/** Faults by their names, with commas between; all without it. */
const ONLY = process.env.BUNSQ_CLUSTER_FAULTS?.split(",");
/** Start and end, and each round. */
const LONGEST_MS = 120_000;
const LONGEST_ROUND_MS = 50_000;

describeUnless(missing("etcd", "cc") ?? noNetworks() ?? whyNoSmallDisk())("three brokers, two lookups and etcd", () => {
  test(
    `over ${ROUNDS} rounds of faults nothing acknowledged is lost or changed, keys stay in order, and only what may come twice does`,
    async () => {
      const seed = seedFromEnvironment();
      console.log(`faults of a cluster: BUNSQ_SEED=${seed}`);
      using network = new Network();
      const hosts = (count: number) => Array.from({ length: count }, () => network.addHost());
      const clients = network.addHost();
      const job: FaultRunJob = {
        clients,
        etcd: hosts(3),
        lookups: hosts(2),
        brokers: hosts(3),
        seed,
        rounds: ROUNDS,
        rate: RATE,
        ...(ONLY === undefined ? {} : { only: ONLY }),
      };
      // Its standard input ends with this process at the latest, and then it ends what it has started.
      const run = Bun.spawn([...clients.prefix, process.execPath, RUN, JSON.stringify(job)], {
        stdin: "pipe",
        stdout: "inherit",
        stderr: "inherit",
      });
      try {
        expect(await run.exited).toBe(0);
      } finally {
        run.stdin.end();
        await run.exited;
      }
    },
    LONGEST_MS + ROUNDS * LONGEST_ROUND_MS,
  );
});
