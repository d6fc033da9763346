import { describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { COMMAND_NAMES } from "../../src/cli/commands.ts";
import { allFlags, helpText } from "../../src/cli/flags.ts";
import { groupOf, helpPage } from "../../src/cli/help.ts";
import { lookupFlags } from "../../src/cli/lookup-flags.ts";
import { allProgramFlags, brokerProgramFlags, lookupProgramFlags } from "../../src/cli/modes.ts";
import { selectProgram } from "../../src/cli/program.ts";
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
    expect(() => selectProgram("bunsq", ["nsq_pubsub"])).toThrow("no nsq_pubsub yet");
    expect(run("--mode=nsq_pubsub")).toMatchObject({ code: 2, stdout: "" });
    expect(run("--mode=nsq_pubsub").stderr).toContain("no nsq_pubsub yet; use NSQ's nsq");
    expect(() => selectProgram("/opt/nsq_pubsub", [])).toThrow("no nsq_pubsub yet");
    expect(run("--mode=brokr").stderr).toContain('invalid value "brokr" for flag -mode: must be all, broker, lookup or admin');
  });
});

test("an unknown command is refused with the most similar one", () => {
  const refused = (word: string) => {
    const { code, stdout, stderr } = run(word);
    expect([code, stdout]).toEqual([2, ""]);
    return stderr;
  };
  expect(refused("brokr")).toBe('unknown command "brokr"\ndid you mean broker?\nsee bunsq --help for the commands\n');
  expect(refused("lokup")).toContain("did you mean lookup?");
  expect(refused("versoin")).not.toContain("mean all");
  for (const word of ["serve", "tail", "stat"]) {
    expect(refused(word)).toBe(`unknown command "${word}"\nsee bunsq --help for the commands\n`);
  }
});

describe("a link with the name of another program of NSQ's", () => {
  const NAMES = ["nsq_pubsub"];
  const TOOLS = ["nsq_tail", "nsq_to_file", "nsq_stat", "nsq_to_http", "nsq_to_nsq", "to_nsq"];

  /** Runs main() as the binary that was started by a name. */
  const runAs = (name: string, ...args: string[]) => {
    const code = `process.exit(await (await import(${JSON.stringify(join(import.meta.dir, "../../src/cli/program.ts"))})).main(${JSON.stringify(name)}, ${JSON.stringify(args)}))`;
    const cwd = mkdtempSync(join(tmpdir(), "bunsq-cli-"));
    try {
      const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, "-e", code], { cwd, env: cleanEnvironment(), stderr: "pipe" });
      return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString(), files: readdirSync(cwd) };
    } finally {
      rmSync(cwd, { recursive: true });
    }
  };

  test("refuses to run, whatever the arguments, and starts no broker", () => {
    for (const name of NAMES) {
      const refusal = { code: 2, stdout: "", stderr: `this version of bunsq has no ${name} yet; use NSQ's ${name} with it\n`, files: [] };
      for (const args of [[], ["--version"], ["broker"]]) expect([name, runAs(`/usr/bin/${name}`, ...args)]).toEqual([name, refusal]);
    }
    expect(runAs("./nsq_pubsub", "check", "/nowhere").stderr).toContain("no nsq_pubsub yet");
    expect(runAs("bunsq", "nsq_pubsub", "--x").stderr).toBe("this version of bunsq has no nsq_pubsub yet; use NSQ's nsq_pubsub with it\n");
  }, 60_000);

  test("runs as that tool if there is one, as the first word does, and starts no broker", () => {
    for (const name of TOOLS) {
      const help = runAs(`/usr/bin/${name}`, "-h");
      expect(help).toMatchObject({ code: 0, stdout: "", files: [] });
      expect(help.stderr).toStartWith(`Usage of ${name}:\n`);
      expect(runAs("bunsq", name, "-h")).toEqual(help);
      // Its flags are its own.
      expect(runAs(name, "--data-path=.")).toMatchObject({ code: 2, files: [] });
      expect(runAs(name, "broker")).toMatchObject({ code: 2, files: [] });
    }
    // A link to nsqd has no tools.
    expect(runAs("nsqd", "nsq_tail", "-h")).toMatchObject({ code: 2, files: [] });
  }, 60_000);
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
  test("says in about ten lines what bunsq is and which commands it has", () => {
    const { code, stdout, stderr } = run("--help");
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toStartWith("bunsq is a message broker that speaks NSQ's protocol.");
    expect(stdout.split("\n").length).toBeLessThanOrEqual(14);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    for (const name of COMMAND_NAMES) expect(stdout).toMatch(new RegExp(`\\b${name}\\b`));
    for (const word of ["help", "-h", "-help"]) expect(run(word).stdout).toBe(stdout);
    expect(run("version")).toEqual(run("--version"));
  });

  test("has every flag of the servers once, in groups, behind help flags", () => {
    for (const table of [allProgramFlags({ mode: undefined }), brokerProgramFlags({ mode: "broker" })]) {
      const shown = [...helpPage("bunsq", table).matchAll(/^ {2}-(\S+)/gm)].map(([, name = ""]) => name);
      expect(shown.toSorted()).toEqual(allFlags(table).map(({ name }) => name));
      expect(allFlags(table).filter((flag) => groupOf(flag) === "Others")).toEqual([]);
    }
    expect(allFlags(lookupProgramFlags({ mode: undefined })).filter((flag) => groupOf(flag) === "Others")).toEqual([]);
    expect(run("help", "flags")).toEqual({ code: 0, stdout: helpPage("bunsq", allProgramFlags({ mode: undefined })), stderr: "" });
    expect(run("help", "broker").stdout).toEndWith(helpPage("bunsq", brokerProgramFlags({ mode: "broker" })));
    expect(run("help", "nsqd").stdout).toEndWith(helpText("nsqd", brokerFlags(hostname())));
  });

  test("prints the flags of a mode to standard output, and under NSQ's names to standard error, with exit code 0", () => {
    const all = run("--mode=all", "--help");
    expect(all).toEqual({ code: 0, stdout: helpPage("bunsq", allProgramFlags({ mode: undefined })), stderr: "" });
    expect(all.stdout).toContain("\n  -mode value\n");
    expect(all.stdout).toContain("\n  -lookup-http-address string\n");
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
