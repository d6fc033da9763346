import type { DescriptorBudget, DescriptorShare } from "../../../base/descriptor-budget.ts";
import { closeQuietly, type Disk, type OpenFlags } from "./disk.ts";

type Done = (error: NodeJS.ErrnoException | null) => void;

/** A file that was not used for this long gives its descriptor back. */
const IDLE_MS = 10_000;
/** Syncs that run at a time. Each holds a descriptor, and a group sync asks for thousands. */
const MAX_SYNCS = 32;
/** When the system has no descriptor left, though the budget has, this many files are closed to get some. */
const CLOSED_IN_NEED = 16;

/** A file that is open for the parts above, with or without a descriptor. */
class OpenFile {
  /** -1 while the file has no descriptor. */
  fd = -1;
  /** Nobody may find it under its path any more, so it keeps its descriptor. */
  removed = false;
  /** close() was called. */
  closed = false;
  /** Syncs that were asked for and have not ended. */
  syncs = 0;
  /** Syncs that run on the descriptor. */
  running = 0;
  usedMs = 0;
  /** Neighbours in the list of files whose descriptor may be taken away. */
  older: OpenFile | undefined;
  newer: OpenFile | undefined;
  isListed = false;

  constructor(
    public path: string,
    /** For opening it again. */
    readonly flags: "r" | "r+",
  ) {}
}

/**
 * A disk whose files share a bounded number of descriptors. The descriptor that open() returns is a handle: behind it the file
 * is closed when it was used least recently and another one needs its descriptor, or when it was idle for IDLE_MS, and the next
 * use opens it again. So there may be thousands of open logs and buckets under a small limit of open files, and those that
 * nobody uses hold none.
 *
 * A file that was removed, or that is being synced, keeps its descriptor. A folder that is renamed must not have open files.
 */
export class OpenFiles implements Disk {
  private readonly share: DescriptorShare;
  /** By handle. */
  private readonly files: (OpenFile | undefined)[] = [];
  private readonly freeHandles: number[] = [];
  private readonly byPath = new Map<string, Set<OpenFile>>();
  private oldest: OpenFile | undefined;
  private newest: OpenFile | undefined;
  private runningSyncs = 0;
  private readonly queuedSyncs: (() => void)[] = [];
  private isStarting = false;
  private nowMs = 0;

  constructor(
    private readonly disk: Disk,
    budget: DescriptorBudget,
  ) {
    this.share = budget.share(() => this.closeOldest());
  }

  /** How many files have a descriptor. */
  get descriptors(): number {
    return this.share.used;
  }

  /** Closes the files that were not used for a while. To be called regularly. @param nowMs of a clock that nobody sets */
  closeIdle(nowMs: number): void {
    this.nowMs = nowMs;
    while (this.oldest !== undefined && nowMs - this.oldest.usedMs >= IDLE_MS) this.closeOldest();
  }

  // ---- the calls of a disk

  open(path: string, flags: OpenFlags): number {
    const file = new OpenFile(path, flags === "r" ? "r" : "r+");
    file.fd = this.openNow(path, flags);
    this.addPath(path, file);
    this.use(file);
    const handle = this.freeHandles.pop() ?? this.files.length;
    this.files[handle] = file;
    return handle;
  }

  close(handle: number): void {
    const file = this.fileOf(handle);
    this.files[handle] = undefined;
    this.freeHandles.push(handle);
    file.closed = true;
    if (file.syncs === 0) this.forget(file);
  }

  read(handle: number, buffer: Buffer, at: number, length: number, position: number): number {
    return this.disk.read(this.descriptorOf(handle), buffer, at, length, position);
  }

  write(handle: number, buffer: Buffer, from: number, length: number, position: number): number {
    return this.disk.write(this.descriptorOf(handle), buffer, from, length, position);
  }

  size(handle: number): number {
    return this.disk.size(this.descriptorOf(handle));
  }

  truncate(handle: number, length: number): void {
    this.disk.truncate(this.descriptorOf(handle), length);
  }

  sync(handle: number, done: Done): void {
    const file = this.fileOf(handle);
    file.syncs++;
    this.whenSyncsAllow(() => this.startSync(file, done));
  }

  syncNow(handle: number): void {
    this.disk.syncNow(this.descriptorOf(handle));
  }

  syncDirectory(path: string, done: Done): void {
    this.whenSyncsAllow(() => {
      this.disk.syncDirectory(path, (error) => {
        this.endSync();
        done(error);
      });
    });
  }

  syncDirectoryNow(path: string): void {
    this.disk.syncDirectoryNow(path);
  }

  rename(from: string, to: string): void {
    this.disk.rename(from, to);
    this.onRemoved(to);
    const files = this.byPath.get(from);
    if (files === undefined) return;
    this.byPath.delete(from);
    this.byPath.set(to, files);
    for (const file of files) file.path = to;
  }

  remove(path: string): void {
    this.disk.remove(path);
    this.onRemoved(path);
  }

  removeLater(path: string, done: Done): void {
    this.onRemoved(path);
    this.disk.removeLater(path, done);
  }

  makeDirectory(path: string): boolean {
    return this.disk.makeDirectory(path);
  }

  removeDirectory(path: string): void {
    this.disk.removeDirectory(path);
  }

