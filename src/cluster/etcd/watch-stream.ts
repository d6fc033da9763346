import type { EtcdEntry, EtcdEvent, EtcdWatch, EtcdWatcher } from "./etcd.ts";
import { EtcdError } from "./etcd-error.ts";
import { type Gateway, streamError, whyOf } from "./gateway.ts";
import { arrayOr, asObject, decodeText, encodeText, entryOf, integer, type Json, objectOr, prefixEnd, revisionOf } from "./gateway-json.ts";

/** The pauses before a watch that failed is tried again. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 500;
/** The longest line. One transaction of 128 keys takes a part of it. */
const MAX_LINE_BYTES = 64 << 20;

/** An endpoint may be behind for a moment. One that still is after as many attempts, which takes some seconds, has lost revisions. */
const MOST_BEHIND = 10;

/** A watch over the gateway. It begins again behind what it has told, as often as its stream ends. */
export class WatchStream implements EtcdWatch {
  private isClosed = false;
  private abort = new AbortController();
  private clusterId: unknown;
  private pauseMs = FIRST_PAUSE_MS;
  /** How often in a row the endpoint had fewer revisions than were told. */
  private timesBehind = 0;
  private wake: () => void = () => {};
  private readonly endMoves: () => void;

  constructor(
    private readonly gateway: Gateway,
    private readonly prefix: string,
    private nextRevision: number,
    private readonly watcher: EtcdWatcher,
  ) {
    // A watch that pauses goes on pausing: several that fail must not wake each other.
    this.endMoves = gateway.onMove(() => this.abort.abort());
    void this.run();
  }

  close(): void {
    this.isClosed = true;
    this.endMoves();
    this.abort.abort();
    this.wake();
  }

  private async run(): Promise<void> {
    while (!this.isClosed) {
      this.abort = new AbortController();
      const { generation } = this.gateway;
      const error = await this.follow(this.abort.signal);
      if (this.isClosed) return;
      if (error === undefined) continue;
      if (error.reason === "compacted") {
        this.close();
        return this.watcher.onCompacted();
      }
      // Another endpoint is asked at once.
      if (generation !== this.gateway.generation) continue;
      this.watcher.onTrouble(error);
      if (error.reason === "unreachable") this.gateway.moveFrom();
      await this.pause();
    }
  }

  private pause(): Promise<void> {
    const { pauseMs } = this;
    this.pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Reads one stream to its end. @returns why it ended; undefined: it was quiet for so long that another one is opened */
  private async follow(signal: AbortSignal): Promise<EtcdError | undefined> {
    const abort = () => this.abort.abort();
    let wasQuiet = false;
    // An endpoint that says nothing to a new watch is dead.
    let timer = setTimeout(abort, this.gateway.callLimitMs);
    try {
      const create = { key: encodeText(this.prefix), range_end: prefixEnd(this.prefix), start_revision: String(this.nextRevision) };
      const stream = await this.gateway.stream("/v3/watch", { create_request: create }, signal);
      if (stream instanceof EtcdError) return stream;
      for await (const line of linesOf(stream)) {
        clearTimeout(timer);
        if (signal.aborted || this.isClosed) break;
        const ended = this.take(asObject(JSON.parse(line)));
        if (ended !== undefined) return ended;
        timer = setTimeout(() => {
          wasQuiet = true;
          abort();
        }, this.gateway.watchQuietMs);
      }
      return wasQuiet ? undefined : new EtcdError("unreachable", "none", "etcd: the stream of a watch ended");
    } catch (error) {
      return wasQuiet ? undefined : new EtcdError("unreachable", "none", `etcd: the stream of a watch failed: ${whyOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  private take(line: Json): EtcdError | undefined {
    if (line.error !== undefined) return streamError(line.error, "none");
    const result = asObject(line.result);
    const { cluster_id: clusterId } = objectOr(result.header);
    this.clusterId ??= clusterId;
    if (result.canceled === true) return this.canceled(result);
    // After a restore from a backup the revisions are others. The cluster may be one of the same id, which waits for those that it has lost.
    if (this.clusterId !== clusterId) return new EtcdError("compacted", "none", "etcd: another cluster answers");
    if (result.created === true && revisionOf(result) < this.nextRevision - 1) return this.behind(revisionOf(result));
    this.timesBehind = 0;
    this.pauseMs = FIRST_PAUSE_MS;
    this.tell(arrayOr(result.events).map(asObject), revisionOf(result));
    return undefined;
  }

  private behind(revision: number): EtcdError {
    const why = `etcd: revision ${revision} is its newest one, and ${this.nextRevision - 1} was seen`;
    return new EtcdError(++this.timesBehind < MOST_BEHIND ? "unreachable" : "compacted", "none", why);
  }

  private canceled(result: Json): EtcdError {
    const why = `etcd: the watch was cancelled: ${result.cancel_reason ?? "no reason given"}`;
    if (integer(result.compact_revision) > 0) return new EtcdError("compacted", "none", why);
    // The token may have ended; if it is really forbidden, the next attempt says so again.
    this.gateway.forgetToken();
    return new EtcdError("refused", "none", why);
  }

  /** One answer may have several revisions, of which each is told as one change. */
  private tell(events: readonly Json[], headerRevision: number): void {
    let told: EtcdEvent[] = [];
    let revision = 0;
    for (const event of events) {
      const entry: EtcdEntry = entryOf(event.kv);
      if (entry.modRevision !== revision) {
        this.tellRevision(revision, told);
        told = [];
        revision = entry.modRevision || headerRevision;
      }
      told.push({ key: decodeText(asObject(event.kv).key), entry: event.type === "DELETE" ? undefined : entry });
    }
    this.tellRevision(revision, told);
  }

  private tellRevision(revision: number, events: readonly EtcdEvent[]): void {
    if (events.length === 0 || revision < this.nextRevision || this.isClosed) return;
    this.nextRevision = revision + 1;
    this.watcher.onEvents(revision, events);
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE_BYTES) throw new Error(`a line of more than ${MAX_LINE_BYTES} bytes`);
    for (const line of lines) if (line.trim() !== "") yield line;
  }
}
