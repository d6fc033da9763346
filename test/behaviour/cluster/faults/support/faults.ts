import type { Random } from "../../../../support/random.ts";
import { blockWay, type NetworkHost, openWay } from "../../../discovery/support/network.ts";
import type { SmallDisk } from "../../../full-disk/small-disk.ts";
import type { ClusterProcesses, ClusterServer } from "../../support/cluster-processes.ts";
import type { SetClocks } from "../../support/set-clock.ts";

/** What faults are done to. */
export interface FaultSite {
  readonly cluster: ClusterProcesses;
  readonly random: Random;
  readonly hosts: {
    readonly etcd: NetworkHost[];
    readonly brokers: NetworkHost[];
    readonly lookups: NetworkHost[];
    readonly clients: NetworkHost;
  };
  /** The disk of the last broker is a small one. */
  readonly disk: SmallDisk;
  /** Those of the brokers. */
  readonly clocks: SetClocks;
  /** The broker that leads most partitions. */
  leader(): Promise<number>;
  /** The member of etcd that leads. */
  etcdLeader(): Promise<number>;
  /** Waits until all replicas of all partitions are in sync, which they may not become while something else is broken. */
  untilPlaced(limitMs: number): Promise<void>;
}

/** How to undo a fault. */
type Undo = () => Promise<void> | void;

/** Something that breaks. */
export interface Fault {
  readonly name: string;
  /** Two faults at once are of different kinds. */
  readonly kind: "process" | "network" | "etcd" | "disk" | "clock";
  /** Breaks it. @returns what it broke, in words, and how to mend that */
  begin(site: FaultSite): Promise<{ what: string; undo: Undo }>;
}

const LEFT_ON_DISK = 16_384;
/** A broker that was restarted is waited for this long before the next one is. */
const RESTARTED_MS = 10_000;
/** What is deferred comes late by as much from another leader. Hours are tried in clock.test.ts. */
const JUMPS_MS = [10_000, -10_000];

/** kill -9 of some brokers, which are started again afterwards. */
async function kill(site: FaultSite, brokers: readonly number[]): Promise<Undo> {
  const servers = brokers.map((i) => site.cluster.brokers[i] as ClusterServer);
  await Promise.all(servers.map((server) => server.stop("SIGKILL")));
  return async () => {
    await Promise.all(servers.map((server) => server.start()));
  };
}

/** Cuts ways between hosts. */
function cut(ways: readonly (readonly [NetworkHost, NetworkHost])[]): Undo {
  for (const [from, to] of ways) blockWay(from, to);
  return () => {
    for (const [from, to] of ways) openWay(from, to);
  };
}

function both(one: NetworkHost, others: readonly NetworkHost[]): [NetworkHost, NetworkHost][] {
  return others.flatMap((other): [NetworkHost, NetworkHost][] => [
    [one, other],
    [other, one],
  ]);
}

/** All other brokers than one. */
function others(site: FaultSite, index: number): number[] {
  return site.cluster.brokers.flatMap((_, i) => (i === index ? [] : [i]));
}

function host(site: FaultSite, broker: number): NetworkHost {
  return site.hosts.brokers[broker] as NetworkHost;
}

function setClock(site: FaultSite, broker: number): { what: string; undo: Undo } {
  const aheadMs = site.random.pick(JUMPS_MS);
  site.clocks.set(broker, aheadMs);
  return { what: `the clock of broker ${broker} is set by ${aheadMs / 1_000} s`, undo: () => site.clocks.set(broker, 0) };
}

