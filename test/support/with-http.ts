import { expect } from "bun:test";
import type { Environment } from "../../src/broker/broker.ts";
import { startHttp } from "../../src/broker/http/server.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { HttpLimits } from "../../src/http/server/load.ts";
import type { HttpServer } from "../../src/http/server/server.ts";
import { ByteSocket } from "../behaviour/differential/support/byte-socket.ts";
import { InProcess, messages } from "./in-process.ts";

const ADDRESS = { httpAddress: "127.0.0.1:0" };
const STOP_TIMEOUT_MS = 1000;

/** A broker in this process with its HTTP side, calls to it, and raw connections; all gone after `await using`. */
export class WithHttp implements AsyncDisposable {
  private readonly sockets: ByteSocket[] = [];

  private constructor(
    readonly started: InProcess,
    public http: HttpServer,
  ) {}

  static start(changes: Partial<BrokerOptions> = {}, limits: Partial<HttpLimits> = {}, environment: Environment = {}): WithHttp {
    const started = InProcess.start({ ...ADDRESS, ...changes }, environment);
    return new WithHttp(started, startHttp(started.broker, { stopTimeoutMs: STOP_TIMEOUT_MS, ...limits }));
  }

  get broker() {
    return this.started.broker;
  }

  get log() {
    return this.started.log;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.http.port}`;
  }

  /** A clean end and a new start on the same data path. @param between what is done to it while the broker is down */
  async restart(changes?: Partial<BrokerOptions>, between = () => {}): Promise<void> {
    await this.http.stop();
    await this.started.close();
    between();
    await this.started.restart(changes === undefined ? undefined : { ...ADDRESS, ...changes });
    this.http = startHttp(this.started.broker, { stopTimeoutMs: STOP_TIMEOUT_MS });
  }

  fetch(method: string, target: string, body?: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>): Promise<Response> {
    const init: RequestInit = { method };
    if (body !== undefined) init.body = body;
    if (headers !== undefined) init.headers = headers;
    return fetch(`${this.origin}${target}`, init);
  }

  /** `status body` of one call. */
  async call(method: string, target: string, body?: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>): Promise<string> {
    const response = await this.fetch(method, target, body, headers);
    return `${response.status} ${await response.text()}`.trimEnd();
  }

  /** The answer's JSON; throws what it was when it was no success. */
  // biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
  async json(method: string, target: string, body?: string): Promise<any> {
    const response = await this.fetch(method, target, body);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.json();
  }

  /** A connection that shows bytes. */
  async socket(): Promise<ByteSocket> {
    const socket = await ByteSocket.connect(this.http.port);
    this.sockets.push(socket);
    return socket;
  }

  /** What was written to other connections before is read when this resolves: the kernel had it earlier. */
  async settle(): Promise<void> {
    expect(await this.call("GET", "/ping")).toBe("200 OK");
  }

  /** Has /ping say that writes fail, until the next call. The broker's timer would forget it, since it finds that the disk takes them. */
  setWriteFailure(error: Error | undefined): void {
    Object.defineProperty(this.broker.health, "log", { configurable: true, get: () => error, set: () => {} });
  }

  depth(topic: string): number | undefined {
    return this.broker.registry.topics.get(topic)?.depth;
  }

  /** The bodies of all that was published to a topic, in order. */
  async bodies(topic: string, count: number): Promise<string[]> {
    const consumer = await this.started.consumer(topic, "all", 2000);
    return (await messages(consumer, count)).map(({ text }) => text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await this.http.stop();
    await this.started[Symbol.asyncDispose]();
  }
}
