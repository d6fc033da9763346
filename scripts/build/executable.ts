import { readFileSync } from "node:fs";
import type { Target } from "./targets.ts";

// What a binary for another machine is, read from its headers, since it cannot run here.
// Formats: elf(5), and <mach-o/loader.h> of macOS.

const ELF_MACHINES: ReadonlyMap<number, Target["cpu"]> = new Map([
  [62, "x64"],
  [183, "arm64"],
]);
const PROGRAM_INTERPRETER = 3;
const MACH_MAGIC = 0xfeedfacf;
const MACH_CPUS: ReadonlyMap<number, Target["cpu"]> = new Map([
  [0x01000007, "x64"],
  [0x0100000c, "arm64"],
]);
const MACH_HEADER_BYTES = 32;
const LC_CODE_SIGNATURE = 0x1d;

/** What the headers of a program or a native part say. */
export interface Executable {
  os: Target["os"];
  cpu: Target["cpu"];
  /** The program that loads it, on Linux; undefined for a native part. */
  interpreter?: string;
  /** Whether it is signed, on macOS, where a program without a signature does not start on arm64. */
  isSigned?: boolean;
}

/** Reads the headers of an ELF or Mach-O file of 64 bits. @throws Error if it is neither, or of a processor that has no build */
export function readExecutable(bytes: Buffer): Executable {
  if (bytes.length >= 64 && bytes.toString("latin1", 0, 4) === "\x7fELF") return readElf(bytes);
  if (bytes.length >= MACH_HEADER_BYTES && bytes.readUInt32LE(0) === MACH_MAGIC) return readMachO(bytes);
  throw new Error("neither an ELF nor a Mach-O file of 64 bits");
}

function readElf(bytes: Buffer): Executable {
  const cpu = ELF_MACHINES.get(bytes.readUInt16LE(18));
  if (cpu === undefined) throw new Error(`an ELF file for machine ${bytes.readUInt16LE(18)}`);
  const start = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  for (let index = 0; index < bytes.readUInt16LE(56); index++) {
    const header = bytes.subarray(start + index * size, start + (index + 1) * size);
    if (header.readUInt32LE(0) !== PROGRAM_INTERPRETER) continue;
    const at = Number(header.readBigUInt64LE(8));
    const length = Number(header.readBigUInt64LE(32));
    return { os: "linux", cpu, interpreter: bytes.toString("latin1", at, at + length).replace(/\0$/, "") };
  }
  return { os: "linux", cpu };
}

function readMachO(bytes: Buffer): Executable {
  const cpu = MACH_CPUS.get(bytes.readUInt32LE(4));
  if (cpu === undefined) throw new Error(`a Mach-O file for processor ${bytes.readUInt32LE(4)}`);
  let isSigned = false;
  let at = MACH_HEADER_BYTES;
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    isSigned ||= bytes.readUInt32LE(at) === LC_CODE_SIGNATURE;
    at += bytes.readUInt32LE(at + 4);
  }
  return { os: "darwin", cpu, isSigned };
}

/**
 * Checks that a binary is for its target, and has the target's native parts inside, and no others.
 *
 * @param natives the files of the native parts that were installed for the target
 * @throws Error that says what is wrong
 */
export function checkBinary(path: string, { os, cpu, libc }: Target, natives: readonly string[]): void {
  const bytes = readFileSync(path);
  const program = readExecutable(bytes);
  const refuse = (what: string) => new Error(`${path}: ${what}`);
  if (program.os !== os || program.cpu !== cpu) throw refuse(`is for ${program.os} ${program.cpu}`);
  if (os === "darwin" && program.isSigned !== true) throw refuse("has no signature");
  if (os === "linux" && program.interpreter?.includes("musl") !== (libc === "musl")) {
    throw refuse(`is loaded by ${program.interpreter}`);
  }
  for (const native of natives) {
    const part = readFileSync(native);
    const kind = readExecutable(part);
    if (kind.os !== os || kind.cpu !== cpu) throw refuse(`would have ${native}, which is for ${kind.os} ${kind.cpu}`);
    if (!bytes.includes(part)) throw refuse(`does not have ${native}`);
  }
  const inside = embeddedParts(bytes);
  if (inside.length !== natives.length) throw refuse(`has the native parts ${inside.join(", ") || "none"}`);
}

/** The names of the native parts in a binary. */
export function embeddedParts(bytes: Buffer): string[] {
  // Bun keeps them as files of a file system of its own, with a hash in each name.
  const names = bytes.toString("latin1").matchAll(/\$bunfs\/root\/([\w.@/-]+)-\w+\.node/g);
  return [...new Set([...names].map(([, name = ""]) => name))].sort();
}
