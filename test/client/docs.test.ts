import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { cleanEnvironment } from "../support/server.ts";
import { startStand } from "./support/stand.ts";

const ROOT = join(import.meta.dir, "../..");

test("each program in docs/client.md runs, in their order", async () => {
  await using stand = await startStand("bunsq");
  const { tcp, http, lookup } = stand.addresses;
  const addresses: Record<string, string> = { "127.0.0.1:4150": tcp, "127.0.0.1:4151": http, "127.0.0.1:4161": lookup };
  const page = readFileSync(join(ROOT, "docs/client.md"), "utf8");
  const programs = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, program = ""]) => program);
  expect(programs.length).toBeGreaterThan(5);
  const folder = temporaryFolder();
  try {
    mkdirSync(join(folder, "node_modules"));
    const entry = JSON.stringify(join(ROOT, "src/client/bun.ts"));
    mkdirSync(join(folder, "node_modules/bunsq"));
    writeFileSync(join(folder, "node_modules/bunsq/package.json"), '{"name":"bunsq","type":"module","exports":{"./client":"./client.js"}}');
    writeFileSync(join(folder, "node_modules/bunsq/client.js"), `export * from ${entry};\n`);
    const outputs: string[] = [];
    for (const [i, program] of programs.entries()) {
      const file = join(folder, `program${i}.mjs`);
      writeFileSync(
        file,
        program.replace(/127\.0\.0\.1:\d+/g, (address) => addresses[address] ?? address),
      );
      const child = Bun.spawn([process.execPath, file], { cwd: folder, stdout: "pipe", stderr: "inherit", env: cleanEnvironment() });
      outputs.push(await new Response(child.stdout).text());
      expect([i, await child.exited]).toEqual([i, 0]);
    }
    expect(outputs[1]).toBe("hello\n");
    expect(outputs[4]?.trimEnd().split("\n")).toHaveLength(6);
    expect(outputs[5]?.trimEnd().split("\n")).toEqual(expect.arrayContaining(["customer 7 eu undefined 0 paid"]));
    expect(outputs[6]).toBe("INVALID_TOPIC\n");
    expect(outputs[7]?.trimEnd().split("\n")).toHaveLength(7);
  } finally {
    removeFolder(folder);
  }
}, 60_000);
