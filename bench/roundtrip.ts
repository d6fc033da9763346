/**
 * Measures the time from a command to its OK, for bunsq and Go's nsqd, with mitata: `bun run bench:roundtrip`.
 *
 *     --bunsq=COMMAND   the command that starts bunsq (default dist/bunsq, or the source if it is not built)
 *     --only=REGEX      run the cases whose names match
 *
 * With one connection and one outstanding command this is the time that a producer sees if it waits for each answer. Both
 * brokers run at the same time; the one that is not measured is idle. The messages stay in a topic without channels.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bench, run, summary } from "mitata";
import { findNsqd, type Server, startServer } from "../test/support/server.ts";
import { type Load, LoadConnection } from "./load/connection.ts";
import { OkFrameCounter } from "./load/replies.ts";
import { mpubCommand, pubCommand } from "./load/wire.ts";

const BODY_BYTES = 200;
const BATCHES = [10, 100, 200, 1000];
const BINARY = join(import.meta.dir, "../dist/bunsq");

/** A connection that waits for the answer to each command. */
class Asking implements Load {
  private readonly replies = new OkFrameCounter();
  private answered = () => {};
  private rest: Buffer = Buffer.alloc(0);

  constructor(private readonly connection: LoadConnection) {
    connection.load = this;
  }

  /** Resolves with the OK. */
  ask(command: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.answered = resolve;
      this.rest = command;
      this.drain();
    });
  }

  end(): void {
    this.connection.end();
  }

  receive(data: Buffer): void {
    if (this.replies.count(data) > 0) this.answered();
  }

  drain(): void {
    const taken = Math.max(0, this.connection.write(this.rest, 0, this.rest.length));
    this.rest = this.rest.subarray(taken);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { bunsq: { type: "string" }, only: { type: "string" } } });
  const only = new RegExp(values.only ?? "");
  const servers: Server[] = [];
  try {
    const command = values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY, "--mode=broker"] : undefined);
    servers.push(await startServer(command === undefined ? {} : { command }));
    const nsqd = findNsqd();
    if (nsqd === undefined) console.log("skipped: no nsqd (set NSQD_BIN or put it on PATH); measuring bunsq alone");
    else servers.push(await startServer({ program: "nsqd", command: [nsqd] }));
    const askings: [string, Asking][] = [];
    for (const server of servers) askings.push([server.program, new Asking(await LoadConnection.identify(server.tcpPort))]);
    const commands: [string, Buffer][] = [
      [`PUB ${BODY_BYTES} B`, pubCommand(BODY_BYTES)],
      ...BATCHES.map((batch): [string, Buffer] => [`MPUB ${batch} × ${BODY_BYTES} B`, mpubCommand(batch, BODY_BYTES)]),
    ];
    for (const [title, command] of commands.filter(([title]) => only.test(title))) {
      summary(() => {
        for (const [program, asking] of askings) bench(`${title}: ${program}`, () => asking.ask(command));
      });
    }
    await run({ throw: true });
    for (const [, asking] of askings) asking.end();
  } finally {
    // Their data is deleted anyway, so a clean stop would only take time.
    await Promise.all(servers.map((server) => server.stop("SIGKILL")));
  }
}

await main();
process.exit(0);
