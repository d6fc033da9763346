import { Random } from "../../support/random.ts";
import { SimNetwork } from "../simulator/sim-network.ts";
import { SimNode } from "../simulator/sim-node.ts";
import { SimTime } from "../simulator/sim-time.ts";
import { playNetworkSuite } from "./network-suite.ts";

const WITHIN_MS = 60_000;

playNetworkSuite("the simulated network", async () => {
  const time = new SimTime();
  const network = new SimNetwork(time, new Random(1));
  const [far, near] = [new SimNode("far", time), new SimNode("near", time)];
  return {
    far: network.of(far),
    near: network.of(near),
    address: "far:1",
    deadAddress: "far:2",
    manyBytes: 2_000_000,
    until: async (what, condition) => time.until(condition, WITHIN_MS, what),
    idle: async () => time.advance(1_000),
    [Symbol.asyncDispose]: async () => {},
  };
});
