import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configKey, loadConfigFile, readConfig } from "../../src/cli/config-file.ts";
import type { FlagValue } from "../../src/cli/flag.ts";
import { allFlags } from "../../src/cli/flags.ts";
import { adminProgramFlags, allProgramFlags, brokerProgramFlags, lookupProgramFlags, programScope } from "../../src/cli/modes.ts";

let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bunsq-config-"));
  path = join(folder, "it.toml");
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const PROGRAMS = {
  all: programScope(allProgramFlags({ mode: undefined }), { name: "bunsq", alone: undefined }),
  broker: programScope(brokerProgramFlags({ mode: undefined }), { name: "bunsq", alone: undefined }),
  lookup: programScope(lookupProgramFlags({ mode: undefined }), { name: "bunsq", alone: "lookup" }),
  admin: programScope(adminProgramFlags({ mode: undefined }), { name: "bunsq", alone: "admin" }),
  nsqd: programScope(brokerProgramFlags({ mode: "broker" }), { name: "nsqd", alone: undefined }),
};

function read(text: string, program: keyof typeof PROGRAMS = "broker") {
  writeFileSync(path, text);
  const { values, origins, warnings, errors } = readConfig(PROGRAMS[program], loadConfigFile(path));
  const plain = (lines: string[]) => lines.map((line) => line.replaceAll(path, "FILE"));
  return { values: Object.fromEntries(values), origins, warnings: plain(warnings), errors: plain(errors) };
}

/** The value of a file that sets only one. */
function value(text: string, program: keyof typeof PROGRAMS = "broker"): FlagValue | undefined {
  const { values, warnings, errors } = read(text, program);
  expect([...warnings, ...errors]).toEqual([]);
  const found = Object.values(values);
  expect(found.length).toBe(1);
  return found[0];
}

function failure(text: string | Uint8Array): string {
  writeFileSync(path, text);
  try {
    loadConfigFile(path);
  } catch (error) {
    return (error as Error).message.replace(path, "FILE");
  }
  throw new Error("it was taken");
}

