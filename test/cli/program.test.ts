import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { helpText } from "../../src/cli/flags.ts";
import { lookupFlags } from "../../src/cli/lookup-flags.ts";
import { allProgramFlags, brokerProgramFlags, lookupProgramFlags } from "../../src/cli/modes.ts";
import { helpPage, selectProgram } from "../../src/cli/program.ts";
import { cleanEnvironment } from "../support/server.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the program from source to its end, in its own folder. */
function run(...args: string[]): Outcome {
  return runIn({}, ...args);
}

/** Runs the program from source to its end, with more environment variables. */
function runIn(env: Record<string, string>, ...args: string[]): Outcome {
  const cwd = mkdtempSync(join(tmpdir(), "bunsq-cli-"));
  try {
    const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args], {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      stdout: "pipe",
      stderr: "pipe",
    });
    return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

describe("the program that runs", () => {
  test("replaces nsqd under the name nsqd, wherever the link is", () => {
    for (const startedAs of ["nsqd", "./nsqd", "/usr/local/bin/nsqd"]) {
      expect(selectProgram(startedAs, ["-x", "broker"])).toEqual({ name: "nsqd", mode: "broker", args: ["-x", "broker"] });
    }
  });

  test("replaces nsqlookupd under the name nsqlookupd", () => {
    for (const startedAs of ["nsqlookupd", "/usr/local/bin/nsqlookupd"]) {
      expect(selectProgram(startedAs, ["-x"])).toEqual({ name: "nsqlookupd", mode: "lookup", args: ["-x"] });
    }
    expect(selectProgram("bunsq", ["nsqlookupd", "-x"])).toEqual({ name: "nsqlookupd", mode: "lookup", args: ["-x"] });
    expect(selectProgram("bunsq", ["lookup", "-x"])).toEqual({ name: "bunsq", mode: "lookup", args: ["-x"] });
  });

  test("is selected by the first word", () => {
    expect(selectProgram("bunsq", ["nsqd", "-x"])).toEqual({ name: "nsqd", mode: "broker", args: ["-x"] });
    expect(selectProgram("bunsq", ["broker", "-x"])).toEqual({ name: "bunsq", mode: "broker", args: ["-x"] });
    expect(selectProgram("bunsq", ["all"])).toEqual({ name: "bunsq", mode: "all", args: [] });
  });

  test("is selected by -mode otherwise", () => {
    expect(selectProgram("bunsq", ["-x", "nsqd"])).toEqual({ name: "bunsq", mode: undefined, args: ["-x", "nsqd"] });
    expect(selectProgram("bun", [])).toEqual({ name: "bunsq", mode: undefined, args: [] });
  });

  test("is refused by its name if it does not exist yet", () => {
    for (const word of ["admin", "nsqadmin"]) {
      expect(() => selectProgram("bunsq", [word])).toThrow(`no ${word} yet`);
      expect(run(`--mode=${word}`)).toMatchObject({ code: 2, stdout: "" });
      expect(run(`--mode=${word}`).stderr).toContain(`no ${word} yet; use NSQ's nsq`);
    }
    expect(() => selectProgram("/opt/nsqadmin", [])).toThrow("no nsqadmin yet");
    expect(run("--mode=brokr").stderr).toContain('invalid value "brokr" for flag -mode: must be all, broker or lookup');
  });
});

test("an unknown command is refused with the most similar one", () => {
  expect(() => selectProgram("bunsq", ["brokr"])).toThrow(/^unknown command "brokr"\ndid you mean broker\?$/);
  expect(() => selectProgram("bunsq", ["serve"])).toThrow(/^unknown command "serve"$/);
});

test("a flag of another mode is refused, and the error names that mode", () => {
  expect(run("lookup", "-max-msg-size=5")).toEqual({
    code: 2,
    stdout: "",
    stderr: "flag provided but not defined: -max-msg-size\nit is a flag of --mode=broker\nsee bunsq lookup --help for the flags\n",
  });
  expect(run("--mode=broker", "-lookup-tcp-address=:1").stderr).toContain("\nit is a flag of --mode=all\n");
  expect(run("broker", "-tombstone-lifetime=1s").stderr).toContain("\nit is a flag of --mode=lookup\n");
  expect(run("-tombstone-lifetime=1s").stderr).toContain("\ndid you mean -lookup-tombstone-lifetime?\n");
  expect(run("nsqd", "-tombstone-lifetime=1s").stderr).not.toContain("mode");
});

