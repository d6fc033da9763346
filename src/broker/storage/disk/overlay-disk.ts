import { basename, dirname } from "node:path";
import { type Disk, type OpenFlags, readFully } from "./disk.ts";

const FIRST_HANDLE = 1_000_000_000;

/** A file as recovery would leave it: the one below up to a length, or what it would have written. */
type Planned = { below: string; length: number } | { bytes: Buffer };

/**
 * A disk as it is, with all that recovery would change kept in memory: so a check runs the very code that mends, and
 * changes nothing. What is written to is held whole; that is indexes and lists of words, never records.
 */
export class OverlayDisk implements Disk {
  /** By path; null for what would be removed. */
  private readonly planned = new Map<string, Planned | null>();
  /** `fd` is of the disk below; -1 for a file in memory. */
  private readonly handles = new Map<number, { path: string; fd: number }>();
  private readonly folders = new Set<string>();
  private nextHandle = FIRST_HANDLE;

  constructor(private readonly disk: Disk) {}

  open(path: string, flags: OpenFlags): number {
    if (flags === "w+") this.planned.set(path, { bytes: Buffer.alloc(0) });
    const now = this.now(path);
    const handle = this.nextHandle++;
    this.handles.set(handle, { path, fd: "below" in now ? this.disk.open(now.below, "r") : -1 });
    return handle;
  }

  close(handle: number): void {
    const { fd } = this.of(handle);
    this.handles.delete(handle);
    if (fd >= 0) this.disk.close(fd);
  }

  read(handle: number, buffer: Buffer, at: number, length: number, position: number): number {
    const { path, fd } = this.of(handle);
    const now = this.now(path);
    if ("bytes" in now) return Math.max(0, now.bytes.copy(buffer, at, Math.min(position, now.bytes.length), position + length));
    const readable = Math.min(length, now.length - position);
    return readable <= 0 ? 0 : this.disk.read(fd, buffer, at, readable, position);
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
    if ("below" in now && length <= now.length) this.planned.set(path, { below: now.below, length });
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
    if (this.exists(path)) return false;
    this.folders.add(path);
    return true;
  }

  removeDirectory(): void {}

  list(path: string): string[] {
    const names = new Set(this.folders.has(path) ? [] : this.disk.list(path));
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

  exists(path: string): boolean {
    const planned = this.planned.get(path);
    return planned === undefined ? this.folders.has(path) || this.disk.exists(path) : planned !== null;
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    return this.disk.space(path);
  }

  /** A file as it would be now. @throws ENOENT */
  private now(path: string): Planned {
    const planned = this.planned.get(path);
    if (planned === null) throw Object.assign(new Error(`ENOENT: ${path} would be gone`), { code: "ENOENT" });
    return planned ?? { below: path, length: this.disk.sizeOf(path) };
  }

  /** A file's bytes in memory, `length` of them at least. */
  private load(path: string, length: number): Buffer {
    const now = this.now(path);
    const bytes = "bytes" in now ? now.bytes : this.readBelow(now.below, now.length);
    const enough = bytes.length >= length ? bytes : Buffer.concat([bytes], length);
    this.planned.set(path, { bytes: enough });
    return enough;
  }

  private readBelow(path: string, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const fd = this.disk.open(path, "r");
    try {
      readFully(this.disk, fd, bytes, 0, length, 0);
    } finally {
      this.disk.close(fd);
    }
    return bytes;
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