describe("a config file", () => {
  test("has nsqd's keys", () => {
    const keys = new Map(allFlags(brokerProgramFlags({ mode: "broker" })).map((flag) => [flag.name, configKey(flag)]));
    expect(keys.get("node-id")).toBe("id");
    expect(keys.get("max-msg-size")).toBe("max_msg_size");
    expect(keys.get("lookupd-tcp-address")).toBe("nsqlookupd_tcp_addresses");
    expect(keys.get("auth-http-address")).toBe("auth_http_addresses");
    expect(keys.get("e2e-processing-latency-percentile")).toBe("e2e_processing_latency_percentiles");
  });

  test("accepts values in all forms that nsqd accepts", () => {
    expect(value("max_msg_size = 2048")).toBe(2048);
    expect(value('max_msg_size = "2048"')).toBe(2048);
    expect(value('msg_timeout = "1m30s"')).toBe(90_000);
    expect(value("msg_timeout = 1500")).toBe(1500);
    expect(value("statsd_mem_stats = false")).toBeFalse();
    expect(value('statsd_mem_stats = "0"')).toBeFalse();
    expect(value('nsqlookupd_tcp_addresses = ["a:1", "b:2"]')).toEqual(["a:1", "b:2"]);
    expect(value('nsqlookupd_tcp_addresses = "a:1, b:2"')).toEqual(["a:1", "b:2"]);
    expect(value("e2e_processing_latency_percentiles = [1.0, 0.99]")).toEqual([1, 0.99]);
    expect(value("e2e_processing_latency_percentiles = [1, 0.99]")).toEqual([1, 0.99]);
    expect(value('e2e_processing_latency_percentiles = "1.0, 0.99"')).toEqual([1, 0.99]);
    expect(value('log_level = "DEBUG"')).toBe("debug");
    expect(value("tls_required = true")).toBe("true");
    expect(value("tls_required = 0")).toBe("false");
    expect(value('tls_required = "tcp-https"')).toBe("tcp-https");
    expect(value('tls_min_version = ""')).toBe("tls1.0");
    expect(value('http_address = ""')).toBe("");
  });

  test("is refused for a value of the wrong form or out of bounds, with its line", () => {
    const errors = (text: string) => read(`\n${text}`).errors;
    expect(errors("max_msg_size = 1.5")).toEqual(["FILE line 2: invalid value 1.5 for max_msg_size: must be a whole number"]);
    expect(errors("max_msg_size = nan")).toEqual(["FILE line 2: invalid value null for max_msg_size: must be a whole number"]);
    expect(errors("max_msg_size = -1")).toEqual(["FILE line 2: invalid value -1 for max_msg_size: must be from 1 to 1073741824"]);
    expect(errors('msg_timeout = "-1s"')).toEqual(['FILE line 2: invalid value "-1s" for msg_timeout: must be from 1ms to 87600h0m0s']);
    expect(errors("msg_timeout = 1979-05-27")[0]).toContain('for msg_timeout: must be a duration in quotes, as in "1m30s", or');
    // nsqd takes 1 as false and 0 as true.
    expect(errors("statsd_mem_stats = 1")).toEqual(["FILE line 2: invalid value 1 for statsd_mem_stats: must be true or false"]);
    expect(errors("nsqlookupd_tcp_addresses = [1]")[0]).toContain('must be a list of strings, as in ["a", "b"]');
    expect(errors("e2e_processing_latency_percentiles = [2.0]")[0]).toContain("must be from 0.000001 to 1 each");
    expect(errors("broadcast_address = 5")[0]).toContain("must be a string in quotes");
    expect(errors('log_level = "loud"')[0]).toContain("invalid log level 'loud' (debug, info, warn, error, fatal)");
    expect(errors("[max_msg_size]\na=1")[0]).toStartWith('FILE line 2: invalid value {"a":1} for max_msg_size:');
  });

  test("is refused for unknown keys, all at once, each with the most similar key", () => {
    expect(read('tcp_adress = ":1"\nnode_id = 5\nnonsense = 1\n[table]\nx = 1\n[lookup]\nhttp_adress = ""', "all").errors).toEqual([
      'FILE line 1: unknown key "tcp_adress"; did you mean tcp_address?',
      'FILE line 2: unknown key "node_id"; did you mean id?',
      'FILE line 3: unknown key "nonsense"',
      'FILE line 4: unknown section "table"',
      'FILE line 7: unknown key "http_adress"; did you mean http_address?',
    ]);
    expect(read('lookupd_tcp_address = ["x:1"]').errors[0]).toEndWith("did you mean nsqlookupd_tcp_addresses?");
    expect(read('tombstone_lifetime = "1s"', "all").errors[0]).toEndWith("did you mean lookup_tombstone_lifetime?");
    // These can only be given on the command line.
    expect(read("version = true").errors).toEqual(['FILE line 1: unknown key "version"']);
    expect(read('config = "other"').errors[0]).toStartWith('FILE line 1: unknown key "config"');
  });

  test("may have unknown keys under the names of NSQ's programs, which ignore them", () => {
    const { values, warnings, errors } = read("max_mesg_size = 5\nmax_msg_size = 6\n[other]", "nsqd");
    expect(values).toEqual({ "max-msg-size": 6 });
    expect(errors).toEqual([]);
    expect(warnings).toEqual([
      'FILE line 1: unknown key "max_mesg_size" has no effect; did you mean max_msg_size?',
      'FILE line 3: unknown section "other" has no effect',
    ]);
  });

  test("does not mistake names of JavaScript properties for keys", () => {
    expect(read("__proto__ = 1\nconstructor = 2\ntoString = 3").errors.map((line) => /"(.*)"/.exec(line)?.[1])).toEqual([
      "__proto__",
      "constructor",
      "toString",
    ]);
  });
});

