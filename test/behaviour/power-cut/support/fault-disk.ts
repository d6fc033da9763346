import { dirname } from "node:path";
import type { Disk, OpenFlags } from "../../../../src/broker/storage/disk/disk.ts";
import type { Random } from "../../../support/random.ts";

/** A disk writes a sector completely or not at all. */
const SECTOR_BYTES = 512;
/** The free space that the disk always reports: more than --min-free-bytes, and so little that the ballast is small. */
const SPACE_BYTES = 20 * 1024 * 1024;

interface Inode {
  bytes: Buffer;
  size: number;
}

/** What a name in a folder refers to; undefined: the name does not exist. */
type Target = Inode | "folder" | undefined;

type Operation =
  | { kind: "write"; inode: Inode; offset: number; bytes: Buffer }
  | { kind: "truncate"; inode: Inode; length: number }
  /** Changes one name or, for a rename, two together. */
  | { kind: "names"; names: { path: string; target: Target }[] };

interface Recorded {
  /** The file that was changed, by the name that it was opened with; of a rename, the new name. */
  path: string;
  operation: Operation;
  /** The moment at which a sync that covers the operation ended; Infinity if none has. */
  syncedAt: number;
  /** A sync that covers the operation failed: the kernel takes it for written, and no later sync covers it. */
  dropped: boolean;
}

/** A change that a power cut may lose. */
export interface UnsyncedChange {
  readonly path: string;
  readonly kind: Operation["kind"];
  /** What was written. */
  readonly bytes: Buffer | undefined;
}

/** How likely a power cut finds an operation on the disk that a failed sync has dropped. */
const DROPPED_KEPT = 0.1;

/**
 * A disk in memory that remembers every change and which sync covered it. So it can make the disk that a power cut at any
 * moment may leave: each change that was not synced may be there or missing, and a write may be torn or turned into garbage,
 * in any combination.
 *
 * Syncs may fail. As on Linux, what a failed sync was to cover can still be read, but counts as written from then on: only
 * writing it again brings it to the disk.
 */
export class FaultDisk implements Disk {
  /** Counts changes and ended syncs. The power can be cut at each of these moments. */
  moment = 0;
  /** Whether the sync of a file or folder fails that begins now. */
  failsToSync: (path: string) => boolean = () => false;
  /** How many syncs have failed. */
  failures = 0;
  private readonly names = new Map<string, Target>();
  private readonly open_ = new Map<number, Inode>();
  private readonly openPaths = new Map<number, string>();
  private readonly operations: { at: number; recorded: Recorded }[] = [];
  private nextFd = 1000;
  private syncs: { run: () => void }[] = [];

  /** How many syncs have begun and not ended. */
  get waiting(): number {
    return this.syncs.length;
  }

  /** Ends the sync that began earliest. */
  endSync(): void {
    this.syncs.shift()?.run();
  }

  /** Makes a disk that a power cut at `moment` may leave. @param after an empty one, which it becomes */
  afterCut(moment: number, random: Random, after = new FaultDisk()): FaultDisk {
    // Some cuts lose almost all changes that were not synced, and some almost none.
    const keeps = random.pick([0.1, 0.5, 0.9, 1]);
    return this.rebuild(
      moment,
      after,
      ({ dropped }) => random.chance(dropped ? DROPPED_KEPT : keeps),
      (copy, offset, bytes) => (random.chance(keeps) ? bytes : kept(copy, bytes, offset, torn(bytes, offset, random))),
    );
  }

  /** Makes the disk that a power cut leaves now. @param loses whether it loses a change that was not synced; the others are whole */
  afterLosing(loses: (change: UnsyncedChange) => boolean): FaultDisk {
    return this.rebuild(this.moment, new FaultDisk(), ({ path, operation }) => {
      const { kind } = operation;
      return !loses({ path, kind, bytes: kind === "write" ? operation.bytes : undefined });
    });
  }

