import { SimDataPath } from "./data-path.ts";
import { SimBroker, type SimSite } from "./sim-broker.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimWorld } from "./sim-world.ts";

/** The probability that somebody copies a data path while no process uses it. */
const COPIED = 0.5;

/** A machine: what is left when its process ends. */
export interface Machine {
  readonly name: string;
  readonly zone: string;
  dataPath: SimDataPath;
  runs: number;
  startedMs: number;
  node: SimNode;
  broker: SimBroker | undefined;
  /** Sets the data path back to what it had before it was used last, or an earlier time. @returns false: it was not used since then */
  setBack: () => boolean;
}

/** All machines of a cluster that brokers run on, and their data paths. */
export class Machines {
  readonly all: Machine[] = [];
  /** By uid, those that are lost included. */
  readonly dataPaths = new Map<string, SimDataPath>();
  private made = 0;

  constructor(
    private readonly world: SimWorld,
    private readonly syncMs: number,
  ) {}

  add(zone: string): Machine {
    const name = `n${this.all.length + 1}`;
    const node = this.world.node(name);
    const machine: Machine = {
      name,
      zone,
      dataPath: this.newDataPath(),
      runs: 0,
      startedMs: 0,
      node,
      broker: undefined,
      setBack: () => false,
    };
    this.all.push(machine);
    return machine;
  }

  byUid(uid: string): Machine | undefined {
    return this.all.find(({ dataPath }) => dataPath.uid === uid);
  }

  /** Those whose processes are there. */
  brokers(): SimBroker[] {
    return this.all.flatMap(({ broker }) => broker ?? []);
  }

  boot(machine: Machine, site: SimSite): void {
    if (machine.broker !== undefined) return;
    const { world } = this;
    machine.runs++;
    machine.startedMs = world.time.nowMs;
    machine.node = world.node(machine.name);
    site.network.lightUp(machine.name);
    world.note(`${machine.name} starts`);
    if (machine.runs === 1 || world.random.chance(COPIED)) machine.setBack = machine.dataPath.copy();
    machine.broker = new SimBroker(site, machine.node, machine.dataPath, `run${machine.name}-${machine.runs}`, machine.zone);
  }

  stop(machine: Machine, site: SimSite, losesPower: boolean): void {
    if (machine.broker === undefined) return;
    this.world.note(`${machine.name} ${losesPower ? "loses power" : "is killed"}`);
    site.network.end(machine.node, losesPower);
    if (losesPower) machine.dataPath.cutPower(this.world.random);
    machine.broker = undefined;
  }

  /** The machine gets another disk. What was on the one before is gone. */
  replaceDisk(machine: Machine, site: SimSite): void {
    if (machine.broker !== undefined) site.network.end(machine.node, true);
    machine.broker = undefined;
    machine.dataPath.isLost = true;
    const lost = machine.dataPath.uid;
    machine.dataPath = this.newDataPath();
    machine.setBack = () => false;
    this.world.note(`${machine.name} has lost its disk ${lost}, and has ${machine.dataPath.uid} now`);
  }

  private newDataPath(): SimDataPath {
    const uid = (++this.made).toString(16).padStart(16, "0");
    const dataPath = new SimDataPath(uid, { failure: 0, syncMs: this.syncMs, isFull: false });
    this.dataPaths.set(uid, dataPath);
    return dataPath;
  }
}
