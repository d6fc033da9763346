import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildGoProgram } from "../../test/behaviour/interop/support/go-program.ts";
import { findProgram, missing } from "../../test/support/needs.ts";
import type { Act } from "./job.ts";

export const CLIENT_NAMES = ["bunsq-bun", "bunsq-node", "nsqjs", "go-nsq"] as const;
export type ClientName = (typeof CLIENT_NAMES)[number];

/** A client library, and the program that uses it. */
export interface BenchClient {
  readonly name: ClientName;
  /** The job is added. */
  readonly command: readonly string[];
  /** How many messages each act has, so that it takes one to two seconds. */
  readonly messages: Readonly<Record<Act, number>>;
}

/** The clients that can run here, and why others cannot. */
export interface FoundClients extends Disposable {
  readonly clients: readonly BenchClient[];
  readonly missing: readonly string[];
}

const ROOT = join(import.meta.dir, "../..");

/** Makes the client as the package has it. @returns its module for Node */
function compilePackage(folder: string): string {
  const tsc = join(ROOT, "node_modules/.bin/tsc");
  const { exitCode, stdout } = Bun.spawnSync([tsc, "-p", "tsconfig.package.json", "--outDir", folder], { cwd: ROOT });
  if (exitCode !== 0) throw new Error(`tsc:\n${stdout}`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  return join(folder, "client/node.js");
}

/** @param wanted the clients to look for */
export async function findClients(wanted: readonly ClientName[]): Promise<FoundClients> {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-bench-client-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const clients: BenchClient[] = [];
    const reasons: string[] = [];
    for (const name of wanted) {
      const found = await find(name, folder);
      if (typeof found === "string") reasons.push(`${name}: ${found}`);
      else clients.push(found);
    }
    return { clients, missing: reasons, [Symbol.dispose]: remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** @returns the client, or in words why it cannot run here */
async function find(name: ClientName, folder: string): Promise<BenchClient | string> {
  const program = (file: string) => join(import.meta.dir, file);
  const node = findProgram("node");
  switch (name) {
    case "bunsq-bun":
      return {
        name,
        command: [process.execPath, program("bunsq.mjs"), join(ROOT, "src/client/bun.ts")],
        messages: { batches: 2_000_000, consume: 2_000_000, singles: 1_000_000 },
      };
    case "bunsq-node":
      if (node === undefined) return missing("node") ?? "";
      return {
        name,
        command: [node, program("bunsq.mjs"), compilePackage(folder)],
        messages: { batches: 2_000_000, consume: 1_000_000, singles: 1_000_000 },
      };
    case "nsqjs":
      if (node === undefined) return missing("node") ?? "";
      return {
        name,
        command: [node, program("nsqjs.mjs")],
        messages: { batches: 200_000, consume: 50_000, singles: 50_000 },
      };
    case "go-nsq": {
      const built = await buildGoProgram(program("go-nsq"), "bench-go-nsq");
      if ("missing" in built) return built.missing;
      return {
        name,
        command: [built.program],
        messages: { batches: 2_000_000, consume: 200_000, singles: 200_000 },
      };
    }
  }
}
