import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram, missing } from "../../../support/needs.ts";
import { cachedFolder, runStep } from "./cache.ts";

/**
 * Builds a program that uses go-nsq, once; a program that does not compile is a failure, a machine without Go or network is not.
 *
 * @param source a folder with main.go, go.mod and go.sum
 * @param name of the folder that keeps the program
 * @returns its path, or in words why it cannot be built here
 */
export async function buildGoProgram(source: string, name: string): Promise<{ program: string } | { missing: string }> {
  const go = findProgram("go");
  if (go === undefined) return { missing: missing("go") ?? "" };
  const inputs = ["main.go", "go.mod", "go.sum"].map((file) => readFileSync(join(source, file), "utf8"));
  const built = await cachedFolder(name, inputs, async (folder) => {
    const download = await runStep([go, "mod", "download"], source);
    if (download.code !== 0) return `no go-nsq: ${download.output}`;
    const build = await runStep([go, "build", "-mod=readonly", "-o", join(folder, "client"), "."], source);
    if (build.code !== 0) throw new Error(`go build: ${build.output}`);
    return undefined;
  });
  return "missing" in built ? built : { program: join(built.folder, "client") };
}
