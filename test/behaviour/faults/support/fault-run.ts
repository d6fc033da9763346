import { cpSync, existsSync, mkdtempSync } from "node:fs";
import { dirname } from "node:path";
import { StartError } from "../../../../src/base/start-error.ts";
import type { BrokerOptions, Durability } from "../../../../src/broker/options.ts";
import { FailingDatabase } from "../../../support/failing-database.ts";
import type { DiskCall } from "../../../support/flaky-disk.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { Random } from "../../../support/random.ts";
import { Site } from "../../../support/site.ts";
import { ImmediateDisk } from "../../power-cut/support/immediate-disk.ts";
import { type Call, type FileKind, kindOf, METADATA_STORE, VICTIM } from "./file-kinds.ts";
import { Ledger } from "./ledger.ts";
import { LASTING_TOPICS, Traffic } from "./traffic.ts";

/** `first start` is one on an empty data path. */
export type Moment = "first start" | "start" | "work" | "stop";
export type Duration = "once" | "150 ms" | "for ever";

/** One cell of the matrix. */
export interface Fault {
  readonly moment: Moment;
  readonly kind: FileKind;
  readonly call: Call;
  readonly duration: Duration;
  readonly durability: Durability;
  /** How many of these calls such a run makes when nothing fails. */
  readonly calls: number;
}

export function nameOf({ moment, kind, call, duration, durability }: Fault): string {
  return [moment, kind.name, call, duration, durability].join(", ");
}

/** The metadata store is a real file, best in memory. */
const MEMORY_FOLDER = "/dev/shm";
const START_MS = 1_767_225_600_000;
const SHORT_MS = 150;
const STEPS_BEFORE = 6;
const STEPS_OF_FAULT = 50;
/** Finished messages are not delivered again after a kill if they were finished this long before, ms. */
const SAVED_WITHIN_MS = 300;
/** Longer than any message is deferred. */
const DRAINED_WITHIN_MS = 100_000;
/** What could not be read is tried again within this time. */
const LONGEST_RETRY_MS = 6000;
const CODES = ["EIO", "ENOSPC", "EROFS", "EDQUOT", "EACCES"];
const READ_CODES = ["EIO", "EMFILE", "ENFILE", "ESTALE", "EACCES", "ENOMEM"];
const READING: readonly Call[] = ["open", "read", "size", "list", "stat", "space"];

/** What a killed broker left, for runs to begin with. */
interface Base {
  disk: ImmediateDisk;
  dataPath: string;
  ledger: Ledger;
  nowMs: number;
}

const bases = new Map<Durability, Promise<Base>>();

export function removeBases(): void {
  for (const base of bases.values()) void base.then(({ dataPath }) => removeFolder(dataPath));
}

function baseOf(durability: Durability): Promise<Base> {
  const base = bases.get(durability) ?? makeBase(durability);
  bases.set(durability, base);
  return base;
}

async function makeBase(durability: Durability): Promise<Base> {
  const disk = new ImmediateDisk();
  const dataPath = newDataPath();
  makeParents(disk, dataPath);
  const site = Site.on(disk, dataPath, optionsWith(durability), START_MS, "boot");
  site.open();
  const { registry, tracing } = site.broker;
  for (const name of LASTING_TOPICS) {
    const topic = registry.topicWith(name, name === "victim" || name === "other" ? 2 : 1);
    topic.channel("c").changeSettings({ order: name === "other" ? "key" : "none" });
    tracing.setTopic(topic, true);
  }
  const ledger = new Ledger();
  const traffic = new Traffic(site, ledger, new Random(1));
  for (let step = 0; step < 60; step++) await traffic.go();
  site.kill();
  if (ledger.violations.length + ledger.refused.length > 0) throw new Error(JSON.stringify([ledger.violations, ledger.refused]));
  return { disk, dataPath, ledger, nowMs: site.clock.wallMs() };
}

function optionsWith(durability: Durability): Partial<BrokerOptions> {
  return { durability, syncTimeoutMs: 500, idempotencyWindowMs: 2400, retentionTimeMs: 0, maxBytesPerFile: 4000 };
}

function newDataPath(): string {
  return existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
}

function makeParents(disk: ImmediateDisk, dataPath: string): void {
  disk.makeDirectory(dataPath);
  for (let path = dataPath; path !== "/"; path = dirname(path)) disk.syncDirectoryNow(dirname(path));
}

