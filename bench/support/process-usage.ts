import { readFileSync } from "node:fs";

/** Times in /proc/<pid>/stat are in units of 10 ms on every Linux (USER_HZ, proc_pid_stat(5)). */
const TICKS_PER_SECOND = 100;

/** User and system time in seconds of all threads of a process, including those that have ended. */
export function cpuSeconds(pid: number): number {
  return parseCpuSeconds(readFileSync(`/proc/${pid}/stat`, "latin1"));
}

/** @param stat the line of /proc/<pid>/stat */
export function parseCpuSeconds(stat: string): number {
  // The second field is the program's name in brackets, which may contain spaces and brackets, so fields are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [userTicks, systemTicks] = [Number(fields[11]), Number(fields[12])];
  if (!Number.isFinite(userTicks + systemTicks)) throw new Error(`not a line of /proc/<pid>/stat: ${stat}`);
  return (userTicks + systemTicks) / TICKS_PER_SECOND;
}

/** User and system time of the whole machine in seconds, including time that a host took from it, but without interrupts. */
export function machineCpuSeconds(): number {
  return parseMachineCpuSeconds(readFileSync("/proc/stat", "latin1"));
}

/** @param stat the text of /proc/stat, whose first line is the sum of all cores */
export function parseMachineCpuSeconds(stat: string): number {
  const [user, nice, system, , , , , steal] = stat.slice(0, stat.indexOf("\n")).split(/ +/).slice(1).map(Number);
  const ticks = (user ?? 0) + (nice ?? 0) + (system ?? 0) + (steal ?? 0);
  if (!(ticks > 0)) throw new Error(`not /proc/stat: ${stat.slice(0, 80)}`);
  return ticks / TICKS_PER_SECOND;
}

/** The resident memory of a process, in bytes (VmRSS). */
export function rssBytes(pid: number): number {
  const now = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  if (now === null) throw new Error(`no VmRSS in /proc/${pid}/status`);
  return Number(now[1]) * 1024;
}

/** The peak resident memory of a process, in bytes (VmHWM). */
export function peakRssBytes(pid: number): number {
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  if (peak === null) throw new Error(`no VmHWM in /proc/${pid}/status`);
  return Number(peak[1]) * 1024;
}
