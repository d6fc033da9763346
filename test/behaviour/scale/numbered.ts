import { until } from "../../support/server.ts";
import { LeanClient } from "./lean-client.ts";

/** Every body is this long and carries its number at both ends, so that a shifted or mixed body shows. */
export const BODY_BYTES = 200;
const BATCH = 200;
const PER_MESSAGE_BYTES = 4 + BODY_BYTES;

/** Reads and checks a numbered body. @throws when it is not one, whole and unchanged */
export function numberOf(buffer: Buffer, start: number, end: number): number {
  const number = buffer.readUInt32BE(start);
  if (end - start !== BODY_BYTES || buffer.readUInt32BE(end - 4) !== number) {
    throw new Error(`a corrupt body: ${end - start} bytes, numbers ${number} and ${buffer.readUInt32BE(end - 4)}`);
  }
  return number;
}

/**
 * Publishes numbered messages in MPUBs of 200 over one connection, several outstanding.
 *
 * @param count how many; a multiple of 200
 * @param mayGoOn asked with the number of the next message before each batch: false holds back until the next call of pump()
 */
export class NumberedPublisher {
  published = 0;
  acknowledged = 0;
  private readonly command: Buffer;
  private readonly bodiesStart: number;
  private client!: LeanClient;

  private constructor(
    topic: string,
    private readonly count: number,
    private readonly mayGoOn: (next: number) => boolean,
  ) {
    const line = Buffer.from(`MPUB ${topic}\n`);
    this.bodiesStart = line.length + 8;
    this.command = Buffer.alloc(this.bodiesStart + BATCH * PER_MESSAGE_BYTES, 0x2e);
    line.copy(this.command);
    this.command.writeUInt32BE(4 + BATCH * PER_MESSAGE_BYTES, line.length);
    this.command.writeUInt32BE(BATCH, line.length + 4);
    for (let i = 0; i < BATCH; i++) this.command.writeUInt32BE(BODY_BYTES, this.bodiesStart + i * PER_MESSAGE_BYTES);
  }

  static async start(
    port: number,
    topic: string,
    count: number,
    mayGoOn: (next: number) => boolean = () => true,
  ): Promise<NumberedPublisher> {
    if (count % BATCH !== 0) throw new Error(`${count} is not a multiple of ${BATCH}`);
    const publisher = new NumberedPublisher(topic, count, mayGoOn);
    publisher.client = await LeanClient.connect(port, {
      message: () => false,
      response: () => {
        publisher.acknowledged += BATCH;
        publisher.pump();
      },
    });
    publisher.pump();
    return publisher;
  }

  /** Sends as many batches as the window (8 outstanding), the socket and mayGoOn allow. */
  pump(): void {
    while (
      this.client.idle &&
      this.published < this.count &&
      this.published - this.acknowledged < 8 * BATCH &&
      this.mayGoOn(this.published)
    ) {
      for (let i = 0; i < BATCH; i++) {
        const body = this.bodiesStart + i * PER_MESSAGE_BYTES + 4;
        this.command.writeUInt32BE(this.published, body);
        this.command.writeUInt32BE(this.published, body + BODY_BYTES - 4);
        this.published++;
      }
      // One buffer for all batches: the next may be laid out only once the socket holds nothing of this one.
      this.client.write(this.command);
    }
  }

  check(): void {
    if (this.client.failure) throw this.client.failure;
  }

  /** Resolves when every message has been acknowledged. */
  async done(timeoutMs: number): Promise<void> {
    await until(
      `${this.count} messages acknowledged`,
      () => {
        this.check();
        return this.acknowledged === this.count;
      },
      timeoutMs,
    );
    this.client.close();
  }
}
