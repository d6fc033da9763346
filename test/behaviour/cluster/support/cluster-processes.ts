import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EtcdPlace, RealEtcd } from "../../../support/etcd.ts";
import { MAIN, type Running, startProcess } from "../../../support/server.ts";

export const FROM_SOURCE: readonly string[] = [process.execPath, MAIN];
/** Lines of a server's log that are shown when something went wrong. */
const LINES_SHOWN = 25;

export interface ClusterOptions {
  /** Where members of etcd, lookups and brokers run, one each. Without places of etcd its members (one) are on this host. */
  readonly etcd?: readonly EtcdPlace[];
  readonly etcdMembers?: number;
  /** An etcd that is there already, and ends with the cluster. */
  readonly ownEtcd?: RealEtcd;
  readonly lookups: readonly EtcdPlace[];
  readonly brokers: readonly EtcdPlace[];
  /** The program, without its mode. */
  readonly program?: readonly string[];
  /** Flags of all brokers beside addresses, data path, lookups and etcd; and of all lookups. */
  readonly brokerFlags?: readonly string[];
  readonly lookupFlags?: readonly string[];
  /** The data path of each broker. Without it they are made in a temporary folder, which is removed at the end. */
  readonly dataPaths?: readonly string[];
}

/** One server over all its lives. Its addresses stay once it has them. */
export class ClusterServer {
  private running: Running | undefined;
  private tcpPort = 0;
  private httpPort = 0;

  constructor(
    readonly name: string,
    readonly place: EtcdPlace,
    private readonly command: () => string[],
  ) {}

  get tcp(): string {
    return `${this.place.host}:${this.tcpPort}`;
  }

  get http(): string {
    return `${this.place.host}:${this.httpPort}`;
  }

  /** Ports to call a server by that is on this host. */
  get ports(): { tcpPort: number; httpPort: number } {
    return { tcpPort: this.tcpPort, httpPort: this.httpPort };
  }

  get pid(): number {
    if (this.running === undefined) throw new Error(`${this.name} does not run`);
    return this.running.process.pid;
  }

  /** Whether its process is there; a stopped one (SIGSTOP) is. */
  get isRunning(): boolean {
    const process = this.running?.process;
    return process !== undefined && process.exitCode === null && process.signalCode === null;
  }

  get log(): string {
    return this.running?.log() ?? "";
  }

  /** The last lines of its log, for what went wrong. */
  get lastLines(): string {
    return `--- ${this.name}\n${this.log.split("\n").slice(-LINES_SHOWN).join("\n")}`;
  }

  /** @returns once it has its listeners; it may not be of its cluster yet */
  async start(): Promise<void> {
    const { place, tcpPort, httpPort } = this;
    const addresses = [`--tcp-address=${place.host}:${tcpPort}`, `--http-address=${place.host}:${httpPort}`];
    this.running = await startProcess(this.name, [...place.prefix, ...this.command(), ...addresses, `--broadcast-address=${place.host}`]);
    this.tcpPort = this.running.tcpPort;
    this.httpPort = this.running.httpPort;
  }

  signal(signal: "SIGSTOP" | "SIGCONT" | "SIGTERM"): void {
    this.running?.process.kill(signal);
  }

  /** Ends it, and waits until it is gone. */
  async stop(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    if (this.isRunning) await this.running?.stop(signal);
  }

  async call(method: "GET" | "POST", path: string): Promise<{ status: number; text: string }> {
    try {
      const response = await fetch(`http://${this.http}${path}`, { method, signal: AbortSignal.timeout(2_000) });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      return { status: 0, text: String(error) };
    }
  }
}

/** Etcd, lookups and brokers of one cluster, each in a process of its own. */
export class ClusterProcesses implements AsyncDisposable {
  readonly lookups: ClusterServer[];
  readonly brokers: ClusterServer[];

  private constructor(
    readonly etcd: RealEtcd,
    private readonly options: ClusterOptions,
    private readonly folder: string,
  ) {
    const program = options.program ?? FROM_SOURCE;
    const common = etcd.endpoints.map((endpoint) => `--etcd-endpoints=${endpoint}`);
    this.lookups = options.lookups.map(
      (place, i) => new ClusterServer(`lookup ${i}`, place, () => [...program, "--mode=lookup", ...common, ...(options.lookupFlags ?? [])]),
    );
    this.brokers = options.brokers.map(
      (place, i) =>
        new ClusterServer(`broker ${i}`, place, () => [
          ...program,
          "--mode=broker",
          ...common,
          `--node-id=${i}`,
          `--data-path=${this.dataPath(i)}`,
          `--replication-address=${place.host}:0`,
          ...this.lookups.map(({ tcp }) => `--lookupd-tcp-address=${tcp}`),
          ...(options.brokerFlags ?? []),
        ]),
    );
  }

  /** @returns once all servers have their listeners */
  static async start(options: ClusterOptions): Promise<ClusterProcesses> {
    const places = options.etcd === undefined ? { members: options.etcdMembers ?? 1 } : { places: options.etcd };
    const etcd = options.ownEtcd ?? (await RealEtcd.start(places));
    const cluster = new ClusterProcesses(etcd, options, mkdtempSync(join(tmpdir(), "bunsq-cluster-")));
    try {
      await Promise.all(cluster.lookups.map((lookup) => lookup.start()));
      await Promise.all(cluster.brokers.map((broker) => broker.start()));
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  dataPath(broker: number): string {
    const path = this.options.dataPaths?.[broker] ?? join(this.folder, `broker-${broker}`);
    mkdirSync(path, { recursive: true });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.brokers, ...this.lookups].map((server) => server.stop("SIGKILL")));
    await this.etcd[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
