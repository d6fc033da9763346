import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { type EtcdFaults, SimEtcd } from "./sim-etcd.ts";
import { type NetworkFaults, SimNetwork } from "./sim-network.ts";
import { SimNode } from "./sim-node.ts";
import { SimTime } from "./sim-time.ts";

/** How far clocks may be off in a simulation: more than in any machine. */
const MAX_DRIFT = 0.01;
const DAY_MS = 86_400_000;

/** The keys of the cluster that a world has. */
export const KEYS = new ClusterKeys("sim");

/** One run of the simulator: everything in it follows from its seed. */
export class SimWorld {
  readonly time = new SimTime();
  readonly random: Random;
  readonly etcd: SimEtcd;
  readonly network: SimNetwork;
  readonly logger = new MemoryLogger();
  /** What happened, to compare runs by. */
  readonly trace: string[] = [];

  constructor(readonly seed: number) {
    this.random = new Random(seed);
    this.etcd = new SimEtcd(this.time, this.random);
    this.network = new SimNetwork(this.time, this.random);
  }

  /** A process with clocks that are wrong in their own way. */
  node(name: string): SimNode {
    const { random } = this;
    return new SimNode(name, this.time, {
      rate: 1 + (random.next() * 2 - 1) * MAX_DRIFT,
      wallErrorMs: random.int(-DAY_MS, DAY_MS),
      steadyStartMs: random.int(0, DAY_MS),
    });
  }

  note(line: string): void {
    this.trace.push(`${this.time.nowMs.toFixed(3)} ${line}`);
  }

  /** Faults of any kind between nodes and etcd. */
  randomEtcdFaults(): EtcdFaults {
    const { random } = this;
    return {
      delayMs: random.pick([1, 5, 50]),
      slow: random.pick([0, 0.01, 0.1]),
      slowMs: random.pick([200, 3_000]),
      answerLost: random.pick([0, 0.02, 0.2]),
      requestLost: random.pick([0, 0.02, 0.1]),
    };
  }

  /** Faults of any kind between nodes. */
  randomNetworkFaults(): NetworkFaults {
    const { random } = this;
    return {
      delayMs: random.pick([0.2, 2, 20]),
      slow: random.pick([0, 0.01, 0.1]),
      slowMs: random.pick([50, 1_000]),
      reset: random.pick([0, 0.001, 0.02]),
      windowBytes: random.pick([10, 1_000, 256 << 10]),
    };
  }
}
