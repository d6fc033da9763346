import { describe, expect, test } from "bun:test";
import { adminFlags } from "../../src/cli/admin-flags.ts";
import { allFlags, helpText, idleFlags, parseFlags, resolveOptions } from "../../src/cli/flags.ts";
import { adminFlagsBeside, allProgramFlags } from "../../src/cli/modes.ts";
import { findProgram, missing, testUnless } from "../support/needs.ts";
import { readHelp } from "./help.ts";

describe("the console's flags", () => {
  testUnless(missing("nsqadmin"))("have the names, types and defaults of nsqadmin's", () => {
    const { stderr } = Bun.spawnSync([findProgram("nsqadmin") ?? "", "--help"], { stdout: "ignore", stderr: "pipe" });
    const theirs = readHelp(stderr.toString());
    expect(theirs.size).toBe(26);
    const table = adminFlags();
    const ours = readHelp(helpText("nsqadmin", table));
    for (const flag of allFlags(table)) if (flag.own) expect(ours.delete(flag.name)).toBeTrue();
    expect(Object.fromEntries([...ours].sort())).toEqual(Object.fromEntries([...theirs].sort()));
  });

  test("have unique names, and doc lines without a line break or a full stop", () => {
    const flags = allFlags(adminFlags());
    expect(new Set(flags.map((flag) => flag.name)).size).toBe(flags.length);
    for (const flag of flags) expect(flag.doc).toMatch(/^\S.*[^.\s]$/);
  });

  test("include -verbose and -dev-static-dir without effect", () => {
    const table = adminFlags();
    const { given } = parseFlags(table, ["-verbose", "-dev-static-dir=x"]);
    expect(idleFlags(table, given).map(({ name }) => name)).toEqual(["dev-static-dir", "verbose"]);
  });

  test("have a prefix beside the broker's, of which -admin-user needs no second one", () => {
    const table = allProgramFlags({ mode: "all" });
    expect(new Set(allFlags(table).map(({ name }) => name)).size).toBe(allFlags(table).length);
    const args = ["-http-address=:1", "-admin-http-address=:2", "-admin-user=ann,bob", "-admin-lookupd-http-address=:3", "-console=false"];
    const { options, given } = parseFlags(table, args);
    const admin = resolveOptions(adminFlagsBeside(), given);
    expect([options.httpAddress, admin.httpAddress, admin.adminUsers, admin.lookupdHttpAddresses]).toEqual([
      ":1",
      ":2",
      ["ann", "bob"],
      [":3"],
    ]);
    expect(given.get("console")).toBe(false);
  });
});
