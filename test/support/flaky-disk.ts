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

/** Calls that fail because a test says so. */
export interface ScriptedFailure {
  /** Paths of the files and folders at which they fail. */
  path: RegExp;
  calls: readonly ("open" | "read" | "size" | "list")[];
  code: string;
  /** How many calls fail; Infinity: all, until the failure is removed. */
  times: number;
  /** How many calls succeed before. */
  after?: number;
}

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
  readonly script: ScriptedFailure[] = [];
  /** How many calls the script has made fail. */
  scripted = 0;
  /** How many calls read or opened something. */
  reads = 0;
  private readonly paths = new Map<number, string>();

  constructor(
    private readonly disk: Disk,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly flakiness: Flakiness = NEVER,
  ) {}

  open(path: string, flags: OpenFlags): number {
    if (flags !== "w+") this.follow("open", path);
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
    this.trace.push(`truncate ${this.pathOf(fd)} ${length}`);
    this.disk.truncate(fd, length);
  }

  sync(fd: number, done: Done): void {
    const path = this.pathOf(fd);
    this.finishLater(`sync ${path}`, done, (end) => this.disk.sync(fd, end));
  }

  syncDirectory(path: string, done: Done): void {
    this.finishLater(`sync ${path}/`, done, (end) => this.disk.syncDirectory(path, end));
  }

  syncDirectoryNow(path: string): void {
    this.trace.push(`sync ${path}/`);
    this.disk.syncDirectoryNow(path);
  }

  rename(from: string, to: string): void {
    this.trace.push(`rename ${from} ${to}`);
    this.disk.rename(from, to);
  }

  remove(path: string): void {
    this.disk.remove(path);
    this.trace.push(`remove ${path}`);
  }

  removeLater(path: string, done: Done): void {
    this.finishLater(`remove ${path}`, done, (end) => this.disk.removeLater(path, end));
  }

  makeDirectory(path: string): boolean {
    const made = this.disk.makeDirectory(path);
    if (made) this.trace.push(`make ${path}/`);
    return made;
  }

  removeDirectory(path: string): void {
    this.disk.removeDirectory(path);
    this.trace.push(`remove ${path}/`);
  }

  list(path: string): string[] {
    this.follow("list", path);
    return this.disk.list(path);
  }

  listFolders(path: string): string[] {
    return this.disk.listFolders(path);
  }

  sizeOf(path: string): number {
    this.follow("size", path);
    return this.disk.sizeOf(path);
  }

  exists(path: string): boolean {
    return this.disk.exists(path);
  }

  space(path: string): { freeBytes: number; totalBytes: number } {
    return this.disk.space(path);
  }

  /** Off the event loop: the end comes some time later, by the clock. */
  private finishLater(what: string, done: Done, work: (end: Done) => void): void {
    const fails = this.isFailing(this.flakiness.sync);
    this.clock.callAfter(this.random.next() * this.flakiness.syncMs, () => {
      if (fails) return done(this.failure("EIO", what, ""));
      this.trace.push(what);
      work(done);
    });
  }

  /** @throws what the script says */
  private follow(call: "open" | "read" | "size" | "list", path: string): void {
    this.reads++;
    const failure = this.script.find((one) => one.times > 0 && one.path.test(path) && one.calls.includes(call));
    if (failure === undefined) return;
    if (failure.after !== undefined && failure.after-- > 0) return;
    failure.times--;
    this.scripted++;
    throw this.failure(failure.code, call, path);
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
