import { readdirSync } from "node:fs";
import { join } from "node:path";
import { missing } from "../../../support/needs.ts";
import { type Server, until } from "../../../support/server.ts";

/** Has the kernel's calls of a running broker fail, at files that are there when it begins, until it is disposed of. */
export class FailingCalls implements AsyncDisposable {
  private constructor(private readonly tracer: Bun.Subprocess<"ignore", "ignore", "pipe">) {}

  /** @param files paths below the broker's folder. It is waited for one */
  static async begin(server: Server, calls: readonly string[], error: string, files: RegExp): Promise<FailingCalls> {
    const directory = join(server.dataPath, "bunsq-data");
    let paths: string[] = [];
    await until(`there is a file ${files}`, () => {
      paths = readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((path) => files.test(path));
      return paths.length > 0;
    });
    const set = calls.join(",");
    const where = paths.flatMap((path) => ["-P", join(directory, path)]);
    const args = ["-f", "-o", "/dev/null", "-e", `trace=${set}`, "-e", `inject=${set}:error=${error}`, ...where];
    const tracer = Bun.spawn(["strace", ...args, "-p", `${server.process.pid}`], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    let said = "";
    for await (const chunk of tracer.stderr) {
      said += Buffer.from(chunk).toString("latin1");
      if (said.includes("attached")) return new FailingCalls(tracer);
    }
    throw new Error(`strace: ${said}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tracer.kill();
    await this.tracer.exited;
  }
}

/** Why calls cannot be made to fail here; undefined: they can. */
export function whyNoStrace(): string | undefined {
  const reason = missing("strace");
  if (reason !== undefined) return reason;
  return Bun.spawnSync(["strace", "-o", "/dev/null", "true"]).success ? undefined : "strace may not trace";
}
