import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { FuzzStream } from "../../support/mutation.ts";
import { Random } from "../../support/random.ts";
import type { Server } from "../../support/server.ts";
import { startServer, until } from "../../support/server.ts";
import { Exchange, type Kind } from "./exchange.ts";
import { httpStream } from "./http-stream.ts";
import { tcpStream } from "./tcp-stream.ts";

/** How many of the streams that ended last are suspected, beside the open ones, when the broker dies. */
const SUSPECTS = 400;

export function streamOf(kind: Kind, seed: number, index: number): FuzzStream {
  return kind === "tcp" ? tcpStream(seed, index) : httpStream(seed, index);
}

/** A stream by its name in messages and in BUNSQ_FUZZ_ONLY: "tcp:17". */
export interface Part {
  kind: Kind;
  index: number;
}

/** Plays many streams at once and stops at the first thing that goes wrong. */
export class FuzzRun {
  /** What went wrong, with the streams to suspect. */
  failure: Error | undefined;
  played = 0;
  private readonly open = new Set<Part>();
  private readonly recent: Part[] = [];

  constructor(
    private readonly server: Server,
    private readonly seed: number,
  ) {}

  /** Plays streams `from` to `to` (not included) of a kind, `lanes` at a time. */
  async play(kind: Kind, from: number, to: number, lanes: number): Promise<void> {
    let next = from;
    const lane = async () => {
      while (next < to && this.failure === undefined) await this.playOne({ kind, index: next++ });
    };
    await Promise.all(Array.from({ length: Math.min(lanes, to - from) }, lane));
  }

  /** The streams that were open or had just ended, latest first. */
  suspects(): Part[] {
    return [...this.open, ...this.recent.toReversed()];
  }

  fail(what: string): void {
    this.failure ??= new Error(what);
  }

  private async playOne(part: Part): Promise<void> {
    this.open.add(part);
    try {
      const violation = await playAlone(this.server, this.seed, part);
      if (violation !== undefined) this.fail(`stream ${part.kind}:${part.index}: ${violation}`);
    } catch (error) {
      this.fail(`stream ${part.kind}:${part.index} got no connection: ${(error as Error).message}`);
    }
    this.open.delete(part);
    this.recent.push(part);
    if (this.recent.length > SUSPECTS) this.recent.shift();
    this.played++;
  }
}

export function playAlone(server: Server, seed: number, { kind, index }: Part): Promise<string | undefined> {
  return Exchange.play(kind, server, streamOf(kind, seed, index), Random.forPart(~seed, index));
}

/** Plays suspects one after the other on a fresh broker. @returns the first after which that one is dead or silent */
export async function findCulprit(server: Server, seed: number, suspects: Part[]): Promise<Part | undefined> {
  const fresh = await startServer({ program: server.program });
  try {
    for (const part of suspects) {
      const violation = await playAlone(fresh, seed, part).catch((error: Error) => error.message);
      const isWell = await fresh.http("GET", "/ping").then(
        (response) => response.ok,
        () => false,
      );
      if (violation !== undefined || !isWell) return part;
    }
    return undefined;
  } finally {
    await fresh.stop("SIGKILL");
  }
}

/** What a broker holds open, as the kernel and as the broker see it. */
export interface Holdings {
  /** File descriptors of sockets; a leaked connection keeps one, whatever its state. */
  descriptors: number;
  files: number;
  /** Connections to the TCP port that are not closed. */
  sockets: number;
  /** Consumers and producers in /stats. */
  clients: number;
}

export async function holdings(server: Server): Promise<Holdings> {
  const folder = `/proc/${server.process.pid}/fd`;
  const links = readdirSync(folder).map(linkOf(folder));
  const descriptors = links.filter((link) => link.startsWith("socket:")).length;
  const files = links.filter((link) => link.startsWith("/")).length;
  const table = readFileSync("/proc/net/tcp", "latin1");
  const port = server.tcpPort.toString(16).toUpperCase().padStart(4, "0");
  // Columns: number, local address:port, remote, state. 0A is the listener.
  const sockets = table.split("\n").filter((row) => new RegExp(`^ *\\d+: [0-9A-F]{8}:${port} \\S+ (?!0A|06)`).test(row)).length;
  const stats = (await (await server.http("GET", "/stats?format=json")).json()) as {
    topics: { channels: { clients: unknown[] | null }[] }[];
    producers: unknown[] | null;
  };
  const consumers = stats.topics.flatMap((topic) => topic.channels.flatMap((channel) => channel.clients ?? [])).length;
  return { descriptors, files, sockets, clients: consumers + (stats.producers ?? []).length };
}

function linkOf(folder: string): (name: string) => string {
  return (name) => {
    try {
      return readlinkSync(`${folder}/${name}`);
    } catch {
      return ""; // closed meanwhile
    }
  };
}

/** Waits until the broker holds no more than before, but for some kept-alive HTTP connections and files of deferred messages. */
export async function untilHoldingsReturn(server: Server, before: Holdings): Promise<void> {
  let now = before;
  await until(
    "connections and files are back to where they were",
    async () => {
      now = await holdings(server);
      return (
        now.sockets === before.sockets &&
        now.clients === before.clients &&
        now.descriptors <= before.descriptors + KEPT_ALIVE &&
        now.files <= before.files + FILES_MARGIN
      );
    },
    20_000,
  ).catch((error: Error) => {
    throw new Error(`${error.message}: before ${JSON.stringify(before)}, now ${JSON.stringify(now)}`);
  });
}

/** HTTP connections of the test's own that fetch() keeps for its next call. */
const KEPT_ALIVE = 4;
/** Messages deferred by up to an hour keep their file until they are due, also when their topic is gone. */
const FILES_MARGIN = 24;