  /**
   * @param keeps whether a change is there that was not synced by `moment`
   * @param left what is there of a write that was not synced
   */
  private rebuild(
    moment: number,
    after: FaultDisk,
    keeps: (recorded: Recorded) => boolean,
    left: (copy: Inode, offset: number, bytes: Buffer) => Buffer = (_copy, _offset, bytes) => bytes,
  ): FaultDisk {
    const copies = new Map<Inode, Inode>();
    const copyOf = (inode: Inode): Inode => {
      const known = copies.get(inode) ?? { bytes: Buffer.alloc(256), size: 0 };
      copies.set(inode, known);
      return known;
    };
    for (const { at, recorded } of this.operations) {
      if (at > moment) break;
      const { operation, syncedAt } = recorded;
      const synced = syncedAt <= moment;
      if (!synced && !keeps(recorded)) continue;
      if (operation.kind === "truncate") resize(copyOf(operation.inode), operation.length);
      else if (operation.kind === "write") {
        const { bytes, offset } = operation;
        const copy = copyOf(operation.inode);
        put(copy, offset, synced ? bytes : left(copy, offset, bytes));
      } else {
        for (const { path, target } of operation.names) {
          if (typeof target === "object") after.names.set(path, copyOf(target));
          else if (target === undefined) after.names.delete(path);
          else after.names.set(path, target);
        }
      }
    }
    // Files in a folder whose own name was lost are lost.
    for (const path of [...after.names.keys()].sort()) if (!after.isFolder(dirname(path))) after.names.delete(path);
    // Everything that is left counts as synced.
    for (const [path, target] of after.names) {
      if (typeof target === "object")
        after.record(path, { kind: "write", inode: target, offset: 0, bytes: Buffer.from(target.bytes.subarray(0, target.size)) }, 0);
      after.record(path, { kind: "names", names: [{ path, target }] }, 0);
    }
    return after;
  }

  /** Makes the disk that another process finds when this one is killed: syncs that are under way end without it. */
  afterKill(): FaultDisk {
    while (this.syncs.length > 0) this.endSync();
    const after = new FaultDisk();
    after.moment = this.moment;
    after.failsToSync = this.failsToSync;
    for (const [path, target] of this.names) after.names.set(path, target);
    after.operations.push(...this.operations);
    return after;
  }

  /** The content of a file. */
  content(path: string): Buffer {
    const inode = this.inode(path);
    return Buffer.from(inode.bytes.subarray(0, inode.size));
  }

  paths(): string[] {
    return [...this.names.keys()].sort();
  }

  open(path: string, flags: OpenFlags): number {
    let inode = this.names.get(path);
    if (inode === "folder") throw failure("EISDIR", path);
    if (flags !== "w+") inode = this.inode(path);
    else if (inode === undefined) {
      if (!this.isFolder(dirname(path))) throw failure("ENOENT", path);
      inode = { bytes: Buffer.alloc(256), size: 0 };
      this.rename_({ path, target: inode });
    } else {
      this.record(path, { kind: "truncate", inode, length: 0 });
      resize(inode, 0);
    }
    const fd = this.nextFd++;
    this.open_.set(fd, inode);
    this.openPaths.set(fd, path);
    return fd;
  }

  close(fd: number): void {
    if (!this.open_.delete(fd)) throw failure("EBADF", `${fd}`);
  }

  read(fd: number, buffer: Buffer, at: number, length: number, position: number): number {
    const { bytes, size } = this.of(fd);
    return Math.max(0, bytes.copy(buffer, at, Math.min(position, size), Math.min(position + length, size)));
  }

  write(fd: number, buffer: Buffer, from: number, length: number, position: number): number {
    const inode = this.of(fd);
    const bytes = Buffer.from(buffer.subarray(from, from + length));
    this.record(this.openPaths.get(fd) ?? "", { kind: "write", inode, offset: position, bytes });
    put(inode, position, bytes);
    return length;
  }

  size(fd: number): number {
    return this.of(fd).size;
  }

