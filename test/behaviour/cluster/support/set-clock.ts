import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing } from "../../../support/needs.ts";

const SOURCE = join(import.meta.dir, "set-clock.c");
const NS_PER_MS = 1_000_000n;

/** The wall clock of one process, which can be set while that runs. Its steady clocks, and all other processes, do not notice. */
class SetClock {
  /** The command that runs a program by this clock. */
  readonly prefix: readonly string[];

  constructor(
    library: string,
    private readonly file: string,
  ) {
    this.set(0);
    this.prefix = ["env", `LD_PRELOAD=${library}`, `SET_CLOCK_FILE=${file}`];
  }

  /** @param aheadMs what the clock is ahead of the machine's from now on */
  set(aheadMs: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(aheadMs) * NS_PER_MS);
    // One write of eight bytes into the file, which the process has in its memory: no other one is seen between.
    const fd = openSync(this.file, "r+");
    writeSync(fd, bytes, 0, bytes.length, 0);
    closeSync(fd);
  }
}

/** Clocks of several processes. They need a C compiler, `cc` on PATH. */
export class SetClocks implements Disposable {
  private constructor(
    private readonly folder: string,
    readonly clocks: readonly SetClock[],
  ) {}

  /** @throws Error with what the compiler says */
  static make(count: number): SetClocks {
    const noCompiler = missing("cc");
    if (noCompiler !== undefined) throw new Error(noCompiler);
    const folder = mkdtempSync(join(tmpdir(), "bunsq-clocks-"));
    const library = join(folder, "set-clock.so");
    const { success, stderr } = Bun.spawnSync(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], { stderr: "pipe" });
    if (!success) throw new Error(`set-clock.c: ${stderr.toString()}`);
    const clocks = Array.from({ length: count }, (_, i) => {
      const file = join(folder, `clock-${i}`);
      writeFileSync(file, Buffer.alloc(8));
      return new SetClock(library, file);
    });
    return new SetClocks(folder, clocks);
  }

  /** @param aheadMs what one of the clocks is ahead from now on */
  set(index: number, aheadMs: number): void {
    this.clocks[index]?.set(aheadMs);
  }

  /** The processes that use them may go on. */
  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
