import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger, LogLevel } from "../../src/base/logger.ts";
import { type Broker, type Environment, openBroker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { parseFlags } from "../../src/cli/flags.ts";
import { type Frame, RawClient } from "./raw-client.ts";
import { closeBroker } from "./stepped-clock.ts";

/** Keeps its lines for the test to look at, and prints none. */
export class MemoryLogger implements Logger {
  level: LogLevel = "debug";
  readonly lines: string[] = [];

  debug(line: string): void {
    this.lines.push(`DEBUG: ${line}`);
  }
  info(line: string): void {
    this.lines.push(`INFO: ${line}`);
  }
  warn(line: string): void {
    this.lines.push(`WARNING: ${line}`);
  }
  error(line: string): void {
    this.lines.push(`ERROR: ${line}`);
  }
  fatal(line: string): void {
    this.lines.push(`FATAL: ${line}`);
  }

  matching(pattern: RegExp): string[] {
    return this.lines.filter((line) => pattern.test(line));
  }
}

/** The flag table's defaults, without HTTP, on a port that the system chooses. */
export function defaultOptions(changes: Partial<BrokerOptions> = {}): BrokerOptions {
  const { options } = parseFlags(brokerFlags("test"), []);
  return { ...options, tcpAddress: "127.0.0.1:0", httpAddress: "", ...changes };
}

/** A new folder below the system's temporary one. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "bunsq-test-"));
}

export function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/**
 * A broker in this process with a data path of its own, over real sockets; and clients, all gone after `await using`. With a
 * SteppedClock in its environment, time passes for it only when the test lets it.
 */
export class InProcess implements AsyncDisposable {
  broker!: Broker;
  readonly log = new MemoryLogger();
  readonly dataPath = temporaryFolder();
  private readonly clients: RawClient[] = [];

  private constructor(
    private readonly changes: Partial<BrokerOptions>,
    private readonly environment: Environment,
  ) {}

  static start(changes: Partial<BrokerOptions> = {}, environment: Environment = {}): InProcess {
    const started = new InProcess(changes, environment);
    started.open(changes);
    return started;
  }

  /** A clean end and a new start on the same data path. */
  async restart(changes: Partial<BrokerOptions> = this.changes): Promise<void> {
    await this.close();
    this.open(changes);
  }

  /** A clean end. */
  close(): Promise<void> {
    return closeBroker(this.broker, this.environment.clock);
  }

  /** A new start on what a test made of the data path after it closed the broker. */
  reopen(): void {
    this.open(this.changes);
  }

  async client(): Promise<RawClient> {
    const client = await RawClient.connect(this.broker.tcpPort);
    this.clients.push(client);
    return client;
  }

  /** Lets go of the clients so far; who uses thousands closes them itself. */
  forgetClients(): void {
    this.clients.length = 0;
  }

  /** A client that has joined a channel. */
  async consumer(topic: string, channel: string, ready = 0, identity?: object): Promise<RawClient> {
    const client = await this.client();
    if (identity !== undefined) await client.call("IDENTIFY", JSON.stringify(identity));
    await client.call(`SUB ${topic} ${channel}`);
    if (ready > 0) client.command(`RDY ${ready}`);
    return client;
  }

  /** Publishes and waits for OK. */
  async publish(topic: string, ...bodies: (string | Uint8Array)[]): Promise<void> {
    const client = await this.client();
    for (const body of bodies) client.command(`PUB ${topic}`, body);
    for (const _ of bodies) await client.response();
    client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.terminate();
    await this.close();
    removeFolder(this.dataPath);
  }

  private open(changes: Partial<BrokerOptions>): void {
    this.broker = openBroker(defaultOptions({ dataPath: this.dataPath, ...changes }), this.log, this.environment);
    this.broker.listen();
  }
}

/** Bodies of messages: "0", "1", … */
export function numbers(count: number, first = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${first + i}`);
}

/** The next `count` messages. */
export async function messages(client: RawClient, count: number): Promise<Frame[]> {
  const frames: Frame[] = [];
  while (frames.length < count) frames.push(await client.message());
  return frames;
}

/**
 * Asserts that nothing is on its way to a subscribed client, without waiting for time to pass: two commands that
 * the broker answers in order go there and back, and nothing else comes before or between their answers.
 */
export async function expectNothing(client: RawClient): Promise<void> {
  for (let i = 0; i < 2; i++) {
    client.command("FIN 0000000000000000");
    const frame = await client.next();
    if (!frame.text.startsWith("E_FIN_FAILED")) throw new Error(`expected nothing, got ${frame.type} ${frame.text}`);
  }
}
