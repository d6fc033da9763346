import { type Identity, identityOf, LookupClient } from "../../../lookup/support/lookup-client.ts";
import { type LookupProgram, startLookupServer } from "../../../support/lookup.ts";
import type { Running } from "../../../support/server.ts";
import { until } from "../../../support/server.ts";
import { exchange, requestBytes } from "./http-wire.ts";
import { type DefineScenario, type Difference, describePair, PLAYS_ORIGINAL_TWICE, type Side } from "./pair.ts";
import { type Json, Session, showBytes } from "./session.ts";

const ANSWER_TIMEOUT_MS = 8000;
/** The command that no lookup server knows: its error shows that the connection was still served, and it ends it. */
const PROBE = "PROBE\n";

/** A topic at a node, as /nodes tells it in two lists. */
interface NodeTopics {
  topics: string[];
  tombstones: boolean[];
}

/** One scenario being played against one lookup server. */
export class LookupSession extends Session<Running> {
  /** A broker's connection whose answers go into the transcript under `label`. */
  async broker(label: string, magic?: string): Promise<Broker> {
    const client = await LookupClient.connect(this.server.tcpPort, magic);
    this.opened.push({ terminate: () => client.close() });
    this.nameId(client.address);
    return new Broker(this, label, client);
  }

  /** A broker that has introduced itself, and registered `topic` or `topic channel` each. Not in the transcript. */
  async registered(label: string, registrations: string[] = [], identity: Partial<Identity> = {}): Promise<Broker> {
    const broker = await this.broker(label);
    await broker.client.identify(identityOf(label, identity));
    for (const registration of registrations) {
      const answer = await broker.client.call(`REGISTER ${registration}`);
      if (answer !== "OK") throw new Error(`REGISTER ${registration}: ${answer}`);
    }
    return broker;
  }

  /** A call that answers JSON: status and content into the transcript, lists in order of their items. */
  async json(target: string): Promise<void> {
    const response = await exchange(this.server.httpPort, requestBytes("GET", target), ANSWER_TIMEOUT_MS);
    this.note(`http> GET ${target}`);
    this.note(`http< ${response?.statusLine ?? "nothing"}`);
    if (response !== undefined) this.noteJson(target, inOrder(JSON.parse(response.body.toString()) as Json));
  }

  override noteJson(title: string, value: Json): void {
    // Named before they are put in order, since addresses differ in their order too.
    const named = JSON.parse(this.named(JSON.stringify(value))) as Json;
    for (const line of JSON.stringify(inOrder(describe(named)), null, 1).split("\n")) this.note(`${title}: ${line}`);
  }

  /** Everything a lookup server tells of this scenario's topic. */
  async whereabouts(topic = this.topic): Promise<void> {
    await this.json(`/lookup?topic=${topic}`);
    await this.json(`/channels?topic=${topic}`);
  }

  /** The names of the producers that /lookup tells, unrecorded. */
  async producers(topic = this.topic): Promise<string[]> {
    const response = await this.server.http("GET", `/lookup?topic=${topic}`);
    const { producers } = (await response.json()) as { producers: { broadcast_address: string }[] };
    return producers.map(({ broadcast_address }) => broadcast_address).sort();
  }

  /** Waits until /lookup tells just these producers, in any order. */
  async untilProducers(names: string[], topic = this.topic): Promise<void> {
    await until(`the producers of ${topic} are ${names.join(", ") || "none"}`, async () =>
      Bun.deepEquals(await this.producers(topic), [...names].sort()),
    );
  }
}

/** A broker's connection whose every answer is written down. */
export class Broker {
  constructor(
    private readonly session: LookupSession,
    readonly label: string,
    readonly client: LookupClient,
  ) {}

  /** A command line with `\n`, and a sized body if given; then its answer. */
  async call(line: string, body?: string | Uint8Array): Promise<void> {
    this.session.note(
      `${this.label}> ${JSON.stringify(line)}${body === undefined ? "" : ` + ${JSON.stringify(Buffer.from(body).toString("latin1"))}`}`,
    );
    this.client.send(line, body);
    await this.answers(1);
  }

  /** Bytes as they are. */
  raw(bytes: string | Uint8Array): void {
    const text = typeof bytes === "string" ? bytes : Buffer.from(bytes).toString("latin1");
    this.session.note(`${this.label}> raw ${text.length > 400 ? `${text.length} bytes` : JSON.stringify(text)}`);
    this.client.socket.write(bytes);
  }

