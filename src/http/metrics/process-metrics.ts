import { statSync } from "node:fs";
import { descriptorLimit } from "../../base/descriptor-budget.ts";
import { LoopLag } from "../../base/loop-lag.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../../version.ts";
import type { Family } from "./family.ts";
import { labels, type MetricText } from "./metric-text.ts";

const US_PER_S = 1e6;
/** Proportional to how many descriptors are open, since Linux 6.2. */
const OWN_DESCRIPTORS = "/proc/self/fd";
const OWN_LIMITS = descriptorLimit();

const BUILD: Family = {
  name: "nsq_build",
  kind: "info",
  help: "Versions of bunsq, of the NSQ whose API it has, and of Bun",
  labels: ["version", "nsq_version", "bun_version"],
};
const CPU: Family = {
  name: "process_cpu_seconds",
  kind: "counter",
  unit: "seconds",
  help: "CPU time of the process, in user mode and in the kernel",
};
const START: Family = {
  name: "process_start_time_seconds",
  kind: "gauge",
  unit: "seconds",
  help: "When the process was started, since 1970",
};
const RESIDENT: Family = { name: "process_resident_memory_bytes", kind: "gauge", unit: "bytes", help: "Memory of the process" };
const HEAP: Family = { name: "nsq_heap_bytes", kind: "gauge", unit: "bytes", help: "JavaScript heap" };
const HEAP_USED: Family = {
  name: "nsq_heap_used_bytes",
  kind: "gauge",
  unit: "bytes",
  help: "JavaScript heap in use after the last collection",
};
const EXTERNAL: Family = {
  name: "nsq_external_memory_bytes",
  kind: "gauge",
  unit: "bytes",
  help: "Buffers that belong to objects on the JavaScript heap",
};
const OPEN_FILES: Family = { name: "process_open_fds", kind: "gauge", help: "Open file descriptors; left out before Linux 6.2" };
const MAX_FILES: Family = { name: "process_max_fds", kind: "gauge", help: "File descriptors that the process may have" };
const LAG: Family = {
  name: "nsq_event_loop_lag_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "How late a timer of 100 ms was called; measured from the first scrape on",
};

/** What every server tells about its process. */
export const PROCESS_FAMILIES: readonly Family[] = [BUILD, CPU, START, RESIDENT, HEAP, HEAP_USED, EXTERNAL, OPEN_FILES, MAX_FILES, LAG];

/** One for the process. It begins with the first scrape: a process that nobody watches has no timer for it. */
let lag: LoopLag | undefined;

export function* processMetrics(text: MetricText): Generator<void> {
  lag ??= new LoopLag();
  one(text, BUILD, 1, labels({ version: BUNSQ_VERSION, nsq_version: NSQ_VERSION, bun_version: Bun.version }));
  const { user, system } = process.cpuUsage();
  one(text, CPU, (user + system) / US_PER_S);
  one(text, START, Math.round(performance.timeOrigin) / 1000);
  const memory = memoryUsage();
  if (memory !== undefined) {
    one(text, RESIDENT, memory.rss);
    one(text, HEAP, memory.heapTotal);
    one(text, HEAP_USED, memory.heapUsed);
    one(text, EXTERNAL, memory.external);
  }
  yield;
  const open = openDescriptors();
  if (open > 0) one(text, OPEN_FILES, open);
  if (Number.isFinite(OWN_LIMITS)) one(text, MAX_FILES, OWN_LIMITS);
  text.family(LAG);
  text.histogram("", lag.lags, true);
  yield;
}

/** Writes a family with one sample. */
export function one(text: MetricText, family: Family, value: number, labelled = ""): void {
  text.family(family);
  text.sample(labelled, value);
}

/** Undefined where a file is needed and cannot be opened: such a process needs its other metrics most of all. */
function memoryUsage(): NodeJS.MemoryUsage | undefined {
  try {
    return process.memoryUsage();
  } catch {
    return undefined;
  }
}

/** 0 where the system does not tell. */
function openDescriptors(): number {
  try {
    return statSync(OWN_DESCRIPTORS).size;
  } catch {
    return 0;
  }
}
