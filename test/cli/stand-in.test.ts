import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { adminFlags } from "../../src/cli/admin-flags.ts";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { configKey } from "../../src/cli/config-file.ts";
import type { Flag } from "../../src/cli/flag.ts";
import { allFlags } from "../../src/cli/flags.ts";
import { describeUnless, findProgram, missing, testUnless } from "../support/needs.ts";
import { MAIN, type Running, type Server, startProcess, startServer } from "../support/server.ts";
import { commandLines, endingOf, makeFiles } from "../support/stand-in.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bunsq-stand-in-"));
  makeFiles(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describeUnless(missing("nsqd", "nsqlookupd", "nsqadmin"))("under the name", () => {
  for (const program of ["nsqd", "nsqlookupd", "nsqadmin"] as const) {
    const theirs = findProgram(program) ?? "";
    for (const args of commandLines(program)) {
      test(`${program}, ${args.join(" ")} ends as Go's does`, () => {
        const { firstError: theirError, ...expected } = endingOf([theirs, ...args], folder);
        const { firstError, ...ending } = endingOf([process.execPath, MAIN, program, ...args], folder);
        expect(ending).toEqual(expected);
        // The errors of Go's flag package. Errors of the programs themselves differ in their words.
        if (/^(flag|bad flag|invalid value \S+ for flag -(node|msg|tombstone|log))/.test(theirError))
          expect(firstError).toStartWith(theirError);
      }, 30_000);
    }
  }
});

/** The examples in NSQ's source, which exist if Go has fetched it. */
const EXAMPLES = join(process.env.GOMODCACHE ?? join(homedir(), "go/pkg/mod"), "github.com/nsqio/nsq@v1.3.0/contrib");
const noExamples = existsSync(EXAMPLES) ? undefined : "no source of NSQ";

/** A value other than the default, as TOML. */
function otherValue(flag: Flag): string {
  switch (flag.kind) {
    case "bool":
      return String(!flag.default);
    case "int":
      return String(flag.default === flag.max ? flag.min : Math.min(flag.max, flag.default + 1));
    case "duration":
      // nsqd reads a number as milliseconds.
      return String(Math.min(flag.max, flag.default + 1));
    case "list":
      return '["127.0.0.1:1", "127.0.0.1:2"]';
    case "float":
      return "0.5";
    case "floats":
      return "[0.99, 0.5]";
    case "choice":
      return JSON.stringify(flag.values.find((value) => value !== flag.default));
    case "string":
      return flag.name.endsWith("-address") ? '"127.0.0.1:9"' : '"other"';
  }
}

describeUnless(missing("nsqd"))("a config file of nsqd's", () => {
  /** A broker's options by key, as it reports them. */
  const optionsOf = async (server: Server, keys: string[]) => {
    const told: Record<string, string> = {};
    for (const key of keys) {
      const response = await server.http("GET", `/config/${key}`);
      const text = `${response.status} ${await response.text()}`;
      // Ports also appear in the prefix of statsd's keys.
      told[key] = text.replace(
        new RegExp(`\\b(${server.tcpPort}|${server.httpPort})\\b|(?<=_)(${server.httpPort})(?=\\.)`),
        "<its own port>",
      );
    }
    return told;
  };
  /** The options of both brokers after they read a file. */
  const compare = async (path: string, keys: string[]) => {
    const servers: Server[] = [];
    try {
      const args = [`--config=${path}`];
      servers.push(await startServer({ program: "nsqd", args }));
      servers.push(await startServer({ args, command: [process.execPath, MAIN, "nsqd"] }));
      const [theirs, ours] = await Promise.all(servers.map((server) => optionsOf(server, keys)));
      expect(ours).toEqual(theirs as Record<string, string>);
      expect(Object.values(theirs ?? {}).every((told) => told.startsWith("200 "))).toBeTrue();
      // Both are stopped as by a supervisor.
      expect(await Promise.all(servers.map((server) => server.stop()))).toEqual([0, 0]);
      return theirs ?? {};
    } finally {
      await Promise.all(servers.map((server) => server.stop("SIGKILL")));
    }
  };
  /** The options that both brokers have, without those that these tests set by flags. */
  const flags = allFlags(brokerFlags()).filter(
    (flag) =>
      flag.own === undefined &&
      flag.idle?.status !== "deprecated" &&
      !["config", "version", "tcp-address", "http-address", "https-address", "data-path"].includes(flag.name),
  );

  testUnless(noExamples)(
    "loads unchanged, NSQ's own example among them",
    async () => {
      await compare(join(EXAMPLES, "nsqd.cfg.example"), flags.map(configKey));
    },
    60_000,
  );

  test("sets every option that nsqd and bunsq have", async () => {
    // These need files that do not exist.
    const changed = flags.filter((flag) => !flag.name.startsWith("tls-"));
    const path = join(folder, "changed.cfg");
    writeFileSync(path, changed.map((flag) => `${configKey(flag)} = ${otherValue(flag)}\n`).join(""));
    const empty = join(folder, "empty.cfg");
    writeFileSync(empty, "");
    const [told, defaults] = [await compare(path, changed.map(configKey)), await compare(empty, changed.map(configKey))];
    expect(changed.map(configKey).filter((key) => told[key] === defaults[key])).toEqual([]);
  }, 60_000);
});

testUnless(noExamples ?? missing("nsqadmin"))(
  "nsqadmin's own example loads unchanged, and sets the same",
  async () => {
    const running: Running[] = [];
    try {
      // As it is, it names lookup servers and brokers, which nsqadmin itself refuses.
      const path = join(folder, "nsqadmin.cfg");
      writeFileSync(path, readFileSync(join(EXAMPLES, "nsqadmin.cfg.example"), "utf8").replace(/^nsqd_http_addresses = \[[^\]]*\]/m, ""));
      const args = [`--config=${path}`, "--http-address=127.0.0.1:0"];
      for (const command of [[findProgram("nsqadmin") ?? ""], [process.execPath, MAIN, "nsqadmin"]]) {
        running.push(await startProcess("nsqadmin", [...command, ...args], ["HTTP"]));
      }
      const keys = allFlags(adminFlags()).filter(
        (flag) => !flag.own && !["config", "version", "verbose", "http-address"].includes(flag.name),
      );
      for (const key of keys.map(configKey)) {
        const [theirs, ours] = await Promise.all(running.map(async (one) => (await one.http("GET", `/config/${key}`)).text()));
        expect([key, ours]).toEqual([key, theirs]);
      }
      const warnings = running[1]?.log().match(/.* WARNING: .*/g) ?? [];
      // No lookup server runs where the example says.
      expect(warnings.filter((line) => !line.includes("does not answer"))).toEqual([]);
      expect(await running[1]?.stop()).toBe(0);
    } finally {
      await Promise.all(running.map((one) => one.stop("SIGKILL")));
    }
  },
  30_000,
);

testUnless(noExamples)(
  "nsqlookupd's own example loads unchanged",
  async () => {
    let running: Running | undefined;
    try {
      const args = [`--config=${join(EXAMPLES, "nsqlookupd.cfg.example")}`, "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];
      running = await startProcess("bunsq", [process.execPath, MAIN, "nsqlookupd", ...args]);
      expect(running.log()).not.toContain("WARNING");
      expect(await running.stop()).toBe(0);
    } finally {
      await running?.stop("SIGKILL");
    }
  },
  30_000,
);
