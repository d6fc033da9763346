import { expect, test } from "bun:test";
import { join } from "node:path";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MAIN, startProcess, until } from "../../support/server.ts";
import { runCommand } from "./support/cli.ts";

// test/cli/commands/drain.test.ts has a broker whose HTTP is on a path.

test("commands reach a broker by the abstract name of its unix socket, beside others", async () => {
  const folder = temporaryFolder();
  const name = `@${folder}`;
  const where = ["--tcp-address=127.0.0.1:0", `--http-address=${name}`, `--data-path=${folder}`];
  const running = await startProcess("bunsq", [process.execPath, MAIN, "--mode=broker", ...where], ["TCP"]);
  await until("it listens", () => running.log().includes(`HTTP: listening on ${name}\n`));
  expect(await runCommand({}, ["topic", "create", "t", `--broker=${name}`])).toMatchObject({ code: 0, stderr: "" });
  const some = await runCommand({}, ["topic", "pause", "t", `--broker=${name},127.0.0.1:1`]);
  expect([some.code, some.stdout]).toEqual([1, `paused topic t at ${name}\n`]);
  expect(some.stderr).toContain("127.0.0.1:1");
  expect(await running.stop()).toBe(0);
  removeFolder(folder);
}, 30_000);

test("a command says which path it cannot reach, and why", async () => {
  const folder = temporaryFolder();
  for (const [path, why] of [
    [join(folder, "none.sock"), "ENOENT"],
    [`/${"x".repeat(200)}`, "ENAMETOOLONG"],
  ] as const) {
    const { code, stderr } = await runCommand({ BUNSQ_BROKER: path }, ["topics"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`cannot reach ${path} over HTTP (${why}`)]);
  }
  removeFolder(folder);
}, 30_000);
