import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Files } from "./files.ts";

const FIRST_HANDLE = 1_000_000_000;

/** A file as recovery would leave it: the real one up to a length, or what it would have written. */
type Planned = { real: string; length: number } | { bytes: Buffer };

/**
 * The disk as it is, with all that recovery would change kept in memory: so a check runs the very code that mends, and
 * changes nothing. What is written to is held whole; that is indexes and lists of words, never records.
 */
export class DryFiles implements Files {
  /** By path; null for what would be removed. */
  private readonly planned = new Map<string, Planned | null>();
  private readonly handles = new Map<number, { path: string; fd: number }>();
  private readonly folders = new Set<string>();
  private nextHandle = FIRST_HANDLE;

  open(path: string, flags: "r+" | "w+"): number {
    if (flags === "w+") this.planned.set(path, { bytes: Buffer.alloc(0) });
    const now = this.now(path);
    const handle = this.nextHandle++;
    this.handles.set(handle, { path, fd: "real" in now ? openSync(now.real, "r") : -1 });
    return handle;
  }

  close(handle: number): void {
    const { fd } = this.of(handle);
    this.handles.delete(handle);
    if (fd >= 0) closeSync(fd);
  }

  read(handle: number, buffer: Buffer, at: number, length: number, position: number): number {
    const { path, fd } = this.of(handle);
    const now = this.now(path);
    if ("bytes" in now) return Math.max(0, now.bytes.copy(buffer, at, Math.min(position, now.bytes.length), position + length));
    const readable = Math.min(length, now.length - position);
    return readable <= 0 ? 0 : readSync(fd, buffer, at, readable, position);
  }

  write(handle: number, buffer: Buffer, from: number, length: number, position: number): number {
    const bytes = this.load(this.of(handle).path, position + length);
    buffer.copy(bytes, position, from, from + length);
    return length;
  }

  size(handle: number): number {
    return lengthOf(this.now(this.of(handle).path));
  }

  truncate(handle: number, length: number): void {
    const { path } = this.of(handle);
    const now = this.now(path);
    if ("real" in now && length <= now.length) this.planned.set(path, { real: now.real, length });
    else this.planned.set(path, { bytes: Buffer.concat([this.load(path, 0)], length) });
  }

  sync(_handle: number, done: (error: null) => void): void {
    done(null);
  }

  syncDirectory(_path: string, done: (error: null) => void): void {
    done(null);
  }

  syncDirectoryNow(): void {}

  rename(from: string, to: string): void {
    const now = this.now(from);
    this.planned.set(to, now);
    this.planned.set(from, null);
    for (const handle of this.handles.values()) if (handle.path === from) handle.path = to;
  }

  remove(path: string): void {
    this.now(path);
    this.planned.set(path, null);
  }

  removeLater(path: string, done: (error: null) => void): void {
    this.remove(path);
    done(null);
  }

  makeDirectory(path: string): boolean {
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return false;
    this.folders.add(path);
    return true;
  }

  removeDirectory(): void {}

  list(path: string): string[] {
    const names = new Set(this.folders.has(path) ? [] : readdirSync(path));
    for (const [planned, file] of this.planned) {
      if (dirname(planned) !== path) continue;
      if (file === null) names.delete(basename(planned));
      else names.add(basename(planned));
    }
    return [...names];
  }

  sizeOf(path: string): number {
    return lengthOf(this.now(path));
  }

  /** A file as it would be now. @throws ENOENT */
  private now(path: string): Planned {
    const planned = this.planned.get(path);
    if (planned === null) throw Object.assign(new Error(`ENOENT: ${path} would be gone`), { code: "ENOENT" });
    return planned ?? { real: path, length: statSync(path).size };
  }

  /** A file's bytes in memory, `length` of them at least. */
  private load(path: string, length: number): Buffer {
    const now = this.now(path);
    const bytes = "bytes" in now ? now.bytes : readFileSync(now.real).subarray(0, now.length);
    const enough = bytes.length >= length ? bytes : Buffer.concat([bytes], length);
    this.planned.set(path, { bytes: enough });
    return enough;
  }

  private of(handle: number): { path: string; fd: number } {
    const open = this.handles.get(handle);
    if (open === undefined) throw Object.assign(new Error("EBADF"), { code: "EBADF" });
    return open;
  }
}

function lengthOf(file: Planned): number {
  return "bytes" in file ? file.bytes.length : file.length;
}
