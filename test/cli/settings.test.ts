import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { helpPage } from "../../src/cli/help.ts";
import { allProgramFlags, brokerProgramFlags, lookupProgramFlags } from "../../src/cli/modes.ts";
import { missing, testUnless } from "../support/needs.ts";
import { RawClient } from "../support/raw-client.ts";
import { cleanEnvironment, MAIN, startServer, until } from "../support/server.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bunsq-settings-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Runs the program to its end. */
function run(environment: Record<string, string>, ...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args], {
    cwd: folder,
    env: { ...cleanEnvironment(), ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe("a setting", () => {
  testUnless(missing("env"))(
    "is taken from the command line, else the environment, else the config file, else it is the default",
    async () => {
      const path = file("layers.toml", 'max_msg_size = 3000\nmax_rdy_count = 30\nmsg_timeout = "3s"\nlog_prefix = "[file] "\n');
      const environment = ["env", `BUNSQ_CONFIG=${path}`, "BUNSQ_MAX_MSG_SIZE=2000", "BUNSQ_MAX_RDY_COUNT=20", "BUNSQ_LOG_PREFIX="];
      const server = await startServer({
        command: [...environment, process.execPath, MAIN, "broker"],
        args: ["--max-msg-size=1000"],
      });
      try {
        const told = async (key: string) => (await server.http("GET", `/config/${key}`)).json();
        expect(await told("max_msg_size")).toBe(1000);
        expect(await told("max_rdy_count")).toBe(20);
        expect(await told("msg_timeout")).toBe(3_000_000_000);
        expect(await told("max_body_size")).toBe(5 * 1024 * 1024);
        expect(server.log()).toMatch(/^\[file\] .* INFO: /);
        expect(server.log()).not.toContain("WARNING");
      } finally {
        await server.stop();
      }
    },
    30_000,
  );

  testUnless(missing("env"))(
    "without effect is reported by the name that it was set with",
    async () => {
      const path = file("needless.toml", "queue_scan_worker_pool_max = 9\nqueue_scan_selection_count = 20\n");
      const server = await startServer({
        command: ["env", "BUNSQ_VERBOSE=1", "BUNSQ_IMAGE=x", process.execPath, MAIN, "broker"],
        args: [`--config=${path}`, "-worker-id"],
      });
      await server.stop();
      const warnings = [...server.log().matchAll(/ WARNING: (.*) has no effect: /g)].map(([, origin]) => origin);
      expect(warnings).toEqual(["BUNSQ_IMAGE", `queue_scan_worker_pool_max in ${path}`, "BUNSQ_VERBOSE", "-worker-id"]);
    },
    30_000,
  );
});

test("a log level that is set at run time counts from the next line on", async () => {
  const server = await startServer();
  try {
    const setLevel = async (level: string) => expect((await server.http("PUT", "/config/log_level", level)).status).toBe(200);
    /** Connects a client, identifies it, and disconnects it. */
    const visit = async (name: string) => {
      const client = await RawClient.connect(server.tcpPort);
      expect(await client.call("IDENTIFY", JSON.stringify({ client_id: name }))).toBe("OK");
      client.close();
    };
    await setLevel("fatal");
    await visit("unheard");
    await setLevel("DEBUG");
    await visit("heard");
    await until("it is in the log", () => server.log().includes("heard"));
    expect(server.log()).not.toContain("unheard");
    expect(await (await server.http("GET", "/config/log_level")).text()).toBe("1");
  } finally {
    await server.stop();
  }
}, 30_000);

describe("the mode", () => {
  const help = {
    all: helpPage("bunsq", allProgramFlags({ mode: undefined })),
    broker: helpPage("bunsq", brokerProgramFlags({ mode: undefined })),
    lookup: helpPage("bunsq", lookupProgramFlags({ mode: undefined })),
  };

  test("is what -mode says, else BUNSQ_MODE, else the config file", () => {
    // Alone, -help explains the commands.
    const HELP = ["-log-level=info", "-help"];
    const path = file("mode.toml", 'mode = "lookup"\n');
    expect(run({}, `-config=${path}`, ...HELP).stdout).toBe(help.lookup);
    expect(run({ BUNSQ_CONFIG: path }, ...HELP).stdout).toBe(help.lookup);
    expect(run({ BUNSQ_MODE: "Broker", BUNSQ_CONFIG: path }, ...HELP).stdout).toBe(help.broker);
    expect(run({ BUNSQ_MODE: "broker", BUNSQ_CONFIG: path }, "-mode=all", ...HELP).stdout).toBe(help.all);
    expect(run({ BUNSQ_MODE: "" }, ...HELP).stdout).toBe(help.all);
    // The value of another flag is not a value of -mode.
    expect(run({}, "-log-prefix", "-mode=lookup", ...HELP).stdout).toBe(help.all);
  });

  test("is refused if it is wrong, in every source", () => {
    expect(run({ BUNSQ_MODE: "brokr" })).toMatchObject({
      code: 2,
      stderr: 'invalid value "brokr" for BUNSQ_MODE: must be all, broker, lookup or admin\nsee bunsq --help for the flags\n',
    });
    const { code, stderr } = run({}, `-config=${file("wrong.toml", 'mode = "brokr"')}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL: .*wrong\.toml line 1: invalid value "brokr" for mode: must be all, broker, lookup or admin\n$/);
  });
});

describe("a wrong setting", () => {
  test("in the environment ends with 2, and all errors are reported", () => {
    expect(run({ BUNSQ_MAX_MSG_SIZE: "much", BUNSQ_MAX_MSG_SZIE: "1" })).toEqual({
      code: 2,
      stdout: "",
      stderr: [
        "unknown environment variable BUNSQ_MAX_MSG_SZIE",
        "did you mean BUNSQ_MAX_MSG_SIZE?",
        'invalid value "much" for BUNSQ_MAX_MSG_SIZE: parse error: must be a whole number',
        "see bunsq --help for the flags\n",
      ].join("\n"),
    });
  });

  test("in the config file ends with 1, and all errors are logged", () => {
    const path = file("wrong2.toml", 'log_prefix = "[it] "\nmsg_timeout = "5"\n\nmax_msg_szie = 1\n');
    const { code, stdout, stderr } = run({}, `-config=${path}`);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr.replaceAll(/\[it\] \S+ \S+ /g, "").split("\n")).toEqual([
      `FATAL: ${path} line 2: invalid value "5" for msg_timeout: parse error: must be a duration, as in 5s or 5ms`,
      `FATAL: ${path} line 4: unknown key "max_msg_szie"; did you mean max_msg_size?`,
      "",
    ]);
  });

  test("out of bounds ends with 1, and one that cannot be parsed with 2", () => {
    expect(run({}, "-node-id=1024").code).toBe(1);
    expect(run({}, "-node-id=x").code).toBe(2);
    expect(run({}, "-msg-timeout=-5s").code).toBe(1);
    expect(run({}, "-max-msg-size=999999999999").code).toBe(1);
    expect(run({}, "-max-msg-size=99999999999999999999").code).toBe(2);
  });

  test("does not affect -help and -version, unless it is a flag", () => {
    for (const word of ["-help", "-version"]) {
      expect(run({ BUNSQ_MAX_MSG_SIZE: "much" }, "-config=missing", word).code).toBe(0);
      expect(run({}, word === "-help" ? "-nonsense" : "-version", word, "-nonsense").code).toBe(2);
    }
  });
});
