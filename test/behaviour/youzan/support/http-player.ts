import { expect } from "bun:test";
import type { WithHttp } from "../../../support/with-http.ts";
import type { Exchange, HttpSection } from "./http-transcript.ts";

/** An answer that is another one here, and why. */
export interface HttpDifference {
  /** Method and target. */
  call: string;
  /** Which of those that are the same, from 0 on; undefined: all. */
  at?: number;
  why: string;
  /** Status and body, as HttpPlayer compares them. */
  answer: string;
}

const BARE = { Accept: "application/vnd.nsq; version=1.0" };

/** Sends what was sent to Youzan's nsqd to a broker, and compares the answers. */
export class HttpPlayer {
  /** Differences that were met. */
  readonly met = new Set<HttpDifference>();
  private readonly counts = new Map<string, number>();

  /**
   * @param elsewhere a broker that has other partitions of the topic
   * @param sent what is sent in place of a recorded body or target: offsets count the bytes of another log, and ids begin at 1 here
   */
  constructor(
    private readonly server: WithHttp,
    private readonly elsewhere: WithHttp | undefined,
    private readonly differences: readonly HttpDifference[],
    private readonly sent: (text: string) => string = (text) => text,
  ) {}

  async section(section: HttpSection, after: (exchange: Exchange) => Promise<void> = async () => {}): Promise<void> {
    for (const exchange of section.exchanges) {
      await this.play(exchange);
      await after(exchange);
    }
  }

  private async play({ method, target, body, isElsewhere, status, answer }: Exchange): Promise<void> {
    const call = `${method} ${target}${isElsewhere ? " (another broker)" : ""}`;
    const count = this.counts.get(call) ?? 0;
    this.counts.set(call, count + 1);
    const server = isElsewhere ? (this.elsewhere as WithHttp) : this.server;
    const content = body === undefined ? undefined : this.sent(body);
    const got = comparable(await server.call(method, this.sent(target), content, BARE), 0n);
    const difference = this.differences.find((one) => one.call === call && (one.at ?? count) === count);
    if (difference !== undefined) this.met.add(difference);
    const expected = difference?.answer ?? comparable(`${status} ${answer}`.trimEnd(), 1n);
    expect([call, got]).toEqual([call, expected]);
  }
}

/**
 * An answer without what is of its moment or of its log. @param shift how much larger its ids are
 */
function comparable(text: string, shift: bigint): string {
  const isDeferred = text.includes('"orig_id"');
  return text
    .replace(/"(timestamp|offset|queue_offset|start_time)":\d+/g, '"$1":0')
    .replace(/"version":"[^"]*"/, '"version":""')
    .replace(/,"message_id":"[0-9a-f]{16}"/, "")
    .replace(/"(id|orig_id)":(\d+)/g, (_, key: string, id: string) => `"${key}":${isDeferred && key === "id" ? 0 : BigInt(id) - shift}`);
}
