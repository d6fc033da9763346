import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Running, startProcess } from "../../test/support/server.ts";

const SOURCE = join(import.meta.dir, "../../src/main.ts");
const BINARY = join(import.meta.dir, "../../dist/bunsq");

/** The binary if it was built, else the source. */
const OUR_COMMAND = existsSync(BINARY) ? BINARY : `${process.execPath} ${SOURCE}`;

export type Console = Running;

/** The flags of a bench of the console. */
export const SITE_FLAGS = {
  brokers: { type: "string", default: "20" },
  topics: { type: "string", default: "100" },
  channels: { type: "string", default: "3" },
  clients: { type: "string", default: "50000" },
  bunsq: { type: "string", default: OUR_COMMAND },
} as const;

/** How much the simulated brokers have; topics by broker, channels by topic, clients in all. */
export interface ClusterCounts {
  brokers: string;
  topics: string;
  channels: string;
  clients: string;
}

/** Simulated brokers, in one process (bench/load/fake-brokers.ts). */
export async function startFakes({ brokers, topics, channels, clients }: ClusterCounts): Promise<{ addresses: string[]; stop(): void }> {
  const program = join(import.meta.dir, "../load/fake-brokers.ts");
  const child = Bun.spawn([process.execPath, program, brokers, topics, channels, clients], { stdin: "pipe", stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const ports = Buffer.from(value ?? [])
    .toString()
    .trim()
    .split(" ");
  return { addresses: ports.map((port) => `127.0.0.1:${port}`), stop: () => void child.stdin.end() };
}

/** The console over these brokers, in a process of its own. */
export function startConsole(command: string, brokers: string[]): Promise<Console> {
  const addresses = brokers.map((broker) => `--nsqd-http-address=${broker}`);
  return startProcess("console", [...command.split(" "), "--mode=admin", "--http-address=127.0.0.1:0", ...addresses], ["HTTP"]);
}