/** The content of a disk under another data path, without the ballast, so that it is written again. All of it is synced. */
function copyDisk(from: ImmediateDisk, path: string, to: string): ImmediateDisk {
  const copy = new ImmediateDisk();
  makeParents(copy, to);
  for (const name of from.paths().filter((one) => one.startsWith(`${path}/`) && !one.endsWith("/ballast"))) {
    const target = to + name.slice(path.length);
    if (from.isFolder(name)) copy.makeDirectory(target);
    else {
      const fd = copy.open(target, "w+");
      const bytes = from.content(name);
      copy.write(fd, bytes, 0, bytes.length, 0);
      copy.sync(fd, () => {});
      copy.close(fd);
    }
    copy.syncDirectoryNow(dirname(target));
  }
  return copy;
}

/** A broker that goes on from a base, and the fault that it meets. */
export class FaultRun {
  readonly ledger: Ledger;
  private site: Site;
  private traffic: Traffic;
  /** SQLite calls that still fail, and the time at which that ends. */
  private failingCalls = 0;
  private skippedCalls = 0;
  private failingUntilMs = Number.POSITIVE_INFINITY;
  private met = 0;
  /** The power was cut. */
  private wasCut = false;
  /** When the fault began, by the wall clock. */
  private faultMs = 0;

  private constructor(
    base: Base,
    private disk: ImmediateDisk,
    private readonly dataPath: string,
    private readonly durability: Durability,
    private readonly random: Random,
    private readonly onSql: (call: Call) => void,
    private readonly onCall: (call: DiskCall, path: string) => void,
  ) {
    this.ledger = base.ledger.copy();
    this.ledger.restarts(base.nowMs - SAVED_WITHIN_MS);
    this.site = this.newSite(base.nowMs);
    this.traffic = new Traffic(this.site, this.ledger, random);
  }

  static async begin(
    moment: Moment,
    durability: Durability,
    random: Random,
    onSql: (call: Call) => void = () => {},
    onCall: (call: DiskCall, path: string) => void = () => {},
  ): Promise<FaultRun> {
    const dataPath = newDataPath();
    if (moment === "first start") {
      const empty: Base = { disk: new ImmediateDisk(), dataPath, ledger: new Ledger(), nowMs: START_MS };
      makeParents(empty.disk, dataPath);
      return new FaultRun(empty, empty.disk, dataPath, durability, random, onSql, onCall);
    }
    const base = await baseOf(durability);
    cpSync(base.dataPath, dataPath, { recursive: true });
    return new FaultRun(base, copyDisk(base.disk, base.dataPath, dataPath), dataPath, durability, random, onSql, onCall);
  }

  private newSite(nowMs: number, bootId = "boot"): Site {
    const site = Site.on(this.disk, this.dataPath, optionsWith(this.durability), nowMs, bootId);
    site.disk.onCall = this.onCall;
    const { disk } = this;
    site.disk.dropSynced = (sync) => {
      disk.failsToSync = () => true;
      sync();
      disk.failsToSync = () => false;
    };
    return site;
  }

  /** Plays a whole run without a fault: start, work and stop. @param begins called before each */
  async playSound(start: Moment, begins: (moment: Moment) => void): Promise<void> {
    using _ = new FailingDatabase((call) => this.onSql(`SQL ${call}`));
    begins(start);
    this.open();
    if (start === "start") begins("work");
    for (let step = 0; step < STEPS_BEFORE + STEPS_OF_FAULT; step++) await this.traffic.go();
    begins("stop");
    await this.site.close();
    removeFolder(this.dataPath);
  }

  async play(fault: Fault): Promise<void> {
    using _ = new FailingDatabase((call) => this.meetSql(fault, `SQL ${call}`));
    try {
      if (fault.moment === "start" || fault.moment === "first start") await this.playStart(fault);
      else if (fault.moment === "work") await this.playWork(fault);
      else await this.playStop(fault);
      await this.settle();
    } finally {
      this.heal();
      if (this.site.broker !== undefined) this.site.kill();
      removeFolder(this.dataPath);
    }
  }

  private async playStart(fault: Fault): Promise<void> {
    this.begin(fault);
    if (!this.opens(fault)) {
      this.site.clock.advance(2 * SHORT_MS);
      if (fault.duration === "for ever") this.heal();
      this.open();
    }
    await this.playFault(fault);
  }

  private async playWork(fault: Fault): Promise<void> {
    this.open();
    for (let step = 0; step < STEPS_BEFORE; step++) await this.traffic.go();
    this.begin(fault);
    await this.playFault(fault);
  }

  private async playStop(fault: Fault): Promise<void> {
    this.open();
    for (let step = 0; step < STEPS_BEFORE + 10; step++) await this.traffic.go();
    this.begin(fault);
    this.noteRepeats(fault);
    try {
      await this.site.close();
    } catch (error) {
      this.ledger.violate(`the stop failed: ${(error as Error).stack}`);
    }
    this.checkRefused(fault);
    this.heal();
    this.reopen("boot");
  }

