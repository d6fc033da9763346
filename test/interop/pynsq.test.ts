import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cachedFolder, runStep } from "./support/cache.ts";
import { type Client, describeClient } from "./support/suite.ts";

const SOURCE = join(import.meta.dir, "pynsq");
const REQUIREMENTS = join(SOURCE, "requirements.txt");

/** Installs pynsq into an environment of its own, once; a machine without Python or network has none. */
async function prepare(): Promise<Client | string> {
  const python = Bun.which("python3");
  if (python === null) return "no python3";
  const version = await runStep([python, "--version"], SOURCE);
  const installed = await cachedFolder("pynsq", [version.output, readFileSync(REQUIREMENTS, "utf8")], async (folder) => {
    const venv = await runStep([python, "-m", "venv", folder], SOURCE);
    if (venv.code !== 0) return `no python3 venv: ${venv.output}`;
    const pip = await runStep(
      [join(folder, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS],
      SOURCE,
    );
    return pip.code === 0 ? undefined : `no pynsq: ${pip.output}`;
  });
  return "missing" in installed
    ? installed.missing
    : { name: "pynsq", command: [join(installed.folder, "bin/python"), join(SOURCE, "client.py")] };
}

describeClient("pynsq", await prepare());