describe("one config file for all modes", () => {
  const shared = 'mode = "all"\ntcp_address = ":1"\nmsg_timeout = "2s"\n[lookup]\ntcp_address = ":2"\ntombstone_lifetime = "3s"';

  test("has the lookup's settings in a section", () => {
    expect(read(shared, "all")).toMatchObject({
      values: { mode: "all", "tcp-address": ":1", "msg-timeout": 2000, "lookup-tcp-address": ":2", "lookup-tombstone-lifetime": 3000 },
      warnings: [],
      errors: [],
    });
    expect(value('lookup_tcp_address = ":2"', "all")).toBe(":2");
  });

  test("gives a broker alone the broker's settings", () => {
    const { values, warnings, errors } = read(shared, "broker");
    expect(values).toEqual({ mode: "all", "tcp-address": ":1", "msg-timeout": 2000 });
    expect(warnings).toEqual([]);
    expect(errors).toEqual([]);
  });

  test("gives a lookup server alone the section, or the whole file if there is no section", () => {
    const { values, warnings, errors } = read(shared, "lookup");
    expect(values).toEqual({ "tcp-address": ":2", "tombstone-lifetime": 3000 });
    expect(warnings).toEqual([]);
    expect(errors).toEqual([]);
    expect(value('tcp_address = ":2"', "lookup")).toBe(":2");
    expect(read('msg_timeout = "2s"', "lookup")).toMatchObject({
      values: {},
      warnings: ["msg_timeout in FILE has no effect in this mode"],
    });
  });

  test("gives the console alone its section, and each server only its own", () => {
    const file = `${shared}\n[admin]\nhttp_address = ":7"\nadmin_users = ["ann"]\nnsqlookupd_http_addresses = [":8"]`;
    const console = { "http-address": ":7", "admin-user": ["ann"], "lookupd-http-address": [":8"] };
    expect(read(file, "admin")).toMatchObject({ values: console, warnings: [], errors: [] });
    expect(read(file, "lookup").values).toEqual({ "tcp-address": ":2", "tombstone-lifetime": 3000 });
    expect(read(file, "all")).toMatchObject({
      values: { "tcp-address": ":1", "admin-http-address": ":7", "admin-user": ["ann"], "admin-lookupd-http-address": [":8"] },
      warnings: [],
      errors: [],
    });
    // The sections are not the console's, so the rest is not either.
    expect(read(`http_address = ":1"\n[lookup]\nhttp_address = ":2"`, "admin")).toMatchObject({ values: {}, warnings: [], errors: [] });
    expect(value('http_address = ":7"', "admin")).toBe(":7");
    expect(read("[admin]\nadmin_user = 1", "all").errors[0]).toStartWith(
      'FILE line 2: unknown key "admin_user"; did you mean admin_users?',
    );
  });

  test("is refused for a mistake in any part, in every mode", () => {
    for (const program of ["all", "broker", "lookup"] as const) {
      expect(read("[lookup]\ntombstone_lifetim = 1", program).errors[0]).toStartWith('FILE line 2: unknown key "tombstone_lifetim"');
      expect(read("max_mesg_size = 1\n[lookup]", program).errors[0]).toStartWith('FILE line 1: unknown key "max_mesg_size"');
    }
  });
});

describe("a config file that cannot be read", () => {
  test("is refused with the reason, in nsqd's words", () => {
    const missing = join(folder, "missing");
    expect(() => loadConfigFile(missing)).toThrow(`failed to load config file ${missing} - no such file or directory`);
    mkdirSync(join(folder, "folder"));
    expect(() => loadConfigFile(join(folder, "folder"))).toThrow(/^failed to load config file .*folder - .*directory$/);
    expect(failure(Uint8Array.of(0x61, 0xff))).toBe("failed to load config file FILE - it is not UTF-8");
    expect(failure("#".repeat(64 * 1024 + 1))).toBe("failed to load config file FILE - it is larger than 65536 bytes");
  });

  test("is refused for a TOML error, with its line", () => {
    const line = (text: string) => Number(/^failed to load config file FILE - toml: line (\d+): \S/.exec(failure(text))?.[1]);
    expect(line("a = =2")).toBe(1);
    expect(line("a = 1\nb = [1,\n2\n]\nc = =2\nd = 1\n")).toBe(5);
    expect(line("a = 1\n\na = 2\nb = 3\n")).toBe(3);
    expect(line('a = 1\nb = "open\nc = 1\n')).toBe(2);
    expect(line(`${"a = [\n1\n]\n".replaceAll("a", "x")}x = 1\n`)).toBe(4);
    expect(line("a = TRUE\n# end\n")).toBe(1);
  });
});
