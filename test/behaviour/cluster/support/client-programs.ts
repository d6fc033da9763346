import { join } from "node:path";
import { missing } from "../../../support/needs.ts";
import { lines } from "../../discovery/support/follower.ts";
import { buildGoProgram } from "../../interop/support/go-program.ts";
import type { ClientJob } from "../clients/client-job.ts";

const CLIENTS = join(import.meta.dir, "../clients");
/** Complaints that are kept of each client. */
const MOST_COMPLAINTS = 30;

/** The client libraries. */
export type ClientKind = "ours" | "go-nsq" | "nsqjs" | "Youzan's go-nsq";

/** A program that does jobs with Youzan's go-nsq, where somebody has built one. It is no part of this repository, and nothing fetches it. */
const YOUZAN = process.env.BUNSQ_YOUZAN_CLIENT;

/** The commands of the client programs that can run here. */
export async function prepareClientPrograms(): Promise<ReadonlyMap<ClientKind, string[]>> {
  const programs = new Map<ClientKind, string[]>([["ours", [process.execPath, join(CLIENTS, "ours.mjs")]]]);
  if (missing("node") === undefined) programs.set("nsqjs", ["node", join(CLIENTS, "nsqjs.mjs")]);
  const go = await buildGoProgram(join(CLIENTS, "go-nsq"), "cluster-go-nsq");
  if ("program" in go) programs.set("go-nsq", [go.program]);
  if (YOUZAN !== undefined) programs.set("Youzan's go-nsq", [YOUZAN]);
  return programs;
}

/** A client's program at its job. */
export class ClientProcess {
  readonly complaints: string[] = [];
  private readonly child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  private readonly stopped = Promise.withResolvers<void>();

  /** @param onLine called with each line that is for the ledger */
  constructor(
    readonly name: string,
    command: readonly string[],
    job: ClientJob,
    private readonly onLine: (line: string) => void,
  ) {
    this.child = Bun.spawn([...command, JSON.stringify(job)], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    void this.listen();
    void this.listenAside();
  }

  /** It publishes nothing new. @returns when what was under way is acknowledged */
  finish(): Promise<void> {
    this.child.stdin.write("stop\n");
    this.child.stdin.flush();
    return this.stopped.promise;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }

  private async listen(): Promise<void> {
    for await (const line of lines(this.child.stdout)) {
      const kind = line[0];
      if (kind === "s") this.stopped.resolve();
      else if (kind === "a" || kind === "u" || kind === "d" || kind === "f" || kind === "x") this.onLine(line);
      else this.complain(line);
    }
  }

  private async listenAside(): Promise<void> {
    for await (const line of lines(this.child.stderr)) this.complain(line);
  }

  private complain(line: string): void {
    this.complaints.push(`${new Date().toISOString()} ${line}`);
    if (this.complaints.length > MOST_COMPLAINTS) this.complaints.shift();
  }
}
