import { ClientError } from "../../client/bun.ts";
import { BROKER_FLAGS, type Broker, type BrokerFlags, findBrokers } from "../command/brokers.ts";
import { type Call, command, EXIT_OK } from "../command/command.ts";
import { explainFailure } from "../command/failure.ts";
import { type RatedCounts, ratesOf, SORT_KEYS, type SortKey, sortCounts } from "../command/rates.ts";
import { type Counts, countsJson, readCounts } from "../command/stats.ts";
import { stopSignal } from "../command/stop-signal.ts";
import type { Terminal } from "../command/terminal.ts";
import { type Column, shortCount, shortDuration, tableLines } from "../command/text-table.ts";
import { jsonFlag } from "../command/words.ts";
import type { ChoiceFlag, DurationFlag, IntFlag } from "../flag.ts";

interface TopFlags extends BrokerFlags {
  interval: number;
  count: number;
  sort: SortKey;
  json: boolean;
}

const intervalFlag: DurationFlag = {
  name: "interval",
  kind: "duration",
  own: true,
  default: 2_000,
  min: 100,
  max: 3_600_000,
  doc: "time between two looks",
};
const countFlag: IntFlag = { name: "count", kind: "int", own: true, default: 0, min: 1, max: 1e9, doc: "end after this many looks" };
const sortFlag: ChoiceFlag<SortKey> = {
  name: "sort",
  kind: "choice",
  own: true,
  values: SORT_KEYS,
  default: "name",
  doc: `what to sort by: ${SORT_KEYS.join(", ")}`,
};

/** The oldest message is looked up for at most this many channels, because each costs a call. */
const MOST_OLDEST = 50;

const forChannel = (row: RatedCounts, text: string) => (row.channel === undefined ? "" : text);

const COLUMNS: readonly Column<RatedCounts>[] = [
  { title: "TOPIC", text: ({ topic, isPaused }) => (isPaused ? `${topic} (paused)` : topic) },
  { title: "CHANNEL", text: ({ channel }) => channel ?? "" },
  { title: "IN/S", isNumber: true, text: ({ inRate }) => shortCount(inRate) },
  { title: "OUT/S", isNumber: true, text: ({ outRate }) => (outRate === undefined ? "" : shortCount(outRate)) },
  { title: "DEPTH", isNumber: true, text: ({ depth }) => shortCount(depth) },
  { title: "FLIGHT", isNumber: true, text: (row) => forChannel(row, shortCount(row.inFlight)) },
  { title: "DEFERRED", isNumber: true, text: (row) => forChannel(row, shortCount(row.deferred)) },
  { title: "OLDEST", isNumber: true, text: ({ oldestMs }) => (oldestMs === undefined ? "" : shortDuration(oldestMs)) },
  { title: "CONSUMERS", isNumber: true, text: (row) => forChannel(row, shortCount(row.consumers)) },
];

/** The keys that sort, by the first letters of what they sort by; `i` and `o` are as good for a hand that knows the columns. */
const KEYS: Readonly<Record<string, SortKey>> = {
  n: "name",
  i: "in",
  o: "out",
  d: "depth",
  f: "flight",
  e: "deferred",
  a: "oldest",
  c: "consumers",
};
const KEY_LINE = "sort: (n)ame (i)n (o)ut (d)epth (f)light d(e)ferred (a)ge of oldest (c)onsumers   (q)uit";

/** `bunsq top` */
export const topCommand = command<TopFlags>({
  name: "top",
  summary: "Show what topics and channels do, again and again",
  about: `IN/S counts messages that come, OUT/S those that a channel finishes. OLDEST is the age of the next message that waits, for up to ${MOST_OLDEST}
channels, where brokers are bunsq. On a terminal, keys sort and quit. Into a pipe or a file, it prints plain rows for each look.`,
  table: { options: { ...BROKER_FLAGS, interval: intervalFlag, count: countFlag, sort: sortFlag, json: jsonFlag }, others: [] },
  run: async (call) => {
    const watch = new Watch(call, await findBrokers(call));
    // The first look fails where a later one waits for the broker to come back.
    const first = await watch.look();
    const isLive = call.terminal.isInteractive && process.stdin.isTTY === true && !call.options.json;
    if (isLive) await new Screen(call, watch).run(first);
    else await printLooks(call, watch, first);
    return EXIT_OK;
  },
});

/** Looks at brokers, and compares with the look before. */
class Watch {
  private before: Counts[] | undefined;
  private beforeMs = 0;

  constructor(
    { options }: Call<TopFlags>,
    private readonly brokers: readonly Broker[],
  ) {
    this.sort = options.sort;
  }

  sort: SortKey;

  get where(): string {
    return this.brokers.map(({ address }) => address).join(", ");
  }

  /** @throws ClientError */
  async look(): Promise<RatedCounts[]> {
    const now = await readCounts(this.brokers);
    const nowMs = performance.now();
    const rows = ratesOf(this.before, now, (nowMs - this.beforeMs) / 1000);
    this.before = now;
    this.beforeMs = nowMs;
    const waiting = sortCounts(rows, "depth").filter(({ channel, depth }) => channel !== undefined && depth > 0);
    await Promise.all(waiting.slice(0, MOST_OLDEST).map((row) => this.findOldest(row)));
    return rows;
  }

