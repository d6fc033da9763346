import type { Delta, StreamEvent } from "../../../src/admin/console-api.ts";
import type { AdminOptions } from "../../../src/admin/options.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { certificate, clientTls } from "../../support/certs/certs.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { applyDelta } from "../stream/apply-delta.ts";

/** Options of a console that serves HTTPS too, on a port that the system chooses. */
export const WITH_HTTPS = {
  httpsAddress: "127.0.0.1:0",
  tlsCert: certificate("server.pem"),
  tlsKey: certificate("server.key"),
} as const satisfies Partial<AdminOptions>;

/** For fetch() over HTTPS. */
export const TRUSTING = { tls: clientTls() };

type View = Record<string, unknown>;

/** A console in this process, on a port that the system chooses, which polls often. */
export class Console implements AsyncDisposable {
  readonly logger = new MemoryLogger();
  readonly server: AdminServer;

  constructor(options: Partial<AdminOptions>) {
    const defaults = parseFlags(adminFlags(), []).options;
    this.server = startAdmin({ ...defaults, httpAddress: "127.0.0.1:0", pollIntervalMs: 50, ...options }, this.logger);
  }

  get origin(): string {
    return `http://127.0.0.1:${this.server.httpPort}`;
  }

  /** With WITH_HTTPS. */
  get secureOrigin(): string {
    return `https://127.0.0.1:${this.server.httpsPort}`;
  }

  async read<Answer>(view: string): Promise<Answer> {
    const response = await fetch(`${this.origin}/api/v1${view}`);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  }

  /** Waits until a view is there, and as it should be. */
  async until<Answer>(what: string, view: string, condition: (answer: Answer) => boolean): Promise<Answer> {
    let answer: Answer | undefined;
    await until(what, async () => {
      const response = await fetch(`${this.origin}/api/v1${view}`);
      answer = response.ok ? ((await response.json()) as Answer) : undefined;
      return answer !== undefined && condition(answer);
    });
    return answer!;
  }

  stream(...views: string[]): Promise<PageStream> {
    return PageStream.open(`${this.origin}/api/v1/stream?${views.map((view) => `view=${encodeURIComponent(view)}`).join("&")}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop();
  }
}

/** A stream as the page uses it: each view as it is after all events so far. */
export class PageStream {
  readonly views = new Map<string, View>();
  readonly events: StreamEvent["event"][] = [];
  isEnded = false;

  private constructor(private readonly aborter: AbortController) {}

  static async open(url: string): Promise<PageStream> {
    const aborter = new AbortController();
    const stream = new PageStream(aborter);
    const response = await fetch(url, { signal: aborter.signal, ...TRUSTING });
    void stream.read(response.body!).catch(() => {
      stream.isEnded = true;
    });
    return stream;
  }

  close(): void {
    this.aborter.abort();
  }

  private async read(body: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    const decoder = new TextDecoder();
    for await (const piece of body) {
      text += decoder.decode(piece, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        this.take(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
    this.isEnded = true;
  }

  private take(event: string): void {
    const [, name, json] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? [];
    if (name === undefined || json === undefined) return;
    const { view, data } = JSON.parse(json) as { view: string; data: unknown };
    this.events.push(name as StreamEvent["event"]);
    if (name === "full") this.views.set(view, data as View);
    else if (name === "delta") this.views.set(view, applyDelta(this.views.get(view)!, data as Delta));
    else if (name === "error") this.views.delete(view);
  }
}
