import { basename, dirname, join } from "node:path";
import type { Disk, OpenFlags } from "../../../../src/broker/storage/disk/disk.ts";
import type { Random } from "../../../support/random.ts";
import { tornWrite } from "./torn-write.ts";

/** The free space that the disk always reports: more than --min-free-bytes, and so little that the ballast is small. */
const SPACE_BYTES = 20 * 1024 * 1024;

interface Inode {
  bytes: Buffer;
  size: number;
}

/** A folder, whatever its name: the names that are made in it stay in it when it gets another one, or has its old one after a power cut. */
class Folder {
  readonly isFolder = true;
}

/** What a name in a folder refers to; undefined: the name does not exist. */
type Target = Inode | Folder | undefined;

interface Name {
  /** The whole path when the name was made or removed. */
  path: string;
  /** The folder that the name is in. */
  parent: Folder;
  target: Target;
}

type Operation =
  | { kind: "write"; inode: Inode; offset: number; bytes: Buffer }
  | { kind: "truncate"; inode: Inode; length: number }
  /** Changes one name or, for a rename, two together. */
  | { kind: "names"; names: Name[] };

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
  private root = new Folder();
  private readonly names = new Map<string, Inode | Folder>();
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
      (copy, offset, bytes) => (random.chance(keeps) ? bytes : tornWrite(copy.bytes.subarray(0, copy.size), bytes, offset, random)),
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
    const folders = new Map<Folder, Map<string, Inode | Folder>>();
    const namesIn = (folder: Folder): Map<string, Inode | Folder> => {
      const known = folders.get(folder) ?? new Map();
      folders.set(folder, known);
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
        for (const { path, parent, target } of operation.names) {
          if (target === undefined) namesIn(parent).delete(basename(path));
          else namesIn(parent).set(basename(path), target);
        }
      }
    }
    // Files in a folder whose own name was lost are lost. Everything that is left counts as synced.
    const take = (folder: Folder, directory: string): void => {
      for (const [name, target] of namesIn(folder)) {
        const path = join(directory, name);
        if (isFolder(target)) {
          after.add(path, new Folder());
          take(target, path);
        } else after.add(path, copyOf(target));
      }
    };
    take(this.root, "/");
    return after;
  }

  /** Makes the disk that another process finds when this one is killed: syncs that are under way end without it. */
  afterKill(): FaultDisk {
    while (this.syncs.length > 0) this.endSync();
    const after = new FaultDisk();
    after.moment = this.moment;
    after.failsToSync = this.failsToSync;
    after.root = this.root;
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
    if (this.isFolder(path)) throw failure("EISDIR", path);
    let inode: Inode;
    if (flags !== "w+") inode = this.inode(path);
    else if (!this.exists(path)) {
      inode = { bytes: Buffer.alloc(256), size: 0 };
      this.change(this.name(path, inode));
    } else {
      inode = this.inode(path);
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
    const folder = path === "/" ? this.root : this.names.get(path);
    this.beginSync(path, ({ operation }) => operation.kind === "names" && operation.names.some(({ parent }) => parent === folder), done);
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
    this.change(this.name(from, undefined), this.name(to, target));
    if (!isFolder(target)) return;
    for (const [path, inside] of [...this.names]) {
      if (!path.startsWith(`${from}/`)) continue;
      this.names.delete(path);
      this.names.set(to + path.slice(from.length), inside);
    }
  }

  remove(path: string): void {
    this.inode(path);
    this.change(this.name(path, undefined));
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
    this.change(this.name(path, new Folder()));
    return true;
  }

  removeDirectory(path: string): void {
    if (this.list(path).length > 0) throw failure("ENOTEMPTY", path);
    this.change(this.name(path, undefined));
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

  /** A name that is made, or one that is removed. */
  private name(path: string, target: Target): Name {
    return { path, parent: this.folder(dirname(path)), target };
  }

  private change(...names: Name[]): void {
    this.record(names[names.length - 1]?.path ?? "", { kind: "names", names });
    for (const { path, target } of names) {
      if (target === undefined) this.names.delete(path);
      else this.names.set(path, target);
    }
  }

  /** Takes over what a power cut left of another disk. */
  private add(path: string, target: Inode | Folder): void {
    this.names.set(path, target);
    if (!isFolder(target))
      this.record(path, { kind: "write", inode: target, offset: 0, bytes: Buffer.from(target.bytes.subarray(0, target.size)) }, 0);
    this.record(path, { kind: "names", names: [this.name(path, target)] }, 0);
  }

  private record(path: string, operation: Operation, syncedAt = Number.POSITIVE_INFINITY): void {
    this.operations.push({ at: syncedAt === 0 ? 0 : ++this.moment, recorded: { path, operation, syncedAt, dropped: false } });
  }

  isFolder(path: string): boolean {
    return path === "/" || isFolder(this.names.get(path));
  }

  private folder(path: string): Folder {
    const folder = path === "/" ? this.root : this.names.get(path);
    if (!isFolder(folder)) throw failure("ENOENT", path);
    return folder;
  }

  private inode(path: string): Inode {
    const inode = this.names.get(path);
    if (inode === undefined || isFolder(inode)) throw failure("ENOENT", path);
    return inode;
  }

  private of(fd: number): Inode {
    const inode = this.open_.get(fd);
    if (inode === undefined) throw failure("EBADF", `${fd}`);
    return inode;
  }
}

function isFolder(target: Target): target is Folder {
  return target instanceof Folder;
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