export const FAULTS: readonly Fault[] = [
  {
    name: "kill leader",
    kind: "process",
    async begin(site) {
      const leader = await site.leader();
      return { what: `kill -9 of broker ${leader}, which leads most`, undo: await kill(site, [leader]) };
    },
  },
  {
    name: "kill two",
    kind: "process",
    async begin(site) {
      const left = site.random.int(0, 2);
      return { what: `kill -9 of all brokers but ${left}`, undo: await kill(site, others(site, left)) };
    },
  },
  {
    name: "kill all",
    kind: "process",
    async begin(site) {
      return { what: "kill -9 of all brokers", undo: await kill(site, [0, 1, 2]) };
    },
  },
  {
    name: "stop leader",
    kind: "process",
    async begin(site) {
      const leader = await site.leader();
      const server = site.cluster.brokers[leader] as ClusterServer;
      server.signal("SIGSTOP");
      return { what: `SIGSTOP of broker ${leader}, which leads most`, undo: () => server.signal("SIGCONT") };
    },
  },
  {
    name: "stop follower",
    kind: "process",
    async begin(site) {
      const follower = site.random.pick(others(site, await site.leader()));
      const server = site.cluster.brokers[follower] as ClusterServer;
      server.signal("SIGSTOP");
      return { what: `SIGSTOP of broker ${follower}`, undo: () => server.signal("SIGCONT") };
    },
  },
  {
    name: "terminate leader",
    kind: "process",
    async begin(site) {
      const leader = await site.leader();
      const server = site.cluster.brokers[leader] as ClusterServer;
      await server.stop("SIGTERM");
      return { what: `SIGTERM of broker ${leader}, which leads most`, undo: () => server.start() };
    },
  },
  {
    name: "rolling restart",
    kind: "process",
    async begin(site) {
      for (const broker of site.cluster.brokers) {
        await broker.stop("SIGTERM");
        await broker.start();
        await site.untilPlaced(RESTARTED_MS);
      }
      return { what: "SIGTERM and a start of one broker after the other", undo: () => {} };
    },
  },
  {
    name: "partition",
    kind: "network",
    async begin(site) {
      const { clients, etcd, lookups } = site.hosts;
      const alone = site.random.chance(0.5) ? await site.leader() : site.random.int(0, 2);
      const rest = [clients, ...etcd, ...lookups, ...others(site, alone).map((i) => host(site, i))];
      return { what: `broker ${alone} is cut off from everybody`, undo: cut(both(host(site, alone), rest)) };
    },
  },
  {
    name: "partition of two",
    kind: "network",
    async begin(site) {
      const leader = await site.leader();
      const other = site.random.pick(others(site, leader));
      return {
        what: `brokers ${leader} and ${other} are cut off from each other`,
        undo: cut(both(host(site, leader), [host(site, other)])),
      };
    },
  },
  {
    name: "one way",
    kind: "network",
    async begin(site) {
      const leader = await site.leader();
      const other = site.random.pick(others(site, leader));
      const [from, to] = site.random.chance(0.5) ? [leader, other] : [other, leader];
      return { what: `nothing gets from broker ${from} to broker ${to}`, undo: cut([[host(site, from), host(site, to)]]) };
    },
  },
  {
    name: "one way to all",
    kind: "network",
    async begin(site) {
      const mute = site.random.int(0, 2);
      const { clients, etcd } = site.hosts;
      const ways = [clients, ...etcd, ...others(site, mute).map((i) => host(site, i))].map((to) => [host(site, mute), to] as const);
      return { what: `nothing gets from broker ${mute} to anybody`, undo: cut(ways) };
    },
  },
  {
    name: "without etcd",
    kind: "network",
    async begin(site) {
      const without = site.random.chance(0.5) ? await site.leader() : site.random.int(0, 2);
      return { what: `broker ${without} is cut off from etcd`, undo: cut(both(host(site, without), site.hosts.etcd)) };
    },
  },
  {
    name: "no etcd",
    kind: "etcd",
    async begin(site) {
      const members = site.hosts.etcd.map((_, i) => i);
      for (const i of members) site.cluster.etcd.signal(i, "SIGSTOP");
      return {
        what: "SIGSTOP of all members of etcd",
        undo: () => {
          for (const i of members) site.cluster.etcd.signal(i, "SIGCONT");
        },
      };
    },
  },
  {
    name: "etcd leader",
    kind: "etcd",
    async begin(site) {
      const leader = await site.etcdLeader();
      site.cluster.etcd.signal(leader, "SIGKILL");
      return { what: `kill -9 of member ${leader} of etcd, which leads it`, undo: () => site.cluster.etcd.restart(leader) };
    },
  },
  {
    name: "full disk",
    kind: "disk",
    async begin(site) {
      site.disk.fill(LEFT_ON_DISK);
      return { what: "the disk of broker 2 is full", undo: () => site.disk.free() };
    },
  },
  {
    name: "clock of leader",
    kind: "clock",
    async begin(site) {
      return setClock(site, await site.leader());
    },
  },
  {
    name: "clock of follower",
    kind: "clock",
    async begin(site) {
      return setClock(site, site.random.pick(others(site, await site.leader())));
    },
  },
];
