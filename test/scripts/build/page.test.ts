import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { embedPage } from "../../../scripts/build/page.ts";
import { PageServer } from "../../../src/admin/assets/page-server.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";

const ROOT = join(import.meta.dir, "../../..");

/** Prints the names and lengths of what the page server has, in each encoding. */
const PROGRAM = `
const { PageServer } = await import(${JSON.stringify(join(ROOT, "src/admin/assets/page-server.ts"))});
const server = await PageServer.open("/nsq");
const ask = (path, encoding) => server.respond(new Request("http://console/", { headers: { "accept-encoding": encoding } }), path);
const index = await ask("/", "identity").text();
const sizes = {};
for (const [, name] of index.matchAll(/"\\.\\/([^"]+)"/g)) {
  sizes[name] = await Promise.all(["identity", "gzip", "br"].map(async (encoding) => (await ask("/" + name, encoding).bytes()).length));
}
console.log(JSON.stringify({ index, sizes }));
`;

interface Printed {
  index: string;
  sizes: Record<string, [number, number, number]>;
}

async function expected(): Promise<Printed> {
  const server = await PageServer.open("/nsq");
  const ask = (path: string, encoding: string) =>
    server.respond(new Request("http://console/", { headers: { "accept-encoding": encoding } }), path);
  const index = await ask("/", "identity").text();
  const sizes: Printed["sizes"] = {};
  for (const [, name = ""] of index.matchAll(/"\.\/([^"]+)"/g)) {
    const size = async (encoding: string) => (await ask(`/${name}`, encoding).bytes()).length;
    sizes[name] = [await size("identity"), await size("gzip"), await size("br")];
  }
  return { index, sizes };
}

function run(command: string[], folder: string): Printed {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: folder, stdin: "ignore", stderr: "pipe", env: {} });
  expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  return JSON.parse(stdout.toString()) as Printed;
}

test("a binary and a bundle have the page in them, and need neither source nor packages", async () => {
  const folder = temporaryFolder();
  try {
    const entry = join(folder, "program.ts");
    writeFileSync(entry, PROGRAM);
    const plugin = await embedPage(ROOT, join(folder, "built"));
    const common = { entrypoints: [entry], root: folder, target: "bun" as const, plugins: [plugin] };
    await Bun.build({ ...common, minify: true, bytecode: true, format: "esm", compile: { outfile: join(folder, "binary") } });
    await Bun.build({ ...common, outdir: join(folder, "bundle"), naming: { asset: "page/[name]-[hash].[ext]" } });
    removeFolder(join(folder, "built"));
    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere);
    const page = await expected();
    expect(Object.keys(page.sizes).length).toBeGreaterThanOrEqual(3);
    expect(run([join(folder, "binary")], elsewhere)).toEqual(page);
    expect(run([process.execPath, join(folder, "bundle/program.js")], elsewhere)).toEqual(page);
  } finally {
    removeFolder(folder);
  }
}, 60_000);
