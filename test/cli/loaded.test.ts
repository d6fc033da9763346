import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { MAIN, startServer, until } from "../support/server.ts";

const SRC = join(import.meta.dir, "../../src");

/** Each loads node's streams or native code: some hundred kilobytes to some megabytes of an idle process. */
const HEAVY = /^(node:)?(net|tls|zlib|crypto|inspector|readline|stream|dns)(\/promises)?$|^bun:ffi$|^(snappy|@node-rs\/crc32)$/;

/** What the program loads before it knows what to run: files below src/, and other modules by their names. */
function loadedAtStart(): string[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const found = new Set<string>();
  const visit = (path: string) => {
    if (found.has(path)) return;
    found.add(path);
    // Imports of types alone are not among them.
    for (const { path: to, kind } of transpiler.scanImports(readFileSync(path, "utf8"))) {
      if (kind !== "import-statement") continue;
      if (to.endsWith(".ts")) visit(join(dirname(path), to));
      else found.add(to);
    }
  };
  visit(join(SRC, "main.ts"));
  return [...found].map((name) => (name.startsWith("/") ? relative(SRC, name) : name));
}

test("a server's process loads neither commands nor tools, the client, the console or the cluster, and no heavy module before it is needed", () => {
  const loaded = loadedAtStart();
  expect(loaded).toContain("broker/broker.ts");
  expect(loaded).toContain("tools/tools.ts");
  const wrong = loaded.filter((name) => /^(admin|client|cluster|cli\/commands|tools\/(?!tools\.ts))/.test(name) || HEAVY.test(name));
  expect(wrong).toEqual([]);
});

test("nothing of src/cluster is loaded by a broker that is alone, whatever it is asked for, and it is with --etcd-endpoints", async () => {
  const command = [process.execPath, "--preload", join(import.meta.dir, "preload/cluster-modules.ts"), MAIN, "--mode=broker"];
  await using alone = await startServer({ command });
  for (const [method, path] of [
    ["POST", "/pub?topic=t"],
    ["POST", "/topic/create?topic=u&partition_num=2"],
    ["POST", "/channel/create?topic=u&channel=c"],
    ["GET", "/stats?format=json"],
    ["GET", "/metrics"],
    ["GET", "/ready"],
    ["GET", "/cluster/replicas"],
    ["POST", "/drain"],
  ] as const) {
    const response = await alone.http(method, path, method === "POST" ? "x" : undefined);
    expect(response.status).toBe(path === "/cluster/replicas" ? 400 : 200);
    await response.arrayBuffer();
  }
  await alone.process.exited;
  expect(alone.log()).not.toContain("loaded ");
  // Nobody has to be there.
  const args = ["--etcd-endpoints=127.0.0.1:1", "--replication-address=127.0.0.1:0"];
  await using member = await startServer({ command, args });
  await until("its modules are loaded", () => member.log().includes("loaded "));
}, 30_000);
