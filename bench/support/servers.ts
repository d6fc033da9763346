import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../../test/support/server.ts";
import type { BarePeer } from "../load/bare-peer.ts";
import { commandBytes, isHttp } from "../load/publisher.ts";
import { topicNames } from "../load/wire.ts";
import type { Load, ServerKind } from "../workloads.ts";

const BARE_PEER = join(import.meta.dir, "../load/bare-peer.ts");

/** A newly started server with its own data path, which is deleted when it stops. */
export interface BenchServer {
  pid: number;
  tcpPort: number;
  /** 0 for a bare peer of the TCP protocol. */
  httpPort: number;
  /** Whether it is a broker with /stats, and not a bare peer. */
  isBroker: boolean;
  /** Its log, which is shown if a run fails. */
  log(): string;
  stop(): Promise<void>;
}

/** The commands that start the brokers. */
export interface BrokerCommands {
  /** The command without flags. */
  bunsq: string[];
  bunsqArgs: string[];
  /** Another build of bunsq, to compare with; undefined: none. */
  baseline: string[] | undefined;
  nsqd: string[] | undefined;
  nsqdArgs: string[];
}

/** @param messages the number of messages of the load, which a bare source sends */
export async function startBenchServer(kind: ServerKind, load: Load, messages: number, commands: BrokerCommands): Promise<BenchServer> {
  switch (kind) {
    case "bunsq":
      return startBroker("bunsq", commands.bunsq, commands.bunsqArgs);
    case "traced":
      return traceTopics(await startBroker("bunsq", commands.bunsq, commands.bunsqArgs), load);
    case "baseline":
      if (commands.baseline === undefined) throw new Error("no baseline");
      return startBroker("bunsq", commands.baseline, commands.bunsqArgs);
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
      // Its data is deleted anyway, so a clean stop would only take time.
      await server.stop("SIGKILL");
    },
  };
}

/** Creates the load's topics, and has all their messages traced. */
async function traceTopics(server: BenchServer, load: Load): Promise<BenchServer> {
  const topics = "publish" in load ? (load.publish.topics ?? 1) : 1;
  for (const name of topicNames(topics)) {
    for (const path of [`/topic/create?topic=${name}`, `/topic/trace?topic=${name}&on=true`]) {
      const response = await fetch(`http://127.0.0.1:${server.httpPort}${path}`, { method: "POST" });
      if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
      await response.body?.cancel();
    }
  }
  return server;
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
