import { basename, dirname, join } from "node:path";
import { type Disk, type OpenFlags, readFully } from "./disk.ts";

const FIRST_HANDLE = 1_000_000_000;

/** What a file contains: a file of the disk below up to a length, or bytes in memory. */
type Content = { below: string; length: number } | { bytes: Buffer };

/**
 * A disk that keeps all changes in memory and leaves the disk below it as it is. With it a check runs the very code that
 * repairs files, and changes none. A file that is written to is in memory as a whole. Those are indexes and status records,
 * never records of messages.
 */
export class OverlayDisk implements Disk {
  /** Changed files by their path; null for a removed one. */
  private readonly changed = new Map<string, Content | null>();
  /** `fd` is a descriptor of the disk below, or -1 for a file in memory. */
  private readonly handles = new Map<number, { path: string; fd: number }>();
  private readonly folders = new Set<string>();
  private nextHandle = FIRST_HANDLE;

  constructor(private readonly disk: Disk) {}

  open(path: string, flags: OpenFlags): number {
    if (flags === "w+") this.changed.set(path, { bytes: Buffer.alloc(0) });
    const content = this.contentOf(path);
    const handle = this.nextHandle++;
    this.handles.set(handle, { path, fd: "below" in content ? this.disk.open(content.below, "r") : -1 });
    return handle;
  }

  close(handle: number): void {
    const { fd } = this.handleOf(handle);
    this.handles.delete(handle);
    if (fd >= 0) this.disk.close(fd);
  }

  read(handle: number, buffer: Buffer, at: number, length: number, position: number): number {
    const { path, fd } = this.handleOf(handle);
    const content = this.contentOf(path);
    if ("bytes" in content) return Math.max(0, content.bytes.copy(buffer, at, Math.min(position, content.bytes.length), position + length));
    const readable = Math.min(length, content.length - position);
    return readable <= 0 ? 0 : this.disk.read(fd, buffer, at, readable, position);
  }

  write(handle: number, buffer: Buffer, from: number, length: number, position: number): number {
    const bytes = this.loadForWriting(this.handleOf(handle).path, position + length);
    buffer.copy(bytes, position, from, from + length);
    return length;
  }

  size(handle: number): number {
    return lengthOf(this.contentOf(this.handleOf(handle).path));
  }

  truncate(handle: number, length: number): void {
    const { path } = this.handleOf(handle);
    const content = this.contentOf(path);
    if ("below" in content && length <= content.length) this.changed.set(path, { below: content.below, length });
    else this.changed.set(path, { bytes: Buffer.concat([this.loadForWriting(path, 0)], length) });
  }

  sync(_handle: number, done: (error: null) => void): void {
    done(null);
  }

  syncNow(): void {}

  syncDirectory(_path: string, done: (error: null) => void): void {
    done(null);
  }

  syncDirectoryNow(): void {}

  rename(from: string, to: string): void {
    const content = this.contentOf(from);
    this.changed.set(to, content);
    this.changed.set(from, null);
    for (const handle of this.handles.values()) if (handle.path === from) handle.path = to;
  }

  remove(path: string): void {
    this.contentOf(path);
    this.changed.set(path, null);
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
    for (const [changed, file] of this.changed) {
      if (dirname(changed) !== path) continue;
      if (file === null) names.delete(basename(changed));
      else names.add(basename(changed));
    }
    return [...names];
  }

  listFolders(path: string): string[] {
    const names = this.list(path);
    const folders = this.folders.has(path) ? [] : this.disk.listFolders(path);
    return [...folders.filter((name) => names.includes(name)), ...names.filter((name) => this.folders.has(join(path, name)))];
  }

  sizeOf(path: string): number {
    return lengthOf(this.contentOf(path));
  }

  exists(path: string): boolean {
    const changed = this.changed.get(path);
    return changed === undefined ? this.folders.has(path) || this.disk.exists(path) : changed !== null;
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    return this.disk.space(path);
  }

  /** @throws ENOENT where there is no such file */
  private contentOf(path: string): Content {
    const changed = this.changed.get(path);
    if (changed === null) throw Object.assign(new Error(`ENOENT: ${path} was removed`), { code: "ENOENT" });
    return changed ?? { below: path, length: this.disk.sizeOf(path) };
  }

  /** Brings a file into memory, where it can be changed. @param length the least number of bytes that the caller needs */
  private loadForWriting(path: string, length: number): Buffer {
    const content = this.contentOf(path);
    const bytes = "bytes" in content ? content.bytes : this.readBelow(content.below, content.length);
    const enough = bytes.length >= length ? bytes : Buffer.concat([bytes], length);
    this.changed.set(path, { bytes: enough });
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

  private handleOf(handle: number): { path: string; fd: number } {
    const open = this.handles.get(handle);
    if (open === undefined) throw Object.assign(new Error("EBADF"), { code: "EBADF" });
    return open;
  }
}

function lengthOf(file: Content): number {
  return "bytes" in file ? file.bytes.length : file.length;
}