describe("--version", () => {
  test("names bunsq's own release, or NSQ's under the name nsqd", () => {
    const ours = `bunsq v0.1.0 (built w/bun${Bun.version})\n`;
    expect(run("--version")).toEqual({ code: 0, stdout: ours, stderr: "" });
    expect(run("broker", "-version").stdout).toBe(ours);
    expect(run("--mode=broker", "-version").stdout).toBe(ours);
    expect(run("nsqd", "-version").stdout).toBe(`nsqd v1.3.0 (built w/bun${Bun.version}), bunsq 0.1.0\n`);
    expect(run("nsqlookupd", "-version").stdout).toBe(`nsqlookupd v1.3.0 (built w/bun${Bun.version}), bunsq 0.1.0\n`);
  });

  test("does not hide an error in other flags", () => {
    expect(run("-version", "-nonsense").code).toBe(2);
  });
});

describe("--help", () => {
  test("prints the flags of a mode to standard output, and under NSQ's names to standard error, with exit code 0", () => {
    const all = run("--help");
    expect(all).toEqual({ code: 0, stdout: helpPage("bunsq", allProgramFlags({ mode: undefined })), stderr: "" });
    expect(all.stdout).toContain("\n  -mode value\n");
    expect(all.stdout).toContain("\n  -lookup-http-address string\n");
    expect(run("--mode=all", "--help").stdout).toBe(all.stdout);
    expect(run("--mode=broker", "--help").stdout).toBe(helpPage("bunsq", brokerProgramFlags({ mode: undefined })));
    expect(run("nsqd", "-h")).toEqual({ code: 0, stdout: "", stderr: helpText("nsqd", brokerFlags(hostname())) });
    const lookup = helpPage("bunsq", lookupProgramFlags({ mode: undefined }));
    expect(lookup).toContain("\n  -inactive-producer-timeout duration\n");
    for (const args of [["--mode=lookup"], ["-mode", "Lookup"], ["-tcp-address=x", "--mode", "lookup"]]) {
      expect(run(...args, "--help").stdout).toBe(lookup);
    }
    expect(run("nsqlookupd", "-h").stderr).toBe(helpText("nsqlookupd", lookupFlags(hostname())));
  });
});

describe("a wrong command line", () => {
  test("prints one line about the error and where to find help, and ends with 2", () => {
    expect(run("--msg-timout=1s")).toEqual({
      code: 2,
      stdout: "",
      stderr: "flag provided but not defined: -msg-timout\ndid you mean -msg-timeout?\nsee bunsq --help for the flags\n",
    });
    expect(run("nsqd", "-msg-timeout=1")).toEqual({
      code: 2,
      stdout: "",
      stderr: 'invalid value "1" for flag -msg-timeout: parse error: must be a duration, as in 1s or 1ms\nsee nsqd --help for the flags\n',
    });
  });

  test("that asks for security that is not configured ends with 1 before anything is opened", () => {
    const { code, stderr } = run("-tls-required", "-log-level=error", "-log-prefix=[x] ");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^\[x\] \S+ \S+ FATAL: cannot require TLS client connections without TLS key and cert: .*\n$/);
  });
});

describe("log lines", () => {
  test("have local time", () => {
    /** The minutes past midnight of a log line in a time zone. */
    const minutesIn = (zone: string) => {
      const [, hours, minutes] = /^\[nsqd\] \S+ (\d\d):(\d\d):/.exec(runIn({ TZ: zone }, "-tls-required").stderr) ?? [];
      return Number(hours) * 60 + Number(minutes);
    };
    // Kathmandu is 5 h 45 min ahead of UTC all year round. A minute may pass between the two runs.
    const ahead = (minutesIn("Asia/Kathmandu") - minutesIn("UTC") + 1440) % 1440;
    expect([345, 344]).toContain(ahead);
  });
});
