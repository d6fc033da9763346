import { existsSync } from "node:fs";
import { missing } from "../../../support/needs.ts";

/** Numbers the networks of this process, because each needs its own names. */
let networks = 0;

/** Why no networks can be made here; undefined if they can. */
export function noNetworks(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "network namespaces need root on Linux";
  const noProgram = missing("ip");
  if (noProgram !== undefined) return noProgram;
  const name = `bunsq-try-${process.pid}`;
  const { exitCode, stderr } = Bun.spawnSync(["ip", "netns", "add", name], { stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0 || !existsSync(`/var/run/netns/${name}`)) return `no network namespaces: ${stderr.toString().trim()}`;
  const bridge = Bun.spawnSync(["ip", "-n", name, "link", "add", "br0", "type", "bridge"], { stderr: "pipe" });
  Bun.spawnSync(["ip", "netns", "delete", name]);
  return bridge.exitCode === 0 ? undefined : `no bridges: ${bridge.stderr.toString().trim()}`;
}

/** A host of a network. */
export interface NetworkHost {
  readonly host: string;
  readonly namespace: string;
  /** The command that runs a program on it. */
  readonly prefix: string[];
}

/** Nobody has this one. */
const NOBODYS_MAC = "02:00:00:00:ff:ff";

/**
 * No packet of one host gets to another from now on. Packets the other way do. The sender does not notice, as it would if it had no route:
 * it only takes another for the one that it sends to.
 */
export function blockWay(from: NetworkHost, to: NetworkHost): void {
  ip("-n", from.namespace, "neighbour", "replace", to.host, "lladdr", NOBODYS_MAC, "dev", "eth0", "nud", "permanent");
}

/** Undoes blockWay(). */
export function openWay(from: NetworkHost, to: NetworkHost): void {
  ip("-n", from.namespace, "neighbour", "delete", to.host, "dev", "eth0");
}

/** Hosts in network namespaces on a switch that can be turned off. The machine's network is not touched. */
export class Network implements Disposable {
  private readonly name = `bunsq-${process.pid}-${networks++}`;
  private readonly namespaces: string[] = [];

  constructor() {
    this.addNamespace(this.hub);
    ip("-n", this.hub, "link", "add", "br0", "type", "bridge");
    this.connect();
  }

  addHost(): NetworkHost {
    const number = this.namespaces.length;
    const namespace = `${this.name}-${number}`;
    const host = `10.77.0.${number}`;
    this.addNamespace(namespace);
    ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", `port${number}`, "netns", this.hub);
    ip("-n", namespace, "address", "add", `${host}/24`, "dev", "eth0");
    ip("-n", namespace, "link", "set", "eth0", "up");
    ip("-n", this.hub, "link", "set", `port${number}`, "master", "br0");
    ip("-n", this.hub, "link", "set", `port${number}`, "up");
    return { host, namespace, prefix: ["ip", "netns", "exec", namespace] };
  }

  /** From now on no packet gets from one host to another. No host notices, because the links stay up. */
  cut(): void {
    ip("-n", this.hub, "link", "set", "br0", "down");
  }

  connect(): void {
    ip("-n", this.hub, "link", "set", "br0", "up");
  }

  [Symbol.dispose](): void {
    for (const namespace of this.namespaces) ip("netns", "delete", namespace);
  }

  private get hub(): string {
    return `${this.name}-hub`;
  }

  private addNamespace(namespace: string): void {
    ip("netns", "add", namespace);
    this.namespaces.push(namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
  }
}

function ip(...args: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...args], { stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.toString().trim()}`);
}
