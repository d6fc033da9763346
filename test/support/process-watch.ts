import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** One of the kernel's memory figures of a process, in bytes: VmRSS (now) or VmHWM (the most it ever was). */
export function memoryBytes(pid: number, figure: "VmRSS" | "VmHWM"): number {
  const kib = new RegExp(`${figure}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  if (kib === undefined) throw new Error(`no ${figure} in the status of process ${pid}`);
  return Number(kib) * 1024;
}

/** What the files below a folder take on the disk, in bytes. Files that vanish meanwhile count nothing. */
export function diskBytes(folder: string): number {
  let total = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    if (stat?.isFile()) total += stat.blocks * 512;
  }
  return total;
}

export const MIB = 1024 * 1024;

export function inMib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