  truncate(fd: number, length: number): void {
    const inode = this.of(fd);
    this.record(this.openPaths.get(fd) ?? "", { kind: "truncate", inode, length });
    resize(inode, length);
  }

  sync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void {
    const inode = this.open_.get(fd);
    // An abandoned broker may still sync a file that was open on another disk. That sync never ends.
    if (inode === undefined) return;
    const path = this.openPaths.get(fd) ?? "";
    this.beginSync(path, ({ operation }) => operation.kind !== "names" && operation.inode === inode, done);
  }

  syncNow(fd: number): void {
    this.endNow((done) => this.sync(fd, done));
  }

  syncDirectory(path: string, done: (error: NodeJS.ErrnoException | null) => void): void {
    // A rename is synced with either of its folders, since file systems write it as a whole. That of the folder itself is not: what
    // is in the folder does not change.
    const isIn = (names: { path: string }[]) =>
      names.some((name) => dirname(name.path) === path) && names.every((name) => name.path !== path);
    this.beginSync(path, ({ operation }) => operation.kind === "names" && isIn(operation.names), done);
  }

  syncDirectoryNow(path: string): void {
    this.endNow((done) => this.syncDirectory(path, done));
  }

  /** Begins a sync, and ends it. @throws its error */
  private endNow(begin: (done: (error: NodeJS.ErrnoException | null) => void) => void): void {
    const before = this.syncs.length;
    let failed: NodeJS.ErrnoException | null = null;
    begin((error) => {
      failed = error;
    });
    for (const { run } of this.syncs.splice(before)) run();
    if (failed !== null) throw failed;
  }

  rename(from: string, to: string): void {
    const target = this.names.get(from);
    if (target === undefined) throw failure("ENOENT", from);
    const names: { path: string; target: Target }[] = [];
    for (const [path, inside] of target === "folder" ? this.names : []) {
      if (!path.startsWith(`${from}/`)) continue;
      names.push({ path, target: undefined }, { path: to + path.slice(from.length), target: inside });
    }
    this.rename_(...names, { path: from, target: undefined }, { path: to, target });
  }

  remove(path: string): void {
    this.inode(path);
    this.rename_({ path, target: undefined });
  }

  removeLater(path: string, done: (error: NodeJS.ErrnoException | null) => void): void {
    try {
      this.remove(path);
    } catch (error) {
      return done(error as NodeJS.ErrnoException);
    }
    done(null);
  }

  makeDirectory(path: string): boolean {
    if (this.isFolder(path)) return false;
    if (!this.isFolder(dirname(path))) this.makeDirectory(dirname(path));
    this.rename_({ path, target: "folder" });
    return true;
  }

  removeDirectory(path: string): void {
    if (this.list(path).length > 0) throw failure("ENOTEMPTY", path);
    this.rename_({ path, target: undefined });
  }

  list(path: string): string[] {
    if (!this.isFolder(path)) throw failure("ENOENT", path);
    const below = path === "/" ? "/" : `${path}/`;
    return [...this.names.keys()]
      .filter((name) => name.startsWith(below) && !name.slice(below.length).includes("/"))
      .map((name) => name.slice(below.length));
  }

  listFolders(path: string): string[] {
    return this.list(path).filter((name) => this.isFolder(`${path}/${name}`));
  }

  sizeOf(path: string): number {
    return this.inode(path).size;
  }

  exists(path: string): boolean {
    return this.names.has(path);
  }

  space(): { freeBytes: number; totalBytes: number } {
    return { freeBytes: SPACE_BYTES, totalBytes: SPACE_BYTES };
  }

  private beginSync(path: string, covers: (recorded: Recorded) => boolean, done: (error: NodeJS.ErrnoException | null) => void): void {
    const covered = this.operations.filter(
      ({ recorded }) => recorded.syncedAt === Number.POSITIVE_INFINITY && !recorded.dropped && covers(recorded),
    );
    const fails = this.failsToSync(path);
    this.syncs.push({
      run: () => {
        this.moment++;
        for (const { recorded } of covered) {
          if (fails) recorded.dropped = true;
          else if (!recorded.dropped) recorded.syncedAt = Math.min(recorded.syncedAt, this.moment);
        }
        if (fails) this.failures++;
        done(fails ? failure("EIO", path) : null);
      },
    });
  }

