import { type Frame, RawClient } from "../../support/raw-client.ts";
import { type Server, until } from "../../support/server.ts";

export const TOPIC = "orders";
export const CHANNEL = "billing";
const BODY_BYTES = 3000;
const BATCH = 10;
/** A finished message does not come again when the broker has had so long to note it. */
export const NOTED_MS = 500;

export const KINDS = ["PUB", "MPUB", "DPUB", "/pub", "/mpub", "/pub defer"] as const;
export type Kind = (typeof KINDS)[number];

/** Publishes in every way there is, and remembers what the broker said to each message: what may come, what must, what must not. */
export class Traffic {
  readonly acknowledged = new Set<number>();
  readonly refused = new Map<number, string>();
  /** By number: how often each came. */
  readonly received = new Map<number, number>();
  readonly finished = new Set<number>();
  /** What came against the rules. */
  readonly violations: string[] = [];
  private nextNumber = 0;

  /** Publishes once. @returns the refusal, or undefined when it was acknowledged */
  async publish(server: Server, kind: Kind, deferMs = 700): Promise<string | undefined> {
    const numbers = Array.from({ length: kind === "MPUB" || kind === "/mpub" ? BATCH : 1 }, () => this.nextNumber++);
    const bodies = numbers.map((number) => `${number} `.padEnd(BODY_BYTES, "."));
    const refusal = kind.startsWith("/") ? await overHttp(server, kind, bodies, deferMs) : await overTcp(server, kind, bodies, deferMs);
    for (const number of numbers) {
      if (refusal === undefined) this.acknowledged.add(number);
      else this.refused.set(number, refusal);
    }
    return refusal;
  }

  /** Several at the same moment, so that some share a commit. @returns the refusals by kind */
  async publishAll(server: Server): Promise<Map<Kind, string>> {
    const refusals = new Map<Kind, string>();
    await Promise.all(
      [...KINDS, ...KINDS, ...KINDS].map(async (kind) => {
        const refusal = await this.publish(server, kind);
        if (refusal !== undefined) refusals.set(kind, refusal);
      }),
    );
    return refusals;
  }

  /** Takes note of a delivery. @returns the message's number */
  came(frame: Frame): number {
    const number = Number.parseInt(frame.text, 10);
    this.received.set(number, (this.received.get(number) ?? 0) + 1);
    if (frame.text.length !== BODY_BYTES) this.violations.push(`message ${number} came with ${frame.text.length} bytes`);
    if (!(number < this.nextNumber)) this.violations.push(`message ${number} came, which was never published`);
    if (this.finished.has(number)) this.violations.push(`message ${number} came again after it was finished`);
    return number;
  }

  /** Refused, and delivered all the same: `number: refusal`. */
  get resurrected(): string[] {
    return [...this.refused].filter(([number]) => this.received.has(number)).map(([number, refusal]) => `${number}: ${refusal}`);
  }

  get missing(): number[] {
    return [...this.acknowledged].filter((number) => !this.received.has(number));
  }
}

/** One consumer that finishes what comes, or holds it. */
export class Drain {
  readonly held: Frame[] = [];
  drained = 0;

  private constructor(
    private readonly client: RawClient,
    private readonly traffic: Traffic,
  ) {}

  static async start(server: Server, traffic: Traffic, channel: string, ready: number, hold: boolean): Promise<Drain> {
    const client = await RawClient.connect(server.tcpPort);
    const answer = await client.call(`SUB ${TOPIC} ${channel}`);
    if (answer !== "OK") throw new Error(`SUB was answered with ${answer}`);
    const drain = new Drain(client, traffic);
    client.onFrame = (frame) => {
      if (frame.type !== "message") return void traffic.violations.push(`a consumer got ${frame.text}`);
      const number = traffic.came(frame);
      if (hold) drain.held.push(frame);
      else drain.finish(frame, number);
    };
    client.command(`RDY ${ready}`);
    return drain;
  }

  finish(frame: Frame, number = Number.parseInt(frame.text, 10)): void {
    this.client.command(`FIN ${frame.id}`);
    this.traffic.finished.add(number);
    this.drained++;
  }

  /** From here on what comes is finished at once. */
  finishAll(): void {
    for (const frame of this.held.splice(0)) this.finish(frame);
  }

  requeue(frame: Frame, delayMs: number): void {
    this.client.command(`REQ ${frame.id} ${delayMs}`);
  }

  pause(): void {
    this.client.command("RDY 0");
  }

  close(): void {
    this.client.close();
  }
}

async function overTcp(server: Server, kind: Kind, bodies: string[], deferMs: number): Promise<string | undefined> {
  const client = await RawClient.connect(server.tcpPort);
  try {
    if (kind === "MPUB") client.mpub(TOPIC, bodies);
    else client.command(kind === "DPUB" ? `DPUB ${TOPIC} ${deferMs}` : `PUB ${TOPIC}`, bodies[0]);
    const { type, text } = await client.next(10_000);
    if (type === "response" && text === "OK") return undefined;
    if (!text.startsWith(`E_${kind}_FAILED ${kind} failed `)) throw new Error(`${kind} was answered with ${text}`);
    await client.untilClosed();
    return text;
  } finally {
    client.close();
  }
}

async function overHttp(server: Server, kind: Kind, bodies: string[], deferMs: number): Promise<string | undefined> {
  const path = kind === "/mpub" ? "/mpub" : "/pub";
  const response = await server.http(
    "POST",
    `${path}?topic=${TOPIC}${kind === "/pub defer" ? `&defer=${deferMs}` : ""}`,
    bodies.join("\n"),
  );
  const text = await response.text();
  if (response.status === 200) return undefined;
  if (response.status !== 503) throw new Error(`${kind} was answered with ${response.status} ${text}`);
  return text;
}

/** Waits until publishes of every kind are accepted. */
export async function untilAccepted(server: Server, traffic: Traffic): Promise<void> {
  for (const kind of KINDS) {
    await until(`${kind} is accepted again`, async () => (await traffic.publish(server, kind, 100)) === undefined);
  }
}
