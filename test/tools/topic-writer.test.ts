import { expect, test } from "bun:test";
import type { Handler, Message } from "../../src/client/bun.ts";
import { TopicWriter } from "../../src/tools/nsq-to-file/topic-writer.ts";
import { MemoryLogger } from "../support/in-process.ts";
import { until } from "../support/server.ts";

/** A consumer that gives the messages of a test, and is closed when all are finished. */
class MemoryConsumer {
  connected = ["broker"];
  handler: Handler = () => {};
  readonly finished: number[] = [];
  private given = 0;
  private readonly closed = Promise.withResolvers<void>();
  private isClosing = false;

  run(handler: Handler): Promise<void> {
    this.handler = handler;
    return this.closed.promise;
  }

  give(): void {
    const number = this.given++;
    // The writer uses these members only.
    const message: Pick<Message, "broker" | "body" | "finish"> = {
      broker: "broker",
      body: Buffer.from(`${number}`),
      finish: () => {
        this.finished.push(number);
        this.settle();
        return true;
      },
    };
    this.handler(message as Message);
  }

  close(): Promise<void> {
    this.isClosing = true;
    this.settle();
    return this.closed.promise;
  }

  private settle(): void {
    if (this.isClosing && this.finished.length === this.given) this.closed.resolve();
  }
}

/** A file whose flushes a test lets through. */
class MemoryFile {
  needsRotation = false;
  readonly calls: string[] = [];
  private gate = Promise.withResolvers<void>();

  append(body: Uint8Array): void {
    this.calls.push(Buffer.from(body).toString());
  }

  async flush(): Promise<void> {
    this.calls.push("flush");
    // Until the first message there is nothing to write.
    if (this.calls.includes("0")) await this.gate.promise;
  }

  async sync(): Promise<void> {
    this.calls.push("sync");
  }

  async rotate(): Promise<void> {
    this.calls.push("rotate");
  }

  async close(): Promise<void> {
    this.calls.push("close");
  }

  open(): void {
    this.gate.resolve();
  }
}

function newWriter() {
  const [consumer, file] = [new MemoryConsumer(), new MemoryFile()];
  const options = { maxInFlight: 10, syncIntervalMs: 3_600_000, skipsEmptyFiles: false };
  const writer = new TopicWriter(consumer, file, options, new MemoryLogger(), "[t/c]");
  return { consumer, file, writer, running: writer.run() };
}

test("what comes while a file is written is not overlooked: the end", async () => {
  const { consumer, file, writer, running } = newWriter();
  consumer.give();
  await until("it writes", () => file.calls.at(-1) === "flush" && file.calls.includes("0"));
  writer.stop();
  file.open();
  await running;
  expect(consumer.finished).toEqual([0]);
  expect(file.calls.at(-1)).toBe("close");
});

test("what comes while a file is written is not overlooked: SIGHUP, and further messages", async () => {
  const { consumer, file, writer, running } = newWriter();
  consumer.give();
  await until("it writes", () => file.calls.at(-1) === "flush" && file.calls.includes("0"));
  consumer.give();
  writer.reopen();
  file.open();
  await until("both are finished and the file is closed", () => consumer.finished.length === 2 && file.calls.includes("close"));
  writer.stop();
  await running;
});

test("a message is finished after the sync behind its line, when no more may come", async () => {
  const { consumer, file, writer, running } = newWriter();
  file.open();
  for (let i = 0; i < 8; i++) consumer.give();
  await until("it has written", () => file.calls.filter((call) => call === "flush").length > 0);
  expect(consumer.finished).toEqual([]);
  consumer.give();
  await until("all are finished", () => consumer.finished.length === 9);
  expect(file.calls.indexOf("sync")).toBeGreaterThan(file.calls.indexOf("8"));
  writer.stop();
  await running;
});
