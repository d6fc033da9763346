import { describe, expect, test } from "bun:test";
import { CLIENT_FLAGS } from "../../src/cli/command/client-source.ts";
import { variableOf } from "../../src/cli/command/credentials.ts";
import { readEnvironment } from "../../src/cli/environment.ts";
import { allProgramFlags, brokerProgramFlags, lookupProgramFlags, programScope } from "../../src/cli/modes.ts";

const PROGRAMS = {
  all: programScope(allProgramFlags({ mode: undefined }), { name: "bunsq", alone: undefined }),
  broker: programScope(brokerProgramFlags({ mode: "broker" }), { name: "nsqd", alone: undefined }),
  lookup: programScope(lookupProgramFlags({ mode: "lookup" }), { name: "bunsq", alone: "lookup" }),
};

function read(environment: Record<string, string | undefined>, program: keyof typeof PROGRAMS = "all") {
  const { values, warnings, errors } = readEnvironment(PROGRAMS[program], environment);
  return { values: Object.fromEntries(values), warnings, errors };
}

describe("environment variables", () => {
  test("set flags as on a command line, and lists with commas", () => {
    expect(
      read({
        BUNSQ_MAX_MSG_SIZE: "0x800",
        BUNSQ_LOOKUPD_TCP_ADDRESS: "a:1,b:2",
        BUNSQ_MSG_TIMEOUT: "1m30s",
        BUNSQ_STATSD_MEM_STATS: "f",
        BUNSQ_LOG_LEVEL: "Warn",
        BUNSQ_LOOKUP_TCP_ADDRESS: ":7",
        BUNSQ_MODE: "all",
        BUNSQ_CONFIG: "/etc/bunsq.toml",
        HOME: "/root",
        BUNSQ: "x",
      }),
    ).toEqual({
      values: {
        "max-msg-size": 2048,
        "lookupd-tcp-address": ["a:1", "b:2"],
        "msg-timeout": 90_000,
        "statsd-mem-stats": false,
        "log-level": "warn",
        "lookup-tcp-address": ":7",
        mode: "all",
        config: "/etc/bunsq.toml",
      },
      warnings: [],
      errors: [],
    });
  });

  test("that are empty set nothing", () => {
    expect(read({ BUNSQ_MAX_MSG_SIZE: "", BUNSQ_HTTP_ADDRESS: "", BUNSQ_MAX_MSG_SZIE: "", BUNSQ_NODE_ID: undefined })).toEqual({
      values: {},
      warnings: [],
      errors: [],
    });
  });

  test("are refused for an invalid value", () => {
    expect(read({ BUNSQ_MAX_MSG_SIZE: "1MB", BUNSQ_MSG_TIMEOUT: "60" }).errors).toEqual([
      'invalid value "60" for BUNSQ_MSG_TIMEOUT: parse error: must be a duration, as in 60s or 60ms',
      'invalid value "1MB" for BUNSQ_MAX_MSG_SIZE: parse error: must be a whole number',
    ]);
  });

  test("are refused if they resemble a flag, and only cause a warning otherwise", () => {
    expect(read({ BUNSQ_MAX_MSG_SZIE: "5", BUNSQ_MOD: "all", BUNSQ_TOMBSTONE_LIFETIME: "1s" }).errors).toEqual([
      "unknown environment variable BUNSQ_MAX_MSG_SZIE\ndid you mean BUNSQ_MAX_MSG_SIZE?",
      "unknown environment variable BUNSQ_MOD\ndid you mean BUNSQ_MODE?",
      "unknown environment variable BUNSQ_TOMBSTONE_LIFETIME\ndid you mean BUNSQ_LOOKUP_TOMBSTONE_LIFETIME?",
    ]);
    expect(read({ BUNSQ_SMOKE: "1", BUNSQ_SEED: "2", BUNSQ_IMAGE_TAG: "x" })).toEqual({
      values: {},
      errors: [],
      warnings: ["BUNSQ_IMAGE_TAG", "BUNSQ_SEED", "BUNSQ_SMOKE"].map((name) => `${name} has no effect: no flag has this name`),
    });
  });

  test("that Kubernetes sets for a service called bunsq, or an image for its release, are ignored", () => {
    expect(
      read({
        BUNSQ_SERVICE_HOST: "10.0.0.1",
        BUNSQ_SERVICE_PORT: "4150",
        BUNSQ_SERVICE_PORT_TCP: "4150",
        BUNSQ_PORT: "tcp://10.0.0.1:4150",
        BUNSQ_PORT_4150_TCP: "tcp://10.0.0.1:4150",
        BUNSQ_PORT_4150_TCP_PROTO: "tcp",
        BUNSQ_PORT_4150_TCP_PORT: "4150",
        BUNSQ_PORT_4150_TCP_ADDR: "10.0.0.1",
        BUNSQ_LOOKUP_PORT: "tcp://10.0.0.2:4160",
        BUNSQ_LOOKUP_SERVICE_PORT_HTTP: "4161",
        BUNSQ_VERSION: "0.1.0",
      }),
    ).toEqual({ values: {}, warnings: [], errors: [] });
  });

  test("that say where commands connect to mean nothing to a server", () => {
    const names = Object.values(CLIENT_FLAGS).map(variableOf);
    expect(names).toContain("BUNSQ_CLIENT_TLS_CERT");
    const environment = Object.fromEntries(names.map((name) => [name, "true"]));
    for (const program of ["all", "broker", "lookup"] as const) {
      expect([program, read(environment, program)]).toEqual([program, { values: {}, warnings: [], errors: [] }]);
    }
  });

  test("may be shared by modes: one for another mode only causes a warning", () => {
    expect(
      read({ BUNSQ_LOOKUP_TCP_ADDRESS: ":1", BUNSQ_TOMBSTONE_LIFETIME: "1s", BUNSQ_TCP_ADDRESS: ":2", BUNSQ_MODE: "all" }, "broker"),
    ).toEqual({
      values: { "tcp-address": ":2" },
      errors: [],
      warnings: ["BUNSQ_LOOKUP_TCP_ADDRESS", "BUNSQ_MODE", "BUNSQ_TOMBSTONE_LIFETIME"].map((name) => `${name} has no effect in this mode`),
    });
  });

  test("set a lookup server alone by its own names, or with priority by the names that it has beside a broker", () => {
    expect(
      read({ BUNSQ_LOOKUP_TCP_ADDRESS: ":1", BUNSQ_TCP_ADDRESS: ":2", BUNSQ_HTTP_ADDRESS: ":3", BUNSQ_DATA_PATH: "/x" }, "lookup"),
    ).toEqual({
      values: { "tcp-address": ":1", "http-address": ":3" },
      errors: [],
      warnings: ["BUNSQ_DATA_PATH has no effect in this mode"],
    });
  });
});
