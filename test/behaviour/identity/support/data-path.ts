import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Clock } from "../../../../src/base/clock.ts";
import { type Broker, type Environment, openBroker } from "../../../../src/broker/broker.ts";
import type { BrokerOptions } from "../../../../src/broker/options.ts";
import { visitRecords } from "../../../../src/broker/storage/log/records.ts";
import { BODY_OFFSET } from "../../../../src/frame/frame.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { RawClient } from "../../../support/raw-client.ts";
import { closeBroker } from "../../../support/stepped-clock.ts";
import format1 from "./format-1.json";

/** When the deferred messages of format-1.json are due, ms. */
export const FORMAT_1_DUE_MS = 1_795_813_056_000;

/** A data path that a test may open, damage and open again; all is gone after `await using`. */
export class DataPath implements AsyncDisposable {
  readonly log = new MemoryLogger();
  readonly path = temporaryFolder();
  readonly folder = join(this.path, "bunsq-data");
  broker: Broker | undefined;
  private clock: Clock | undefined;
  private readonly clients: RawClient[] = [];

  /** What release 7d4e2e0 left when it was killed: see earlier-release.test.ts. */
  static ofFormat1(): DataPath {
    const made = new DataPath();
    for (const [name, content] of Object.entries(format1)) {
      mkdirSync(dirname(join(made.folder, name)), { recursive: true });
      writeFileSync(join(made.folder, name), gunzipSync(Buffer.from(content, "base64")));
    }
    return made;
  }

  /** What is in another data path now, as a kill would leave it. */
  static copyOf(path: string): DataPath {
    const made = new DataPath();
    cpSync(path, made.path, { recursive: true });
    return made;
  }

  open(changes: Partial<BrokerOptions> = {}, environment: Environment = {}): Broker {
    this.broker = openBroker(defaultOptions({ dataPath: this.path, ...changes }), this.log, environment);
    this.clock = environment.clock;
    this.broker.listen();
    return this.broker;
  }

  async close(): Promise<void> {
    for (const client of this.clients.splice(0)) client.terminate();
    if (this.broker !== undefined) await closeBroker(this.broker, this.clock);
    this.broker = undefined;
  }

  async consumer(topic: string, channel: string, ready: number): Promise<RawClient> {
    const client = await RawClient.connect(this.broker?.tcpPort ?? 0);
    this.clients.push(client);
    await client.call(`SUB ${topic} ${channel}`);
    client.command(`RDY ${ready}`);
    return client;
  }

  /** As a power cut leaves it that takes the store's changes since its last checkpoint. */
  loseStoreTail(): void {
    for (const ending of ["-wal", "-shm"]) rmSync(join(this.folder, `catalogue.sqlite${ending}`), { force: true });
  }

  loseStore(): void {
    for (const name of readdirSync(this.folder)) if (name.startsWith("catalogue.sqlite")) rmSync(join(this.folder, name));
  }

  loseStoreAndBackup(): void {
    this.loseStore();
    rmSync(join(this.folder, "topics", "catalogue.copy"), { force: true });
  }

  topicFolder(name: string): string {
    const found = readdirSync(join(this.folder, "topics")).find((folder) => /^\d{5}-/.test(folder) && folder.slice(6) === name);
    if (found === undefined) throw new Error(`no folder of ${name}`);
    return join(this.folder, "topics", found);
  }

  exists(name: string): boolean {
    return existsSync(join(this.folder, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    removeFolder(this.path);
  }
}

/** The bodies in a topic's log. */
export function bodiesIn(broker: Broker, name: string): string[] {
  const log = broker.registry.topics.get(name)?.partitions[0].log;
  const bodies: string[] = [];
  if (log !== undefined) {
    visitRecords(log, log.startSequence, log.committedNext, ({ buffer, from, to }) => {
      bodies.push(buffer.toString("latin1", from + BODY_OFFSET, to));
      return false;
    });
  }
  return bodies;
}
