import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram, missing } from "../../../support/needs.ts";
import { cachedFolder, runStep } from "./cache.ts";
import { buildGoProgram } from "./go-program.ts";

const INTEROP = join(import.meta.dir, "..");

/** A client library, and the program of ours that uses it. */
export interface Client {
  name: string;
  /** The program and its first arguments; the broker's `host:port`, a topic and the act are added. */
  command: string[];
  /** For the program's environment. */
  env?: Record<string, string>;
}

/** Applications run nsqjs under Node; where there is none, Bun runs it. */
export function prepareNsqjs(): Client {
  return { name: "nsqjs", command: [findProgram("node") ?? process.execPath, join(INTEROP, "nsqjs/client.mjs")] };
}

/** @returns the client, or in words why it cannot run here */
export async function prepareGoNsq(): Promise<Client | string> {
  const built = await buildGoProgram(join(INTEROP, "go-nsq"), "go-nsq");
  return "missing" in built ? built.missing : { name: "go-nsq", command: [built.program] };
}

/**
 * Installs pynsq into an environment of its own, once; a machine without Python or network has none.
 *
 * @returns the client, or in words why it cannot run here
 */
export async function preparePynsq(): Promise<Client | string> {
  const python = findProgram("python3");
  if (python === undefined) return missing("python3") ?? "";
  const source = join(INTEROP, "pynsq");
  const requirements = join(source, "requirements.txt");
  const version = await runStep([python, "--version"], source);
  const installed = await cachedFolder("pynsq", [version.output, readFileSync(requirements, "utf8")], async (folder) => {
    const venv = await runStep([python, "-m", "venv", folder], source);
    if (venv.code !== 0) return `no python3 venv: ${venv.output}`;
    const pip = await runStep(
      [join(folder, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
      source,
    );
    return pip.code === 0 ? undefined : `no pynsq: ${pip.output}`;
  });
  return "missing" in installed
    ? installed.missing
    : { name: "pynsq", command: [join(installed.folder, "bin/python"), join(source, "client.py")] };
}
