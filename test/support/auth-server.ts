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

/** An address at which nobody listens. */
export function deadAddress(): string {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const address = `127.0.0.1:${listener.port}`;
  listener.stop(true);
  return address;
}
