import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../../test/support/server.ts";
import type { BarePeer } from "../load/bare-peer.ts";
import { commandBytes, isHttp } from "../load/publisher.ts";
import type { Load, ServerKind } from "../workloads.ts";

const BARE_PEER = join(import.meta.dir, "../load/bare-peer.ts");

/** A server under load: fresh, with a data path of its own that goes with it. */
export interface BenchServer {
  pid: number;
  tcpPort: number;
  /** 0: a bare peer of the TCP protocol. */
  httpPort: number;
  /** A broker, whose /stats can be asked; not a bare peer. */
  isBroker: boolean;
  /** What it logged, to be shown when something went wrong. */
  log(): string;
  stop(): Promise<void>;
}

/** How the brokers are started; the bare peers need nothing. */
export interface BrokerCommands {
  /** The command in front of the flags. */
  bunsq: string[];
  bunsqArgs: string[];
  nsqd: string[] | undefined;
  nsqdArgs: string[];
}

/** @param messages how many the load will bring: a bare source sends so many */
export async function startBenchServer(kind: ServerKind, load: Load, messages: number, commands: BrokerCommands): Promise<BenchServer> {
  switch (kind) {
    case "bunsq":
      return startBroker("bunsq", commands.bunsq, commands.bunsqArgs);
    case "nsqd":
      if (commands.nsqd === undefined) throw new Error("no nsqd");
      return startBroker("nsqd", commands.nsqd, commands.nsqdArgs);
    case "nsqd-0":
      if (commands.nsqd === undefined) throw new Error("no nsqd");
      return startBroker("nsqd", commands.nsqd, [...commands.nsqdArgs, "--mem-queue-size=0"]);
    case "bare":
      return startBarePeer(load, messages, false);
    case "bare-file":
      return startBarePeer(load, messages, true);
  }
}

async function startBroker(program: "bunsq" | "nsqd", command: string[], args: string[]): Promise<BenchServer> {
  const server = await startServer({ program, command, args });
  return {
    pid: server.process.pid,
    tcpPort: server.tcpPort,
    httpPort: server.httpPort,
    isBroker: true,
    log: server.log,
    stop: async () => {
      // Nothing on its data path is needed any more: an orderly end would only take time.
      await server.stop("SIGKILL");
    },
  };
}

async function startBarePeer(load: Load, messages: number, withFile: boolean): Promise<BenchServer> {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-bare-"));
  const options = barePeerFor(load, messages, withFile ? join(folder, "messages") : undefined);
  const child = Bun.spawn([process.execPath, BARE_PEER, JSON.stringify(options)], { stdout: "pipe", stderr: "inherit", stdin: "ignore" });
  const reader = child.stdout.getReader();
  const port = Number(new TextDecoder().decode((await reader.read()).value));
  if (!(port > 0)) throw new Error("the bare peer did not start");
  const http = options.kind === "sink" && options.protocol === "http";
  return {
    pid: child.pid,
    tcpPort: http ? 0 : port,
    httpPort: http ? port : 0,
    isBroker: false,
    log: () => "",
    stop: async () => {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function barePeerFor(load: Load, messages: number, file: string | undefined): BarePeer {
  switch (load.kind) {
    case "publish": {
      const protocol = isHttp(load.publish) ? "http" : "tcp";
      return { kind: "sink", commandBytes: commandBytes(load.publish), protocol, ...(file === undefined ? {} : { appendTo: file }) };
    }
    case "drain":
      return {
        kind: "source",
        messages,
        bodyBytes: load.bodyBytes,
        rdy: load.drain.rdy,
        ...(file === undefined ? {} : { readFrom: file }),
      };
    default:
      throw new Error(`no bare peer for ${load.kind}`);
  }
}
