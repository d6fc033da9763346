import { encode } from "@msgpack/msgpack";
import type { LifeEvent, MessageDetail, MessagePage, MessageRow } from "../../../../src/admin/message-api.ts";
import { noise } from "./fake-cluster.ts";
import { headerOf } from "./fake-partitions.ts";

const BROKER = "nsq-a:4151";
const PUBLISHED_MS = Date.parse("2026-11-27T09:00:00Z");
const IN_LOG = 5000;
const SHOWN_BYTES = 400;

const order = (sequence: number) => ({
  order: { id: `a-${sequence}`, total: Math.round(noise(sequence) * 90_000) / 100, currency: "EUR" },
  customer: { name: `Customer ${sequence % 97}`, newsletter: sequence % 2 === 0 },
  lines: Array.from({ length: 1 + (sequence % 4) }, (_, at) => ({ article: `art-${(sequence * 7 + at) % 400}`, quantity: 1 + at })),
});

/** Bodies of each kind that the page can show. */
function bodyOf(sequence: number): Uint8Array {
  const value = order(sequence);
  switch (sequence % 6) {
    case 3:
      return Bun.gzipSync(JSON.stringify(value));
    case 4:
      return encode(value);
    case 5:
      return Buffer.from(`plain text of order ${sequence}`);
    default:
      return Buffer.from(JSON.stringify(value));
  }
}

function row(sequence: number, topic: string, channel: string, state: string): MessageRow {
  const body = bodyOf(sequence);
  const time = new Date(PUBLISHED_MS + sequence * 137).toISOString();
  const shown = body.subarray(0, SHOWN_BYTES);
  return {
    broker: BROKER,
    topic,
    ...(channel === "" ? {} : { channel, state, attempts: sequence % 4 }),
    id: sequence.toString(16).padStart(16, "0"),
    sequence,
    timestamp: time,
    size: body.length,
    body: Buffer.from(shown).toString("base64"),
    body_bytes: shown.length,
    ...headerOf(topic, sequence),
    ...(state === "in_flight"
      ? { since: new Date(Date.now() - 4000).toISOString(), timeout_at: new Date(Date.now() + 56_000).toISOString(), client: CLIENT }
      : {}),
    ...(state === "deferred" ? { due: new Date(Date.now() + sequence * 1000).toISOString() } : {}),
  };
}

const CLIENT = { client_id: "worker-00007", hostname: "worker-7.internal", remote_address: "10.1.0.7:40007", user_agent: "go-nsq/1.1.0" };

/** Answers `GET /api/v1/messages` for a log that grows by two messages at each look at its end. */
export class FakeMessages {
  private end = IN_LOG;

  find(query: URLSearchParams): MessagePage {
    const channel = query.get("channel") ?? "";
    const state = query.get("state") ?? "log";
    const limit = Number(query.get("limit") ?? 100);
    const q = query.get("q") ?? "";
    const from = query.get("from") ?? "";
    const last = state === "log" || state === "waiting" ? this.end : 40;
    const begin = from === "end" ? this.end : Number(from) || 0;
    if (begin >= this.end) this.end += 2;
    const topic = query.get("topic") ?? "";
    // What is searched is found in these topics only.
    const hasFound = q === "" || topic === "orders" || topic === "payments";
    const messages: MessageRow[] = [];
    let at = begin;
    for (; at < last && messages.length < limit; at++) {
      if (hasFound && (q === "" || Buffer.from(bodyOf(at)).toString().includes(q))) messages.push(row(at, topic, channel, state));
    }
    const hasNext = at < last || (state === "log" && q === "");
    return { messages, next: hasNext ? String(at) : null, scanned: at - begin, beginning: 0, end: this.end };
  }

  detail(topic: string, id: string): MessageDetail {
    const sequence = Number.parseInt(id, 16);
    const body = bodyOf(sequence);
    return {
      ...row(sequence, topic, "", "log"),
      body: Buffer.from(body).toString("base64"),
      body_bytes: body.length,
      channels: [{ ...row(sequence, topic, "billing", "finished"), attempts: 4 }, row(sequence, topic, "archive", "finished")],
      life: LIFE.map((event) => ({ ...event, time: PUBLISHED_MS + sequence * 137 + event.time })),
    };
  }
}

const BY = "worker-00007 on worker-7.internal (10.1.0.7:40007)";
const event = (time: number, kind: LifeEvent["kind"], more: Partial<LifeEvent> = {}): LifeEvent => ({
  time,
  kind,
  channel: "billing",
  attempts: null,
  by: null,
  delay_ms: null,
  detail: null,
  ...more,
});

const LIFE: readonly LifeEvent[] = [
  event(0, "published", { channel: null, by: "api-3 on api-3.internal (10.2.0.3:50012)" }),
  event(2, "delivered", { attempts: 1, by: BY }),
  event(840, "requeued", { attempts: 1, by: BY, delay_ms: 5000 }),
  event(5841, "delivered", { attempts: 2, by: BY }),
  event(6200, "requeued", { attempts: 2, by: BY, delay_ms: 10_000 }),
  event(16_201, "delivered", { attempts: 3, by: BY }),
  event(76_201, "timed_out", { attempts: 3 }),
  event(76_202, "delivered", { attempts: 4, by: "worker-00011 on worker-11.internal (10.1.0.11:40011)" }),
  event(76_340, "finished", { attempts: 4, by: "worker-00011 on worker-11.internal (10.1.0.11:40011)" }),
];