  /** Traffic while the fault lasts, and its end. */
  private async playFault(fault: Fault): Promise<void> {
    for (let step = 0; step < STEPS_OF_FAULT; step++) await this.traffic.go();
    await this.traffic.settle(1500);
    this.checkRefused(fault);
    this.checkOthers(fault);
    if (fault.duration === "for ever" && this.random.chance(0.6)) this.killAndReopen(fault);
    this.heal();
  }

  private killAndReopen(fault: Fault): void {
    this.noteRepeats(fault);
    this.heal();
    this.site.kill();
    if (fault.durability === "fsync") {
      const after = new ImmediateDisk();
      this.disk.afterCut(this.disk.moment, this.random, after);
      this.disk = after;
      this.wasCut = true;
      // What consumers finished in the last seconds may be lost.
      this.ledger.restarts(0);
      this.ledger.wasCut = true;
    }
    this.reopen(fault.durability === "fsync" ? "another boot" : "boot");
  }

  private reopen(bootId: string): void {
    this.site = this.newSite(this.site.clock.wallMs(), bootId);
    this.traffic = new Traffic(this.site, this.ledger, this.random);
    this.open();
  }

  /** What was finished recently, or while records of it could not be written, may come again after a restart. */
  private noteRepeats({ kind, call, moment }: Fault): void {
    const nowMs = this.site.clock.wallMs();
    const repeats = kind.repeats === true || maySyncFail(call);
    if (moment === "stop" && !repeats) return;
    this.ledger.restarts((repeats ? this.faultMs : nowMs) - SAVED_WITHIN_MS);
  }

  // ---- the fault

  private begin({ kind, call, duration, calls }: Fault): void {
    const { random, site } = this;
    this.faultMs = site.clock.wallMs();
    const times = duration === "once" ? 1 : Number.POSITIVE_INFINITY;
    // Sometimes the first call fails, sometimes a later one.
    const after = random.chance(0.5) ? 0 : random.int(0, calls - 1);
    if (kind === METADATA_STORE) {
      this.failingCalls = times;
      this.skippedCalls = after;
      this.failingUntilMs = duration === "150 ms" ? Number.NaN : Number.POSITIVE_INFINITY;
      return;
    }
    const disk = call as DiskCall;
    this.ledger.refusedMayCome = maySyncFail(call);
    site.fail({
      path: kind.path,
      // Where a write fails, what was written is to be cut off.
      calls: disk === "write" && random.chance(0.3) ? ["write", "truncate"] : [disk],
      code: random.pick(READING.includes(call) ? READ_CODES : CODES),
      times,
      after,
      ...(duration === "150 ms" ? { lastsMs: SHORT_MS } : {}),
      partly: random.pick([0, 0.3, 0.9]),
    });
  }

  /** @throws SQLite's error while the fault lasts */
  private meetSql(fault: Fault, call: Call): void {
    this.onSql(call);
    if (fault.kind !== METADATA_STORE || call !== fault.call || this.failingCalls === 0) return;
    if (this.skippedCalls-- > 0) return;
    const nowMs = this.site.clock.steadyMs();
    if (Number.isNaN(this.failingUntilMs)) this.failingUntilMs = nowMs + SHORT_MS;
    if (nowMs >= this.failingUntilMs) return;
    this.failingCalls--;
    this.met++;
    throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
  }

  private heal(): void {
    this.met += this.site.disk.scripted;
    this.site.disk.scripted = 0;
    this.site.heal();
    this.failingCalls = 0;
  }

  /** How often a call failed. */
  get failures(): number {
    return this.met + this.site.disk.scripted;
  }

  private open(): void {
    this.site.open();
    for (const topic of LASTING_TOPICS) {
      if (this.site.broker.registry.waiting.has(topic)) continue;
      this.traffic.makeTopic(topic);
    }
  }

  /** @returns whether the broker started */
  private opens({ kind }: Fault): boolean {
    try {
      this.open();
      return true;
    } catch (error) {
      if (!(error instanceof StartError)) this.ledger.violate(`the start failed: ${(error as Error).stack}`);
      else if (kind.refusesStart !== true) this.ledger.violate(`the start was refused: ${error.message}`);
      return false;
    }
  }

  // ---- what must be so

