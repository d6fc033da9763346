import { describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { allFlags, helpText, parseFlags } from "../../src/cli/flags.ts";
import { findProgram, missing, testUnless } from "../support/needs.ts";
import { type HelpEntry, readHelp } from "./help.ts";

describe("the broker's flags", () => {
  testUnless(missing("nsqd"))("have the names, types and defaults of nsqd's, beside bunsq's own", () => {
    const { stderr } = Bun.spawnSync([findProgram("nsqd") ?? "", "--help"], { stdout: "ignore", stderr: "pipe" });
    const theirs = readHelp(stderr.toString());
    const table = brokerFlags(hostname());
    const ours = readHelp(helpText("nsqd", table));
    expect(theirs.size).toBeGreaterThan(50);
    for (const flag of allFlags(table)) if (flag.own) expect(ours.delete(flag.name)).toBeTrue();
    const sorted = (entries: Map<string, HelpEntry>) => Object.fromEntries([...entries].sort());
    expect(sorted(ours)).toEqual(sorted(theirs));
  });

  test("have unique names, and doc lines without a line break or a full stop", () => {
    const flags = allFlags(brokerFlags());
    expect(new Set(flags.map((flag) => flag.name)).size).toBe(flags.length);
    for (const flag of flags) expect(flag.doc).toMatch(/^\S.*[^.\s]$/);
  });

  test("accept their own defaults in text form", () => {
    const table = brokerFlags("some-host");
    const args = allFlags(table)
      .filter((flag) => flag.kind !== "list")
      .map((flag) => `-${flag.name}=${flag.kind === "duration" ? `${flag.default}ms` : flag.default}`);
    expect(parseFlags(table, args).options).toEqual(parseFlags(table, []).options);
  });

  test("give a host the same node id as nsqd", () => {
    // Made with Go: crc32.ChecksumIEEE(md5.Sum(name)) % 1024
    expect(parseFlags(brokerFlags("vm"), []).options.nodeId).toBe(617);
  });

  test("limit a node id to ten bits", () => {
    expect(parseFlags(brokerFlags(), ["-node-id=1023"]).options.nodeId).toBe(1023);
    expect(() => parseFlags(brokerFlags(), ["-node-id=1024"])).toThrow('invalid value "1024" for flag -node-id: must be from 0 to 1023');
    expect(() => parseFlags(brokerFlags(), ["-node-id=-1"])).toThrow("must be from 0 to 1023");
  });

  test("refuse a log level in nsqd's words", () => {
    expect(() => parseFlags(brokerFlags(), ["-log-level=warning"])).toThrow(
      `invalid value "warning" for flag -log-level: invalid log level 'warning' (debug, info, warn, error, fatal)`,
    );
    expect(parseFlags(brokerFlags(), ["-log-level=DEBUG"]).options.logLevel).toBe("debug");
  });

  test("accept every spelling of nsqd's for -tls-required", () => {
    const required = (...args: string[]) => parseFlags(brokerFlags(), args).options.tlsRequired;
    for (const word of ["-tls-required", "-tls-required=TRUE", "-tls-required=1", "-tls-required=T"]) expect(required(word)).toBe("true");
    for (const word of ["-tls-required=false", "-tls-required=0", "-tls-required=F"]) expect(required(word)).toBe("false");
    expect(required("-tls-required=TCP-HTTPS")).toBe("tcp-https");
    expect(() => required("-tls-required=https")).toThrow("must be one of false, true, tcp-https");
  });
});
