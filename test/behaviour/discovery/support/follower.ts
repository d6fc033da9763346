import { type Client, prepareGoNsq, prepareNsqjs, preparePynsq } from "../../interop/support/clients.ts";

/** A consumer that finds its brokers through lookups: a client library in its own process. */
export class Follower {
  /** The bodies that it got, each once. */
  readonly received = new Set<string>();
  /** The bodies that it got more than once. */
  readonly repeated = new Set<string>();
  /** Its other output. */
  complaints = "";
  private readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;

  /**
   * Starts a client's program as `follow <channel>`: it asks the lookups each second, and prints the body of each message on
   * a line.
   *
   * @param lookups `host:port` of their HTTP sides
   * @param prefix a command that runs it elsewhere
   */
  constructor(
    readonly client: Client,
    lookups: string[],
    topic: string,
    readonly channel: string,
    prefix: string[] = [],
  ) {
    this.child = Bun.spawn([...prefix, ...client.command, lookups.join(","), topic, "follow", channel], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    void this.listen();
    void this.listenAside();
  }

  stop(): Promise<number> {
    this.child.kill("SIGKILL");
    return this.child.exited;
  }

  private async listen(): Promise<void> {
    for await (const line of lines(this.child.stdout)) {
      if (this.received.has(line)) this.repeated.add(line);
      this.received.add(line);
    }
  }

  private async listenAside(): Promise<void> {
    for await (const line of lines(this.child.stderr)) this.complaints = `${this.complaints}${line}\n`.slice(-10_000);
  }
}

type ClientName = "nsqjs" | "go-nsq" | "pynsq";

/** Each client, or in words why it cannot run here. */
export function prepareClients(...wanted: ClientName[]): Promise<{ name: ClientName; prepared: Client | string }[]> {
  const prepare = { nsqjs: prepareNsqjs, "go-nsq": prepareGoNsq, pynsq: preparePynsq };
  return Promise.all(wanted.map(async (name) => ({ name, prepared: await prepare[name]() })));
}

/** The clients that can run here. */
export async function availableClients(...wanted: ClientName[]): Promise<Client[]> {
  const clients = await prepareClients(...wanted);
  return clients.flatMap(({ prepared }) => (typeof prepared === "string" ? [] : [prepared]));
}

/** The lines of a stream as they come. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() as string;
    yield* parts;
  }
}
