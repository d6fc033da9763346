import { Refusal } from "../../http/server/reply.ts";
import type { Identity } from "../access/identity.ts";
import type { Admin } from "../admin.ts";
import type { MessageRow } from "../message-api.ts";
import { findPage } from "./messages-call.ts";
import { placeKey, prepareSearch, type Search, type SearchWords } from "./search-request.ts";

const MOST_TAILS = 50;
const POLL_MS = 500;
/** A comment is sent after this time without an event, so that proxies keep the connection. */
const HEARTBEAT_MS = 15_000;
const BEGINNING = "retry: 2000\n\n";
const HEARTBEAT = ": \n\n";
/** Messages of one poll. */
const PAGE_MESSAGES = 500;
/** A tail that is further behind at a broker goes on at the end. */
const MOST_BEHIND = 10_000;

/** The tails of all pages that are open. Each reads what is published from now on, and consumes nothing. */
export class Tails {
  private readonly tails = new Set<Tail>();

  constructor(private readonly admin: Pick<Admin, "upstream" | "discovery">) {}

  /** @param identity of who asks. When it does not hold any more, the tail ends @throws Refusal 400, 404, 502, 503; MatchError */
  async open(words: SearchWords, identity: Pick<Identity, "isCurrent">): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    if (this.tails.size >= MOST_TAILS) throw new Refusal(503, "TOO_MANY_TAILS");
    const tail = new Tail(this.admin, { ...words, channel: "", state: "log" }, identity, () => this.tails.delete(tail));
    this.tails.add(tail);
    try {
      await tail.begin();
    } catch (error) {
      tail.end();
      throw error;
    }
    return tail.body;
  }

  close(): void {
    for (const tail of this.tails) tail.end();
  }
}

/** One connection. It polls when the connection has taken the event before, so a slow reader costs no memory. */
class Tail {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  private readonly ended = Promise.withResolvers<void>();
  private isEnded = false;
  private search: Search | undefined;
  private text = BEGINNING;
  private sentMs = performance.now();
  private skipped = 0;
  /** The brokers that were told to be unavailable. */
  private readonly told = new Set<string>();

  constructor(
    private readonly admin: Pick<Admin, "upstream" | "discovery">,
    private readonly words: SearchWords,
    private readonly identity: Pick<Identity, "isCurrent">,
    private readonly onEnd: () => void,
  ) {
    this.body = new ReadableStream({ pull: (controller) => this.pull(controller), cancel: () => this.end() }, { highWaterMark: 0 });
  }

  /** Finds the ends of the logs. */
  async begin(): Promise<void> {
    this.search = await prepareSearch(this.admin, { ...this.words, from: "end" });
    await this.poll(this.search);
  }

  end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.ended.resolve();
    this.onEnd();
  }

  private async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    while (this.text === "" && !this.isEnded && this.search !== undefined) {
      await Promise.race([Bun.sleep(POLL_MS), this.ended.promise]);
      if (!this.identity.isCurrent()) this.end();
      if (!this.isEnded) await this.poll(this.search);
      if (performance.now() - this.sentMs > HEARTBEAT_MS && this.text === "") this.text = HEARTBEAT;
    }
    if (this.text !== "") controller.enqueue(Buffer.from(this.text));
    this.text = "";
    this.sentMs = performance.now();
    if (this.isEnded) controller.close();
  }

  private async poll(search: Search): Promise<void> {
    const { messages, scanned, result, unavailable: failed } = await findPage(this.admin, search, PAGE_MESSAGES);
    const answering = new Set(result.places.map(({ broker }) => broker));
    const known = new Set(result.places.map(placeKey));
    // A broker that is down goes on where it was, once it is back. Which partitions it has its first answer tells.
    const waiting = search.places.filter(
      (place) => !known.has(placeKey(place)) && !(answering.has(place.broker) && place.partition === undefined),
    );
    search.places = [...result.places, ...waiting];
    for (const source of result.sources) {
      const key = placeKey(source.place);
      const place = search.places.find((one) => placeKey(one) === key);
      const behind = (source.end ?? 0) - Number(place?.from);
      if (place === undefined || !(behind > MOST_BEHIND)) continue;
      this.skipped += behind;
      place.from = String(source.end);
    }
    this.tell(messages, scanned);
    const unavailable = [...search.unavailable, ...failed];
    for (const each of unavailable) if (!this.told.has(each.broker)) this.event("unavailable", each);
    for (const broker of answering) this.told.delete(broker);
    for (const { broker } of unavailable) this.told.add(broker);
  }

  private tell(messages: readonly MessageRow[], scanned: number): void {
    if (messages.length === 0 && this.skipped === 0) return;
    this.event("messages", { messages, scanned, skipped: this.skipped });
    this.skipped = 0;
  }

  private event(name: string, data: unknown): void {
    this.text += `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  }
}
