import { HttpConnection } from "../../support/http-publisher.ts";
import { RawClient } from "../../support/raw-client.ts";
import type { Server } from "../../support/server.ts";

/** What the neighbour may notice of the storm beside it, in ms, on a machine that does both. */
const WORST_LATENCY_MS = 2_000;
const P99_LATENCY_MS = 400;

export const NEIGHBOUR_TOPICS = ["neighbour.tcp", "neighbour.http"];

/** Well-behaved clients: one message after the other over TCP and over HTTP, each checked for its order and its time. */
export class Neighbour {
  failure: Error | undefined;
  /** From the publish call to the message's arrival. */
  readonly latenciesMs: number[] = [];
  private readonly stopped = Promise.withResolvers<void>();
  private isStopping = false;
  private readonly consumers: RawClient[] = [];

  private constructor(
    private readonly publisher: RawClient,
    private readonly http: HttpConnection,
  ) {}

  static async start(server: Server): Promise<Neighbour> {
    const neighbour = new Neighbour(await RawClient.connect(server.tcpPort), await HttpConnection.connect(server.httpPort));
    const [overTcp, overHttp] = NEIGHBOUR_TOPICS as [string, string];
    const tcpArrivals = await neighbour.consume(server.tcpPort, overTcp);
    const httpArrivals = await neighbour.consume(server.tcpPort, overHttp);
    const loops = [
      neighbour.loop(tcpArrivals, async (body) => {
        const answer = await neighbour.publisher.call(`PUB ${overTcp}`, body);
        if (answer !== "OK") throw new Error(`PUB was answered with ${answer}`);
      }),
      neighbour.loop(httpArrivals, async (body) => {
        const status = await neighbour.http.post(`/pub?topic=${overHttp}`, body);
        if (status !== 200) throw new Error(`POST /pub was answered with ${status}`);
      }),
    ];
    void Promise.all(loops).then(() => neighbour.stopped.resolve());
    return neighbour;
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.stopped.promise;
    for (const consumer of this.consumers) consumer.close();
    this.publisher.close();
    this.http.close();
  }

  /** @throws what the neighbour noticed */
  check(): void {
    if (this.failure) throw this.failure;
    if (this.latenciesMs.length < 100) throw new Error(`the neighbour got only ${this.latenciesMs.length} messages through`);
    const sorted = [...this.latenciesMs].sort((a, b) => a - b);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] as number;
    const worst = sorted.at(-1) as number;
    if (worst > WORST_LATENCY_MS || p99 > P99_LATENCY_MS) {
      throw new Error(`the neighbour waited: 99 of 100 messages came within ${p99.toFixed(0)} ms, the worst after ${worst.toFixed(0)} ms`);
    }
  }

  summary(): string {
    const sorted = [...this.latenciesMs].sort((a, b) => a - b);
    const at = (share: number) => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1);
    return `neighbour: ${sorted.length} messages, latency median ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms`;
  }

  private async consume(port: number, topic: string): Promise<RawClient> {
    const client = await RawClient.connect(port);
    // Without it nsqd keeps a message for up to 250 ms, to send more at once.
    await client.call("IDENTIFY", JSON.stringify({ output_buffer_size: -1, output_buffer_timeout: -1 }));
    await client.call(`SUB ${topic} reader`);
    client.command("RDY 10");
    this.consumers.push(client);
    return client;
  }

  private async loop(arrivals: RawClient, publish: (body: string) => Promise<void>): Promise<void> {
    try {
      for (let number = 0; !this.isStopping; number++) {
        const body = `message ${number}`;
        const startMs = performance.now();
        const [message] = await Promise.all([arrivals.message(10_000), publish(body)]);
        this.latenciesMs.push(performance.now() - startMs);
        if (message.text !== body || message.attempts !== 1) {
          throw new Error(`expected "${body}", got "${message.text}" with attempts ${message.attempts}`);
        }
        arrivals.command(`FIN ${message.id}`);
        await Bun.sleep(2);
      }
    } catch (error) {
      this.failure ??= new Error(`the neighbour noticed: ${(error as Error).message}`);
    }
  }
}
