import { cpuSeconds } from "../../../bench/support/process-usage.ts";
import { HttpConnection } from "../../support/http-publisher.ts";
import { RawClient } from "../../support/raw-client.ts";
import type { Server } from "../../support/server.ts";

/**
 * What the neighbour may notice of the storm beside it, in what is done while one of its messages is under way. A machine that stalls
 * adds to neither: the broker's CPU time, in ms, shows a stream that blocks the broker, and the number of streams that end, of some
 * 3,000 in a second, that others are served first.
 */
const CPU_MS: Limits = { p99: 400, worst: 2_000 };
const STREAMS: Limits = { p99: 600, worst: 3_000 };

/** No message that is still under way then comes at all. */
const LONGEST_MS = 60_000;

export const NEIGHBOUR_TOPICS = ["neighbour.tcp", "neighbour.http"];

interface Limits {
  p99: number;
  worst: number;
}

function isWithin(values: readonly number[], { p99, worst }: Limits): boolean {
  return percentile(values, 0.99) <= p99 && percentile(values, 1) <= worst;
}

function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? 0;
}

/** Well-behaved clients: one message after the other over TCP and over HTTP, each checked for its order and its time. */
export class Neighbour {
  failure: Error | undefined;
  /** From the publish call to the message's arrival. */
  readonly latenciesMs: number[] = [];
  /** What the broker did meanwhile: its CPU time, ms, and how many streams of the storm ended. */
  readonly cpusMs: number[] = [];
  readonly streamsEnded: number[] = [];
  private readonly stopped = Promise.withResolvers<void>();
  private isStopping = false;
  private readonly consumers: RawClient[] = [];

  private constructor(
    private readonly publisher: RawClient,
    private readonly http: HttpConnection,
    private readonly pid: number,
    private readonly streams: () => number,
  ) {}

  /** @param streams how many streams of the storm have ended */
  static async start(server: Server, streams: () => number): Promise<Neighbour> {
    const publisher = await RawClient.connect(server.tcpPort);
    const neighbour = new Neighbour(publisher, await HttpConnection.connect(server.httpPort), server.process.pid, streams);
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
    if (!isWithin(this.cpusMs, CPU_MS) || !isWithin(this.streamsEnded, STREAMS)) throw new Error(`the neighbour waited: ${this.summary()}`);
  }

  summary(): string {
    const show = (values: readonly number[]) => [0.5, 0.99, 1].map((share) => percentile(values, share).toFixed(0)).join(", ");
    return (
      `neighbour: ${this.latenciesMs.length} messages, median, p99 and worst: latency ${show(this.latenciesMs)} ms, ` +
      `the broker's CPU ${show(this.cpusMs)} ms, streams ended ${show(this.streamsEnded)}`
    );
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
        const cpuBefore = cpuSeconds(this.pid);
        const streamsBefore = this.streams();
        const [message] = await Promise.all([arrivals.message(LONGEST_MS), publish(body)]);
        this.latenciesMs.push(performance.now() - startMs);
        this.cpusMs.push((cpuSeconds(this.pid) - cpuBefore) * 1000);
        this.streamsEnded.push(this.streams() - streamsBefore);
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
