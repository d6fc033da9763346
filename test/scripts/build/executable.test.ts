import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkBinary, embeddedParts, readExecutable } from "../../../scripts/build/executable.ts";
import { runsHere, TARGETS, type Target } from "../../../scripts/build/targets.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { testUnless } from "../../support/needs.ts";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

const target = (name: string): Target => {
  const found = TARGETS.find((target) => target.name === name);
  if (found === undefined) throw new Error(`no target ${name}`);
  return found;
};

/** The headers of an ELF file, and what follows them. */
function elf(machine: number, interpreter: string | undefined, rest = ""): Buffer {
  const header = Buffer.alloc(64 + 56);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  if (interpreter !== undefined) {
    header.writeUInt32LE(3, 64);
    header.writeBigUInt64LE(BigInt(header.length), 64 + 8);
    header.writeBigUInt64LE(BigInt(interpreter.length + 1), 64 + 32);
  }
  return Buffer.concat([header, Buffer.from(interpreter === undefined ? rest : `${interpreter}\0${rest}`, "latin1")]);
}

/** The headers of a Mach-O file with one command. */
function machO(cpu: number, command: number): Buffer {
  const header = Buffer.alloc(48);
  header.writeUInt32LE(0xfeedfacf, 0);
  header.writeUInt32LE(cpu, 4);
  header.writeUInt32LE(1, 16);
  header.writeUInt32LE(command, 32);
  header.writeUInt32LE(16, 36);
  return header;
}

test("headers say what a file is for", () => {
  expect(readExecutable(elf(62, "/lib64/ld-linux-x86-64.so.2"))).toEqual({
    os: "linux",
    cpu: "x64",
    interpreter: "/lib64/ld-linux-x86-64.so.2",
  });
  expect(readExecutable(elf(183, undefined))).toEqual({ os: "linux", cpu: "arm64" });
  expect(readExecutable(machO(0x0100000c, 0x1d))).toEqual({ os: "darwin", cpu: "arm64", isSigned: true });
  expect(readExecutable(machO(0x01000007, 0x19))).toEqual({ os: "darwin", cpu: "x64", isSigned: false });
  expect(() => readExecutable(elf(243, undefined))).toThrow("machine 243");
  expect(() => readExecutable(Buffer.from("MZ"))).toThrow("neither an ELF nor a Mach-O file");
});

testUnless(process.platform === "linux" ? undefined : "not Linux")("the headers of the Bun that runs fit one target here", () => {
  const here = TARGETS.filter(runsHere);
  expect(here.length).toBeGreaterThan(0);
  for (const { cpu } of here) expect(readExecutable(readFileSync(process.execPath)).cpu).toBe(cpu);
});

test("a binary is refused if it, or a native part in it, is for another machine", () => {
  const part = elf(183, undefined, "crc32");
  const native = join(folder, "crc32.linux-arm64-musl.node");
  writeFileSync(native, part);
  const named = "$bunfs/root/crc32.linux-arm64-musl-a1b2c3d4.node";
  const binary = (machine: number, interpreter: string, ...inside: (Buffer | string)[]) => {
    const path = join(folder, "bunsq");
    writeFileSync(path, Buffer.concat([elf(machine, interpreter), ...inside.map((piece) => Buffer.from(piece))]));
    return path;
  };
  const MUSL = "/lib/ld-musl-aarch64.so.1";
  const check = (path: string, name = "linux-arm64-musl") => checkBinary(path, target(name), [native]);
  expect(() => check(binary(183, MUSL, part, named))).not.toThrow();
  expect(() => check(binary(62, MUSL, part, named))).toThrow("is for linux x64");
  expect(() => check(binary(183, "/lib/ld-linux-aarch64.so.1", part, named))).toThrow("is loaded by /lib/ld-linux-aarch64.so.1");
  expect(() => check(binary(183, MUSL, part, named), "linux-arm64")).toThrow("is loaded by /lib/ld-musl-aarch64.so.1");
  expect(() => check(binary(183, MUSL, named))).toThrow("does not have");
  expect(() => check(binary(183, MUSL, part))).toThrow("has the native parts none");
  expect(() => check(binary(183, MUSL, part, named, named.replace("crc32", "snappy")))).toThrow("has the native parts crc32.");
  writeFileSync(native, elf(62, undefined));
  expect(() => check(binary(183, MUSL, part, named))).toThrow("which is for linux x64");
});

test("the native parts in a binary are found by name", () => {
  const text = ["snappy.darwin-arm64-qq4hq08x", "crc32.darwin-arm64-ypdc5wfq", "snappy.darwin-arm64-qq4hq08x"];
  const bytes = Buffer.from(text.map((name) => `\0/$bunfs/root/${name}.node\0`).join("code"));
  expect(embeddedParts(bytes)).toEqual(["crc32.darwin-arm64", "snappy.darwin-arm64"]);
});