  private checkRefused({ moment, kind, call, durability }: Fault): void {
    // A sync that fails refuses whatever waited for it, and so does a file that cannot be opened to be synced.
    const anything = durability === "fsync" && maySyncFail(call);
    const refuses = moment === "work" || moment === "stop" ? kind.refuses : (kind.refusesAtStart ?? kind.refuses);
    for (const { requests, topic, why } of this.ledger.refused.splice(0)) {
      const isConcerned = kind.ofTopic !== true || new RegExp(`^${VICTIM}$`).test(topic);
      if (anything || (requests.some((request) => refuses.includes(request)) && isConcerned)) continue;
      this.ledger.violate(`${requests[0]} (${topic}) was refused: ${why}`);
    }
  }

  /** Messages of topics that do not have the files that fail have come. */
  private checkOthers({ kind, durability, call }: Fault): void {
    if (durability === "fsync" && maySyncFail(call)) return;
    const nowMs = this.site.clock.wallMs();
    for (const { topic, body, deferMs, sentMs, requeued } of this.ledger.owed) {
      if (kind.refusesAtStart?.includes("publish")) continue;
      const waits = kind.ofTopic === true ? new RegExp(`^${VICTIM}$`).test(topic) : deferMs > 0 || requeued;
      if (!waits && sentMs + deferMs < nowMs - 5000) this.ledger.violate(`${body} did not come while something else failed`);
    }
  }

  /** All that was acknowledged comes, the broker is well, takes everything again, and stops with nothing left over. */
  private async settle(): Promise<void> {
    const { ledger, site, traffic } = this;
    const deadlineMs = site.clock.steadyMs() + DRAINED_WITHIN_MS;
    await traffic.settle(LONGEST_RETRY_MS);
    ledger.refused.length = 0;
    while (site.clock.steadyMs() < deadlineMs && ledger.owed.length > 0) await traffic.settle(500);
    for (const { body, state } of ledger.owed) ledger.violate(`${body} was ${state} and is lost`);
    for (let step = 0; step < 12; step++) await traffic.go();
    await traffic.settle(4000);
    if (site.health !== "OK") ledger.violate(`/ping answers ${site.health}`);
    for (const { requests, topic, why } of ledger.refused) ledger.violate(`afterwards ${requests[0]} (${topic}) was refused: ${why}`);
    for (const { body, deferMs } of ledger.owed) if (deferMs < 4000) ledger.violate(`afterwards ${body} was acknowledged and is lost`);
    const aside = this.disk.paths().filter((path) => path.includes("damaged"));
    // What a power cut leaves of files that were not synced is told like damage.
    if (aside.length > 0 && !this.wasCut) ledger.violate(`files count as damaged: ${aside.join(", ")}: ${this.damage}`);
    // An adopted topic has delivered nothing since the power cut, so what may come again there has yet to come.
    const adopted = [...site.broker.registry.partitions].filter(({ isHolding }) => isHolding).map(({ name }) => name);
    await site.close();
    ledger.stops(adopted);
    this.reopen("boot");
    await this.traffic.settle(DRAINED_WITHIN_MS);
    for (const { body } of ledger.owed) ledger.violate(`after a clean stop ${body} is lost`);
    const { corruptRegions } = this.site.broker.registry;
    if (corruptRegions > 0 && !this.wasCut) ledger.violate(`${corruptRegions} regions count as damaged`);
  }

  /** What the broker said about damage. */
  private get damage(): string {
    return this.site.log.matching(/damaged|missing|lost|cut to/).join("\n");
  }

  get log(): string[] {
    return this.site.log.lines;
  }
}

/** Whether syncs fail where a call does: a file that was closed is opened to be synced. */
function maySyncFail(call: Call): boolean {
  return call === "sync" || call === "syncFolder" || call === "open";
}

/** A kind of call that a run makes when nothing fails, and how often. */
export type Cell = Pick<Fault, "moment" | "kind" | "call" | "calls">;

/** The calls that a run makes when nothing fails. */
export async function callsOf(durability: Durability): Promise<Cell[]> {
  const cells = new Map<string, Cell>();
  for (const start of ["start", "first start"] as const) {
    let moment: Moment = start;
    const count = (kind: FileKind | undefined, call: Call) => {
      if (kind === undefined || (start === "first start" && moment !== start)) return;
      const key = `${moment} ${kind.name} ${call}`;
      cells.set(key, { moment, kind, call, calls: (cells.get(key)?.calls ?? 0) + 1 });
    };
    const onSql = (call: Call) => count(METADATA_STORE, call);
    const onCall = (call: DiskCall, path: string) => count(kindOf(path), call);
    const run = await FaultRun.begin(start, durability, new Random(2), onSql, onCall);
    await run.playSound(start, (next) => {
      moment = next;
    });
  }
  return [...cells.values()];
}
