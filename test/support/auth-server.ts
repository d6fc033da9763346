/** What an auth server was asked. */
export interface Question {
  method: string;
  path: string;
  /** The fields of the query, or of a JSON body. */
  fields: Record<string, string>;
}

/** A line of permissions, as an auth server states it. */
export interface Authorization {
  topic: string;
  channels: string[];
  permissions: string[];
}

/** Everything, to whoever asks. */
export const ALL: Authorization = { topic: ".*", channels: [".*"], permissions: ["publish", "subscribe"] };

/** Permissions as a 200. */
export function granted(authorizations: Authorization[] = [ALL], changes: object = {}): Response {
  return Response.json({ ttl: 60, identity: "tester", identity_url: "http://example.com/tester", authorizations, ...changes });
}

/** A server that knows what clients may do, on a port of its own; it answers as told, and remembers what it was asked. */
export class AuthServer implements AsyncDisposable {
  readonly questions: Question[] = [];
  private readonly server: Bun.Server<undefined>;

  /** @param tls given: it is asked over HTTPS */
  constructor(
    public answer: (question: Question, request: Request) => Response | Promise<Response> = () => granted(),
    tls?: Bun.TLSOptions,
  ) {
    this.server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      development: false,
      ...(tls === undefined ? {} : { tls }),
      fetch: async (request) => {
        const url = new URL(request.url);
        const fields: Record<string, string> = Object.fromEntries(url.searchParams);
        if (request.method === "POST") {
          for (const [name, values] of Object.entries((await request.json()) as Record<string, string[]>)) fields[name] = values[0] ?? "";
        }
        const question = { method: request.method, path: url.pathname, fields };
        this.questions.push(question);
        return this.answer(question, request);
      },
    });
  }

  /** `host:port` */
  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop(true);
  }
}

/** Below the ports that kernels give to those who ask for any, also to outgoing connections: none of these gets it before a test does. */
const [FIRST_PORT, LAST_PORT] = [10_000, 32_000];

/** An address at which nobody listens. */
export function deadAddress(): string {
  for (let tries = 0; tries < 100; tries++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
      return `127.0.0.1:${port}`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
  throw new Error("no port is free");
}
