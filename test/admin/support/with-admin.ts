import type { AdminOptions } from "../../../src/admin/options.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { WithHttp } from "../../support/with-http.ts";

/** Brokers and a console over them in this process; all gone after `await using`. */
export class WithAdmin implements AsyncDisposable {
  private constructor(
    readonly brokers: readonly WithHttp[],
    /** The brokers' addresses, and those of other servers that the console was given. */
    readonly addresses: readonly string[],
    readonly admin: AdminServer,
    readonly log: MemoryLogger,
  ) {}

  /** @param others addresses of further brokers */
  static start(changes: Partial<AdminOptions> = {}, others: readonly string[] = [], count = 2): WithAdmin {
    const brokers = Array.from({ length: count }, () => WithHttp.start({ broadcastAddress: "127.0.0.1" }));
    const addresses = [...brokers.map(({ http }) => `127.0.0.1:${http.port}`), ...others];
    const { options } = parseFlags(adminFlags(), []);
    const log = new MemoryLogger();
    const admin = startAdmin({ ...options, httpAddress: "127.0.0.1:0", nsqdHttpAddresses: [...addresses], ...changes }, log);
    return new WithAdmin(brokers, addresses, admin, log);
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.admin.httpPort}/api/v1${path}`;
  }

  // biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
  async get(path: string): Promise<any> {
    const response = await fetch(this.url(path));
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.json();
  }

  // biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
  async post(path: string, body: object): Promise<any> {
    const response = await this.send(path, body);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.json();
  }

  send(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const init = { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
    return fetch(this.url(path), init);
  }

  /** `status CODE` of a call that is refused. */
  async refusal(answer: Promise<Response>): Promise<string> {
    const response = await answer;
    const { message } = (await response.json()) as { message?: string };
    return `${response.status} ${message}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.admin.stop();
    for (const broker of this.brokers) await broker[Symbol.asyncDispose]();
  }
}