  /** Takes and records the next answers; records instead that the connection ended or nothing came. */
  async answers(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const answer = await this.client.next(ANSWER_TIMEOUT_MS);
      if (answer === undefined) {
        this.session.note(`${this.label}< (${this.client.socket.ended ? "closed" : "nothing"})`);
        return;
      }
      this.session.note(`${this.label}< ${showAnswer(answer, this.session.server)}`);
    }
  }

  /** Sends a command that nobody knows, and records everything up to the end of the connection. */
  async end(): Promise<void> {
    this.client.socket.write(PROBE);
    await this.untilClosed();
  }

  async untilClosed(): Promise<void> {
    await this.client.socket.untilEnd(ANSWER_TIMEOUT_MS);
    for (let answer = await this.client.next(0); answer !== undefined; answer = await this.client.next(0)) {
      this.session.note(`${this.label}< ${showAnswer(answer, this.session.server)}`);
    }
    const rest = this.client.rest();
    if (rest.length > 0) this.session.note(`${this.label}< (${rest.length} bytes that are no answer)`);
    this.session.note(`${this.label}< (${this.client.socket.ended ? "closed" : "still open"})`);
    this.client.close();
  }

  /** One train of bytes with the unknown command behind it, and everything that comes back. */
  async play(bytes: string | Uint8Array): Promise<void> {
    this.raw(bytes);
    await this.end();
  }
}

export interface LookupPairOptions {
  /** Flags of both. */
  args?: string[];
  /** Servers of its own for each scenario: for those that see everything that is registered. */
  alone?: boolean;
  anywhere?: Difference[];
}

/** As describeAgainstNsqd(), for lookup servers. `BUNSQ_DIFFERENTIAL_SUBJECT=nsqd` plays Go against Go here too. */
export function describeAgainstNsqlookupd(
  title: string,
  options: LookupPairOptions,
  define: (scenario: DefineScenario<LookupSession>) => void,
): void {
  const programs: Record<Side, LookupProgram> = { go: "nsqlookupd", subject: PLAYS_ORIGINAL_TWICE ? "nsqlookupd" : "bunsq" };
  const start = (side: Side) => startLookupServer(programs[side], options.args);
  let shared: Record<Side, Running> | undefined;
  describePair<LookupSession>(
    title,
    {
      original: "nsqlookupd",
      anywhere: options.anywhere,
      serial: options.alone,
      open: async () => {
        if (options.alone !== true) shared = { go: await start("go"), subject: await start("subject") };
      },
      close: async () => {
        await Promise.all([shared?.go.stop(), shared?.subject.stop()]);
      },
      play: async (side, topic, scenario) => {
        const server = shared?.[side] ?? (await start(side));
        const session = new LookupSession(server, topic);
        try {
          await scenario(session);
        } finally {
          session.dispose();
          if (shared === undefined) await server.stop();
        }
        return session.transcript;
      },
    },
    define,
  );
}

/** An answer as a readable line. IDENTIFY's tells ports that differ. */
function showAnswer(answer: Buffer, server: Running): string {
  return showBytes(answer)
    .replace(`\\"tcp_port\\":${server.tcpPort},`, '\\"tcp_port\\":<tcp port>,')
    .replace(`\\"http_port\\":${server.httpPort},`, '\\"http_port\\":<http port>,');
}

/** Replaces times by what they must be. */
function describe(value: Json): Json {
  if (Array.isArray(value)) return value.map(describe);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      (key === "last_update" || key === "tombstoned_at") && isRecent(item) ? "<recent>" : describe(item),
    ]),
  );
}

/** @param ns since 1970 */
function isRecent(ns: Json): boolean {
  return typeof ns === "number" && Math.abs(ns / 1e6 - Date.now()) < 60_000;
}

/** nsqlookupd keeps everything in maps, so the order of lists differs from call to call. */
function inOrder(value: Json): Json {
  if (Array.isArray(value)) return value.map(inOrder).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (value === null || typeof value !== "object") return value;
  const { topics, tombstones, ...rest } = value as unknown as NodeTopics & { [key: string]: Json };
  if (tombstones === undefined) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inOrder(item)]));
  // Two lists that belong together.
  const pairs = topics.map((topic, i) => `${topic}${tombstones[i] ? " (tombstoned)" : ""}`);
  return { ...rest, topics: pairs.sort() };
}