  private async findOldest(row: RatedCounts): Promise<void> {
    const ages = await Promise.all(
      this.brokers.map(async ({ client }) => {
        try {
          const { messages } = await client.peekChannel(row.topic, row.channel ?? "", "waiting", { limit: 1 });
          return messages[0] === undefined ? [] : [Date.now() - Date.parse(messages[0].timestamp)];
        } catch (error) {
          // The broker may be nsqd, or the channel gone.
          if (error instanceof ClientError) return [];
          throw error;
        }
      }),
    );
    if (ages.flat().length > 0) row.oldestMs = Math.max(0, ...ages.flat());
  }
}

/** Prints each look as plain rows, or as a line of JSON. */
async function printLooks({ terminal, options }: Call<TopFlags>, watch: Watch, first: RatedCounts[]): Promise<void> {
  const stop = stopSignal();
  const gone = new AbortController();
  terminal.onClose(() => gone.abort());
  let rows = first;
  for (let look = 1; ; look++) {
    const sorted = sortCounts(rows, watch.sort);
    const time = new Date().toISOString();
    if (options.json) await terminal.printJson({ time, rows: sorted.map(ratedJson) });
    else await terminal.print(`${[time, ...tableLines(COLUMNS, sorted)].join("\n")}\n\n`);
    if (look === options.count) return;
    await sleep(options.interval, [stop, gone.signal]);
    if (stop.aborted || gone.signal.aborted) return;
    rows = await watch.look();
  }
}

function ratedJson(row: RatedCounts): object {
  return { ...countsJson(row), in_per_second: row.inRate, out_per_second: row.outRate ?? null, oldest_ms: row.oldestMs ?? null };
}

/** The live table on a terminal. */
class Screen {
  private readonly terminal: Terminal;
  private readonly options: TopFlags;
  private readonly stop = stopSignal();
  private readonly quit = new AbortController();
  private rows: RatedCounts[] = [];
  private failure = "";

  constructor(
    call: Call<TopFlags>,
    private readonly watch: Watch,
  ) {
    this.terminal = call.terminal;
    this.options = call.options;
  }

  async run(first: RatedCounts[]): Promise<void> {
    this.rows = first;
    const onKey = (chunk: Buffer) => this.onKey(chunk.toString());
    const draw = () => void this.draw();
    process.stdin.setRawMode(true);
    process.stdin.on("data", onKey);
    process.stdout.on("resize", draw);
    // Another screen, without a cursor, so that the terminal is afterwards as it was.
    await this.terminal.print("\x1b[?1049h\x1b[?25l");
    try {
      for (let look = 1; ; look++) {
        await this.draw();
        if (look === this.options.count) return;
        await sleep(this.options.interval, [this.stop, this.quit.signal]);
        if (this.stop.aborted || this.quit.signal.aborted) return;
        await this.look();
      }
    } finally {
      process.stdin.off("data", onKey);
      process.stdin.setRawMode(false);
      process.stdin.pause();
      process.stdout.off("resize", draw);
      await this.terminal.print("\x1b[?25h\x1b[?1049l");
    }
  }

  private async look(): Promise<void> {
    try {
      this.rows = await this.watch.look();
      this.failure = "";
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      // It may come back.
      [this.failure = ""] = explainFailure(error).split("\n");
    }
  }

  private onKey(keys: string): void {
    for (const key of keys) {
      // In raw mode Ctrl-C is a key.
      if (key === "q" || key === "\x03") return this.quit.abort();
      const sort = KEYS[key.toLowerCase()];
      if (sort !== undefined) this.watch.sort = sort;
    }
    void this.draw();
  }

  private draw(): Promise<void> {
    const { terminal, watch } = this;
    const [titles = "", ...lines] = tableLines(COLUMNS, sortCounts(this.rows, watch.sort));
    const room = Math.max(1, terminal.rows - 4);
    const shown = lines.length > room ? [...lines.slice(0, room - 1), `… and ${lines.length - room + 1} more`] : lines;
    const head = `bunsq top  ${watch.where}  by ${watch.sort}  ${new Date().toTimeString().slice(0, 8)}`;
    const cut = (line: string) => line.slice(0, terminal.columns);
    const state = this.failure === "" ? terminal.style("dim", cut(KEY_LINE)) : terminal.style("red", cut(this.failure));
    const screen = [terminal.style("bold", cut(head)), state, terminal.style("inverse", cut(titles)), ...shown.map(cut)];
    return terminal.print(`\x1b[H${screen.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`);
  }
}

/** Waits, but no longer than until one of the signals. */
function sleep(ms: number, signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    for (const signal of signals) {
      const end = () => {
        clearTimeout(timer);
        resolve();
      };
      if (signal.aborted) end();
      else signal.addEventListener("abort", end, { once: true });
    }
  });
}
