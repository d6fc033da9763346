import type { Clock } from "../../src/base/clock.ts";
import type { Disk, OpenFlags } from "../../src/broker/storage/disk/disk.ts";
import type { Random } from "./random.ts";

type Done = (error: NodeJS.ErrnoException | null) => void;

/** How often each kind of call fails, as a share of 1, and how long a sync takes. */
export interface Flakiness {
  write: number;
  sync: number;
  open: number;
  /** Longest time until a sync ends, ms; each takes a random part of it. */
  syncMs: number;
}

/**
 * A kind of call to the disk. `open` opens what exists, `create` makes or empties a file, `size` measures a file, `stat` asks whether
 * there is one, and `space` how much is free.
 */
export type DiskCall =
  | ("open" | "create" | "read" | "write" | "size" | "truncate" | "sync" | "rename" | "remove")
  | ("syncFolder" | "makeFolder" | "removeFolder" | "list" | "stat" | "space");

/** Calls that fail because a test says so. */
export interface ScriptedFailure {
  /** Paths of the files and folders at which they fail. */
  path: RegExp;
  calls: readonly DiskCall[];
  code: string;
  /** How many calls fail; Infinity: all, until the failure is removed. */
  times: number;
  /** How many calls succeed before. */
  after?: number;
  /** Where it ends, by the clock that nobody sets, ms. It begins with the first call that fails. */
  lastsMs?: number;
  /** A write that fails has written this share of its bytes, from 0 to 1, up to the end of a page. */
  partly?: number;
}

/** A scripted failure, and when it ends. */
interface Script extends ScriptedFailure {
  endsMs?: number;
}

const PAGE_BYTES = 4096;
const READING: ReadonlySet<DiskCall> = new Set(["open", "read", "size", "list"]);
const NEVER: Flakiness = { write: 0, sync: 0, open: 0, syncMs: 0 };

/**
 * A disk in front of another that fails at random, from a seed, and keeps a trace of all that changed the
 * disk or failed to: with the same seed and the same calls the trace is the same.
 */
export class FlakyDisk implements Disk {
  readonly trace: string[] = [];
  /** Set to false, nothing fails any more. */
  fails = true;
  /** What fails beside that, whatever `fails` says. */
  readonly script: Script[] = [];
  /** How many calls the script has made fail. */
  scripted = 0;
  /** How many calls read or opened something. */
  reads = 0;
  /** Called before each call, also before one that fails. */
  onCall: (call: DiskCall, path: string) => void = () => {};
  /** Carries out a sync that the script makes fail, for a disk that drops what such a sync was to cover. */
  dropSynced: (sync: () => void) => void = () => {};
  private readonly paths = new Map<number, string>();

  constructor(
    private readonly disk: Disk,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly flakiness: Flakiness = NEVER,
  ) {}

  open(path: string, flags: OpenFlags): number {
    this.follow(flags === "w+" ? "create" : "open", path);
    if (this.isFailing(this.flakiness.open)) throw this.failure("EMFILE", "open", path);
    const fd = this.disk.open(path, flags);
    this.paths.set(fd, path);
    if (flags === "w+") this.trace.push(`make ${path}`);
    return fd;
  }

  close(fd: number): void {
    this.paths.delete(fd);
    this.disk.close(fd);
  }

  read(fd: number, buffer: Buffer, at: number, length: number, position: number): number {
    this.follow("read", this.pathOf(fd));
    return this.disk.read(fd, buffer, at, length, position);
  }

  write(fd: number, buffer: Buffer, from: number, length: number, position: number): number {
    const path = this.pathOf(fd);
    const scripted = this.failureOf("write", path);
    if (scripted !== undefined) {
      // The kernel writes a page or none of it.
      const end = position + length * (scripted.partly ?? 0);
      const written = Math.floor(end / PAGE_BYTES) * PAGE_BYTES - position;
      if (written > 0) this.disk.write(fd, buffer, from, written, position);
      throw this.failure(scripted.code, "write", path);
    }
    if (this.isFailing(this.flakiness.write)) throw this.failure(this.random.pick(["EIO", "ENOSPC"]), "write", path);
    const hash = Bun.hash.crc32(buffer.subarray(from, from + length));
    this.trace.push(`write ${path} ${position}+${length} ${hash.toString(16)}`);
    return this.disk.write(fd, buffer, from, length, position);
  }

  size(fd: number): number {
    this.follow("size", this.pathOf(fd));
    return this.disk.size(fd);
  }

  truncate(fd: number, length: number): void {
    this.follow("truncate", this.pathOf(fd));
    this.trace.push(`truncate ${this.pathOf(fd)} ${length}`);
    this.disk.truncate(fd, length);
  }

