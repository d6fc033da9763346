import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { copyFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../../package.json" with { type: "json" };
import { embeddedParts, readExecutable } from "../../../scripts/build/executable.ts";
import { runsHere, TARGETS } from "../../../scripts/build/targets.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { startServer } from "../../support/server.ts";

const ROOT = join(import.meta.dir, "../../..");
const RELEASE = join(ROOT, "dist/release");

/** The build takes most of a minute and fetches the runtimes and native parts of all machines. */
const reason = process.env.BUNSQ_BUILD_ALL ? undefined : "BUNSQ_BUILD_ALL is not set";

const fileOf = (target: { name: string }) => `bunsq-${manifest.version}-${target.name}`;

describeUnless(reason)("npm run build -- --all", () => {
  test("makes a binary for each target, and checksums of all", () => {
    const build = Bun.spawnSync([process.execPath, "scripts/build.ts", "--all"], { cwd: ROOT, stdin: "ignore", stderr: "pipe" });
    expect([build.exitCode, build.stderr.toString()]).toEqual([0, ""]);
    expect(readdirSync(RELEASE).sort()).toEqual([...TARGETS.map(fileOf), "SHA256SUMS"].sort());
    const sums = readFileSync(join(RELEASE, "SHA256SUMS"), "utf8").trimEnd().split("\n");
    expect(sums).toEqual(
      TARGETS.map((target) => {
        const sum = createHash("sha256").update(readFileSync(join(RELEASE, fileOf(target))));
        return `${sum.digest("hex")}  ${fileOf(target)}`;
      }),
    );
  }, 300_000);

  for (const target of TARGETS) {
    test(`has ${target.name} with its own native parts`, () => {
      const { os, cpu, libc } = target;
      const bytes = readFileSync(join(RELEASE, fileOf(target)));
      const program = readExecutable(bytes);
      expect([program.os, program.cpu]).toEqual([os, cpu]);
      if (os === "linux") expect(program.interpreter).toStartWith(libc === "musl" ? "/lib/ld-musl-" : "/lib");
      const kind = os === "darwin" ? `darwin-${cpu}` : `linux-${cpu}-${libc === "musl" ? "musl" : "gnu"}`;
      expect(embeddedParts(bytes)).toEqual([`crc32.${kind}`, `snappy.${kind}`]);
    }, 60_000);
  }

  for (const target of TARGETS.filter(runsHere)) {
    test(`has a ${target.name} that runs alone and compresses with its native part`, async () => {
      const folder = temporaryFolder();
      try {
        copyFileSync(join(RELEASE, fileOf(target)), join(folder, "bunsq"));
        await using server = await startServer({ command: [join(folder, "bunsq"), "broker"] });
        const client = await RawClient.connect(server.tcpPort);
        expect((await client.negotiate({ snappy: true })).snappy).toBeTrue();
        expect(await client.call("PUB packed", "x".repeat(10_000))).toBe("OK");
        client.close();
      } finally {
        removeFolder(folder);
      }
    }, 60_000);
  }
});
