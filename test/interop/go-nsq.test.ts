import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cachedFolder, runStep } from "./support/cache.ts";
import { type Client, describeClient } from "./support/suite.ts";

const SOURCE = join(import.meta.dir, "go-nsq");

/** Builds the program once; a program that does not compile is a failure, a machine without Go or network is not. */
async function prepare(): Promise<Client | string> {
  const go = Bun.which("go");
  if (go === null) return "no go";
  const inputs = ["main.go", "go.mod", "go.sum"].map((file) => readFileSync(join(SOURCE, file), "utf8"));
  const built = await cachedFolder("go-nsq", inputs, async (folder) => {
    const download = await runStep([go, "mod", "download"], SOURCE);
    if (download.code !== 0) return `no go-nsq: ${download.output}`;
    const build = await runStep([go, "build", "-mod=readonly", "-o", join(folder, "client"), "."], SOURCE);
    if (build.code !== 0) throw new Error(`go build: ${build.output}`);
    return undefined;
  });
  return "missing" in built ? built.missing : { name: "go-nsq", command: [join(built.folder, "client")] };
}

describeClient("go-nsq", await prepare());