  sync(fd: number, done: Done): void {
    const path = this.pathOf(fd);
    this.finishLater("sync", path, done, (end) => this.disk.sync(fd, end));
  }

  syncNow(fd: number): void {
    const path = this.pathOf(fd);
    try {
      this.follow("sync", path);
    } catch (error) {
      this.dropSynced(() => this.disk.sync(fd, () => {}));
      throw error;
    }
    this.trace.push(`sync ${path}`);
    this.disk.syncNow(fd);
  }

  syncDirectory(path: string, done: Done): void {
    this.finishLater("syncFolder", path, done, (end) => this.disk.syncDirectory(path, end));
  }

  syncDirectoryNow(path: string): void {
    try {
      this.follow("syncFolder", path);
    } catch (error) {
      this.dropSynced(() => this.disk.syncDirectory(path, () => {}));
      throw error;
    }
    this.trace.push(`sync ${path}/`);
    this.disk.syncDirectoryNow(path);
  }

  rename(from: string, to: string): void {
    this.follow("rename", from);
    this.follow("rename", to);
    this.trace.push(`rename ${from} ${to}`);
    this.disk.rename(from, to);
    for (const [fd, path] of this.paths) {
      if (path === from || path.startsWith(`${from}/`)) this.paths.set(fd, to + path.slice(from.length));
    }
  }

  remove(path: string): void {
    this.follow("remove", path);
    this.disk.remove(path);
    this.trace.push(`remove ${path}`);
  }

  removeLater(path: string, done: Done): void {
    this.finishLater("remove", path, done, (end) => this.disk.removeLater(path, end));
  }

  makeDirectory(path: string): boolean {
    if (!this.disk.exists(path)) this.follow("makeFolder", path);
    const made = this.disk.makeDirectory(path);
    if (made) this.trace.push(`make ${path}/`);
    return made;
  }

  removeDirectory(path: string): void {
    this.follow("removeFolder", path);
    this.disk.removeDirectory(path);
    this.trace.push(`remove ${path}/`);
  }

  list(path: string): string[] {
    this.follow("list", path);
    return this.disk.list(path);
  }

  listFolders(path: string): string[] {
    this.follow("list", path);
    return this.disk.listFolders(path);
  }

  sizeOf(path: string): number {
    this.follow("size", path);
    return this.disk.sizeOf(path);
  }

  exists(path: string): boolean {
    this.follow("stat", path);
    return this.disk.exists(path);
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    this.follow("space", path);
    return this.disk.space(path);
  }

  /** Off the event loop: the end comes some time later, by the clock. */
  private finishLater(call: DiskCall, path: string, done: Done, work: (end: Done) => void): void {
    const what = { sync: `sync ${path}`, syncFolder: `sync ${path}/` }[call as string] ?? `${call} ${path}`;
    const scripted = this.failureOf(call, path);
    const fails = scripted !== undefined || this.isFailing(this.flakiness.sync);
    this.clock.callAfter(this.random.next() * this.flakiness.syncMs, () => {
      if (scripted !== undefined && call !== "remove") this.dropSynced(() => work(() => {}));
      if (fails) return done(this.failure(scripted?.code ?? "EIO", what, ""));
      this.trace.push(what);
      work(done);
    });
  }

  /** @throws what the script says */
  private follow(call: DiskCall, path: string): void {
    const scripted = this.failureOf(call, path);
    if (scripted !== undefined) throw this.failure(scripted.code, call, path);
  }

  /** The scripted failure that a call meets; undefined: it is carried out. */
  private failureOf(call: DiskCall, path: string): Script | undefined {
    if (READING.has(call)) this.reads++;
    this.onCall(call, path);
    const failure = this.script.find((one) => this.isMet(one, call, path));
    if (failure === undefined) return undefined;
    if (failure.after !== undefined && failure.after-- > 0) return undefined;
    failure.endsMs ??= this.clock.steadyMs() + (failure.lastsMs ?? Number.POSITIVE_INFINITY);
    failure.times--;
    this.scripted++;
    return failure;
  }

  private isMet({ path: at, calls, times, endsMs }: Script, call: DiskCall, path: string): boolean {
    if (times <= 0 || !at.test(path) || !calls.includes(call)) return false;
    return endsMs === undefined || this.clock.steadyMs() < endsMs;
  }

  private isFailing(share: number): boolean {
    return this.fails && this.random.chance(share);
  }

  private failure(code: string, call: string, path: string): NodeJS.ErrnoException {
    this.trace.push(`${code} ${call} ${path}`);
    return Object.assign(new Error(`${code}: simulated, ${call} '${path}'`), { code });
  }

  private pathOf(fd: number): string {
    return this.paths.get(fd) ?? `#${fd}`;
  }
}