  private rename_(...names: { path: string; target: Target }[]): void {
    this.record(names[names.length - 1]?.path ?? "", { kind: "names", names });
    for (const { path, target } of names) {
      if (target === undefined) this.names.delete(path);
      else this.names.set(path, target);
    }
  }

  private record(path: string, operation: Operation, syncedAt = Number.POSITIVE_INFINITY): void {
    this.operations.push({ at: syncedAt === 0 ? 0 : ++this.moment, recorded: { path, operation, syncedAt, dropped: false } });
  }

  isFolder(path: string): boolean {
    return path === "/" || this.names.get(path) === "folder";
  }

  private inode(path: string): Inode {
    const inode = this.names.get(path);
    if (typeof inode !== "object") throw failure("ENOENT", path);
    return inode;
  }

  private of(fd: number): Inode {
    const inode = this.open_.get(fd);
    if (inode === undefined) throw failure("EBADF", `${fd}`);
    return inode;
  }
}

/** What may be left of a write: its beginning, or some of its sectors beside zeros or garbage, or all of it with a flipped bit. */
function torn(bytes: Buffer, offset: number, random: Random): Buffer {
  const left = Buffer.from(bytes);
  const way = random.int(0, 3);
  if (way === 0) return left.subarray(0, random.int(0, bytes.length));
  for (let at = -(offset % SECTOR_BYTES); at < bytes.length; at += SECTOR_BYTES) {
    if (random.chance(0.5)) continue;
    const from = Math.max(0, at);
    const to = Math.min(bytes.length, at + SECTOR_BYTES);
    if (way === 1) left.fill(0, from, to);
    else for (let i = from; i < to; i++) left[i] = random.int(0, 255);
  }
  if (way === 3) return flipped(bytes, random);
  return left;
}

/**
 * What a torn write may not change. A sector that the file has is overwritten completely or not at all, so a write within one is not
 * torn. Bytes of a sector that are written as they are there already stay, also where the write goes on behind the end of the file: what
 * a failed sync has lost is written again in its place, and the last sector of a file may have been synced before it was full.
 */
function kept(inode: Inode, bytes: Buffer, offset: number, left: Buffer): Buffer {
  if (offset + bytes.length <= inode.size && Math.floor(offset / SECTOR_BYTES) === Math.floor((offset + bytes.length - 1) / SECTOR_BYTES))
    return bytes;
  for (let at = 0; at < left.length; ) {
    const end = Math.min(left.length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
    const present = bytes.subarray(at, Math.max(at, Math.min(end, inode.size - offset)));
    if (present.equals(inode.bytes.subarray(offset + at, offset + at + present.length))) present.copy(left, at);
    at = end;
  }
  return left;
}

function flipped(bytes: Buffer, random: Random): Buffer {
  const left = Buffer.from(bytes);
  if (left.length > 0) left[random.int(0, left.length - 1)] ^= 1 << random.int(0, 7);
  return left;
}

function put(inode: Inode, offset: number, bytes: Buffer): void {
  const end = offset + bytes.length;
  grow(inode, end);
  bytes.copy(inode.bytes, offset);
  inode.size = Math.max(inode.size, end);
}

function resize(inode: Inode, length: number): void {
  grow(inode, length);
  if (length < inode.size) inode.bytes.fill(0, length, inode.size);
  inode.size = length;
}

function grow(inode: Inode, length: number): void {
  if (inode.bytes.length >= length) return;
  const larger = Buffer.alloc(Math.max(2 * inode.bytes.length, length));
  inode.bytes.copy(larger, 0, 0, inode.size);
  inode.bytes = larger;
}

function failure(code: string, what: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
