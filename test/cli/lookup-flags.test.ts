import { describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { allFlags, type FlagTable, helpText, idleFlags, parseFlags, resolveOptions, withPrefix } from "../../src/cli/flags.ts";
import { lookupFlags } from "../../src/cli/lookup-flags.ts";
import { findProgram, missing, testUnless } from "../support/needs.ts";
import { readHelp } from "./help.ts";

describe("the lookup server's flags", () => {
  testUnless(missing("nsqlookupd"))("have the names, types and defaults of nsqlookupd's", () => {
    const { stderr } = Bun.spawnSync([findProgram("nsqlookupd") ?? "", "--help"], { stdout: "ignore", stderr: "pipe" });
    const theirs = readHelp(stderr.toString());
    expect(theirs.size).toBe(10);
    const table = lookupFlags(hostname());
    const ours = readHelp(helpText("nsqlookupd", table));
    for (const flag of allFlags(table)) if (flag.own) expect(ours.delete(flag.name)).toBeTrue();
    expect(Object.fromEntries([...ours].sort())).toEqual(Object.fromEntries([...theirs].sort()));
  });

  test("have unique names, and doc lines without a line break or a full stop", () => {
    const flags = allFlags(lookupFlags());
    expect(new Set(flags.map((flag) => flag.name)).size).toBe(flags.length);
    for (const flag of flags) expect(flag.doc).toMatch(/^\S.*[^.\s]$/);
  });

  test("set options, durations in ms", () => {
    const { options } = parseFlags(lookupFlags("host"), [
      "-inactive-producer-timeout=1m30s",
      "--tombstone-lifetime",
      "250ms",
      "-log-level=WARN",
    ]);
    expect(options).toEqual({
      logLevel: "warn",
      logFormat: "text",
      logPrefix: "[nsqlookupd] ",
      tcpAddress: "0.0.0.0:4160",
      httpAddress: "0.0.0.0:4161",
      httpAllowedHosts: [],
      httpDebug: true,
      broadcastAddress: "host",
      inactiveProducerTimeoutMs: 90_000,
      tombstoneLifetimeMs: 250,
      etcdEndpoints: [],
      etcdCa: "",
      etcdCert: "",
      etcdKey: "",
      etcdUser: "",
      etcdPasswordFile: "",
      cluster: "bunsq",
      clusterLeaseMs: 3000,
      clusterReplicas: 3,
      minInSync: 0,
      balanceHours: "",
    });
  });

  test("include -verbose without effect, as the broker's do", () => {
    const table = lookupFlags();
    expect(idleFlags(table, parseFlags(table, ["-verbose"]).given).map(({ name }) => name)).toEqual(["verbose"]);
  });

  test("have a prefix beside the broker's, and set other options", () => {
    const broker = brokerFlags("host");
    const lookup = withPrefix("lookup-", lookupFlags("host"));
    const both: FlagTable<BrokerOptions> = { options: broker.options, others: [...broker.others, ...allFlags(lookup)] };
    expect(new Set(allFlags(both).map(({ name }) => name)).size).toBe(allFlags(both).length);
    const { options, given } = parseFlags(both, ["-tcp-address=:1", "-lookup-tcp-address=:2", "-lookup-tombstone-lifetime=1s"]);
    const lookupOptions = resolveOptions(lookup, given);
    expect([options.tcpAddress, lookupOptions.tcpAddress, lookupOptions.tombstoneLifetimeMs]).toEqual([":1", ":2", 1000]);
    expect(lookupOptions.logPrefix).toBe("[nsqlookupd] ");
    expect(helpText("bunsq", both)).toContain("\n  -lookup-inactive-producer-timeout duration\n");
  });
});
