import { startHttp } from "../../../src/broker/http/server.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import type { HttpServer } from "../../../src/http/server.ts";
import { InProcess } from "../../support/in-process.ts";

/** A broker in this process with its HTTP side. */
export class WithHttp implements AsyncDisposable {
  private constructor(
    readonly started: InProcess,
    private http: HttpServer,
  ) {}

  static start(changes: Partial<BrokerOptions> = {}): WithHttp {
    const started = InProcess.start({ httpAddress: "127.0.0.1:0", ...changes });
    return new WithHttp(started, startHttp(started.broker, { stopTimeoutMs: 1000 }));
  }

  get broker() {
    return this.started.broker;
  }

  /** A clean end and a new start on the same data path. @param between what is done to it while the broker is down */
  async restart(changes?: Partial<BrokerOptions>, between = () => {}): Promise<void> {
    await this.http.stop();
    await this.broker.close();
    between();
    await this.started.restart(changes === undefined ? undefined : { httpAddress: "127.0.0.1:0", ...changes });
    this.http = startHttp(this.started.broker, { stopTimeoutMs: 1000 });
  }

  fetch(method: string, target: string, body?: string, headers?: Record<string, string>): Promise<Response> {
    const init: RequestInit = { method };
    if (body !== undefined) init.body = body;
    if (headers !== undefined) init.headers = headers;
    return fetch(`http://127.0.0.1:${this.http.port}${target}`, init);
  }

  /** `status body` of one call. */
  async call(method: string, target: string, body?: string, headers?: Record<string, string>): Promise<string> {
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.http.stop();
    await this.started[Symbol.asyncDispose]();
  }
}

export function numbers(count: number, first = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${first + i}`);
}