  list(path: string): string[] {
    return this.disk.list(path);
  }

  listFolders(path: string): string[] {
    return this.disk.listFolders(path);
  }

  sizeOf(path: string): number {
    return this.disk.sizeOf(path);
  }

  exists(path: string): boolean {
    return this.disk.exists(path);
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    return this.disk.space(path);
  }

  // ---- descriptors

  private fileOf(handle: number): OpenFile {
    const file = this.files[handle];
    if (file === undefined) throw Object.assign(new Error(`EBADF: ${handle} is not an open file`), { code: "EBADF" });
    return file;
  }

  private descriptorOf(handle: number): number {
    const file = this.fileOf(handle);
    if (file.fd < 0) this.reopen(file);
    this.use(file);
    return file.fd;
  }

  private reopen(file: OpenFile): void {
    if (file.removed) throw Object.assign(new Error(`ENOENT: ${file.path} was removed`), { code: "ENOENT" });
    file.fd = this.openNow(file.path, file.flags);
  }

  private openNow(path: string, flags: OpenFlags): number {
    while (!this.share.take(1)) {
      if (this.closeOldest()) continue;
      // All are being synced. The descriptors that nobody counts give this one.
      this.share.overdraw(1);
      break;
    }
    try {
      return this.openOrMakeRoom(path, flags);
    } catch (error) {
      this.share.giveBack(1);
      throw error;
    }
  }

  /** Opens a file, after closing some where the system says that there are too many. */
  private openOrMakeRoom(path: string, flags: OpenFlags): number {
    try {
      return this.disk.open(path, flags);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EMFILE" && code !== "ENFILE") throw error;
      let closed = 0;
      while (closed < CLOSED_IN_NEED && this.closeOldest()) closed++;
      if (closed === 0) throw error;
      return this.disk.open(path, flags);
    }
  }

  /** Closes the file that was used least recently. @returns false if none may be closed */
  private closeOldest(): boolean {
    const file = this.oldest;
    if (file === undefined) return false;
    this.closeDescriptor(file);
    return true;
  }

  private closeDescriptor(file: OpenFile): void {
    this.unlist(file);
    if (file.fd < 0) return;
    const { fd } = file;
    file.fd = -1;
    this.share.giveBack(1);
    closeQuietly(this.disk, fd);
  }

  private forget(file: OpenFile): void {
    const files = this.byPath.get(file.path);
    if (files?.delete(file) === true && files.size === 0) this.byPath.delete(file.path);
    this.closeDescriptor(file);
  }

  private addPath(path: string, file: OpenFile): void {
    const files = this.byPath.get(path);
    if (files === undefined) this.byPath.set(path, new Set([file]));
    else files.add(file);
  }

  /** A path leads to none of the files any more that were opened by it. */
  private onRemoved(path: string): void {
    const files = this.byPath.get(path);
    if (files === undefined) return;
    this.byPath.delete(path);
    for (const file of files) {
      file.removed = true;
      this.unlist(file);
    }
  }

  /** Makes a file the one that was used last. */
  private use(file: OpenFile): void {
    file.usedMs = this.nowMs;
    if (this.newest === file || file.removed || file.running > 0) return;
    this.unlist(file);
    file.older = this.newest;
    if (this.newest === undefined) this.oldest = file;
    else this.newest.newer = file;
    this.newest = file;
    file.isListed = true;
  }

  private unlist(file: OpenFile): void {
    if (!file.isListed) return;
    if (file.older === undefined) this.oldest = file.newer;
    else file.older.newer = file.newer;
    if (file.newer === undefined) this.newest = file.older;
    else file.newer.older = file.older;
    file.older = file.newer = undefined;
    file.isListed = false;
  }

  // ---- syncs

  private whenSyncsAllow(start: () => void): void {
    this.queuedSyncs.push(start);
    this.startSyncs();
  }

  private startSyncs(): void {
    // Syncs that end while others are being started make room for further ones in the same loop.
    if (this.isStarting) return;
    this.isStarting = true;
    try {
      let started = 0;
      while (this.runningSyncs < MAX_SYNCS && started < this.queuedSyncs.length) {
        this.runningSyncs++;
        this.queuedSyncs[started++]();
      }
      this.queuedSyncs.splice(0, started);
    } finally {
      this.isStarting = false;
    }
  }

  private endSync(): void {
    this.runningSyncs--;
    this.startSyncs();
  }

  private startSync(file: OpenFile, done: Done): void {
    const end = (error: NodeJS.ErrnoException | null) => {
      file.syncs--;
      if (file.closed && file.syncs === 0) this.forget(file);
      this.endSync();
      done(error);
    };
    // A file that was removed and has no descriptor has no bytes that anybody could ask for.
    if (file.fd < 0 && file.removed) return end(null);
    try {
      if (file.fd < 0) this.reopen(file);
    } catch (error) {
      return end(error as NodeJS.ErrnoException);
    }
    // The sync runs on the descriptor in another thread. If it was closed meanwhile, its number could be another file's.
    file.running++;
    this.unlist(file);
    this.disk.sync(file.fd, (error) => {
      file.running--;
      if (file.running === 0) this.use(file);
      end(error);
    });
  }
}
