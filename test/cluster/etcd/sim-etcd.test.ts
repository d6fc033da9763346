import { Random } from "../../support/random.ts";
import { SimEtcd } from "../simulator/sim-etcd.ts";
import { SimNode } from "../simulator/sim-node.ts";
import { SimTime } from "../simulator/sim-time.ts";
import { playEtcdSuite } from "./etcd-suite.ts";

/** Longer than any lease of the suite. */
const WITHIN_MS = 60_000;

playEtcdSuite("the simulated etcd", undefined, async () => {
  const time = new SimTime();
  const sim = new SimEtcd(time, new Random(1));
  return {
    etcd: sim.client(new SimNode("tester", time)),
    settle: async (promise) => time.settle(promise),
    until: async (what, condition) => time.until(condition, WITHIN_MS, what),
    pass: async (ms) => time.advance(ms),
    nowMs: () => time.nowMs,
    compact: async () => sim.compact(),
    [Symbol.asyncDispose]: async () => {},
  };
});
