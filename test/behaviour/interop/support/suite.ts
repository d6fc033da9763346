import { afterAll, beforeAll, expect, test } from "bun:test";
import { TLS_FLAGS } from "../../../support/certs/certs.ts";
import { describeUnless, testUnless } from "../../../support/needs.ts";
import { findNsqd, type Program, type Server, startServer, until } from "../../../support/server.ts";
import type { Client } from "./clients.ts";
import { hashOfBodies, TRANSPORTS, type Transport } from "./transport.ts";

/**
 * Which broker the clients talk to. `BUNSQ_INTEROP_BROKER=nsqd` takes Go's, which proves that a client's program and
 * these expectations are right.
 */
const PROGRAM: Program = process.env.BUNSQ_INTEROP_BROKER === "nsqd" && findNsqd() !== undefined ? "nsqd" : "bunsq";
const MESSAGES = 100_000;
/** Messages over each of the further transports, where BUNSQ_INTEROP_MESSAGES does not say how many. */
const CARRIED = 100_000;
/** A client's clock starts when a message arrives; nsqd's started when it was put into its output buffer, up to 250 ms before. */
const EARLY_MS = PROGRAM === "nsqd" ? 275 : 25;
const REQUEUE_DELAY_MS = 700;
const MSG_TIMEOUT_MS = 1000;

/** What a client's program prints after `flood <count>`: how its messages 0 … count - 1 fared. */
interface FloodReport {
  published: number;
  received: number;
  missing: number;
  repeated: number;
  attemptsAboveOne: number;
}

/** What it prints after `care`: every delivery of a message that was requeued, touched or let time out. */
interface CareReport {
  requeue: { attempts: number[]; gapMs: number };
  touch: { attempts: number[] };
  timeout: { attempts: number[]; gapMs: number };
}

interface ChannelStats {
  depth: number;
  in_flight_count: number;
  deferred_count: number;
  message_count: number;
  requeue_count: number;
  timeout_count: number;
  client_count: number;
}

/**
 * Runs a client's program against a broker of its own, and compares its report with what the broker counted.
 *
 * @param prepared the client, or in words why it cannot run here: its tests are then skipped
 * @param carriedByDefault fewer for a client that takes longer than some seconds for all
 */
export function describeClient(name: string, prepared: Client | string, carriedByDefault = CARRIED): void {
  const carried = Number(process.env.BUNSQ_INTEROP_MESSAGES ?? carriedByDefault);
  const missing = typeof prepared === "string" ? prepared : undefined;
  describeUnless(missing)(name, () => {
    const client = prepared as Client;
    let server: Server;
    beforeAll(async () => {
      server = await startServer({ program: PROGRAM });
    }, 30_000);
    afterAll(async () => {
      await server?.stop();
    });

    test(`publishes and consumes ${MESSAGES} messages with acknowledgements, each exactly once`, async () => {
      const report = (await run(client, server, {}, "flood", "flood", String(MESSAGES))) as FloodReport;
      expect(report).toEqual({ published: MESSAGES, received: MESSAGES, missing: 0, repeated: 0, attemptsAboveOne: 0 });
      const channel = await channelAtRest(server, "flood");
      expect(channel).toMatchObject({ message_count: MESSAGES, requeue_count: 0, timeout_count: 0 });
    }, 90_000);

    test("requeues with a delay, touches, lets a message time out and closes", async () => {
      const report = (await run(client, server, {}, "care", "care", String(REQUEUE_DELAY_MS), String(MSG_TIMEOUT_MS))) as CareReport;
      expect(report.requeue.attempts).toEqual([1, 2]);
      // That it is not late is tested by a simulated clock, in test/broker/topics/channel/deferral.test.ts; a machine that stalls adds to it here.
      expect(report.requeue.gapMs).toBeGreaterThanOrEqual(REQUEUE_DELAY_MS - EARLY_MS);
      expect(report.touch.attempts).toEqual([1]);
      expect(report.timeout.attempts).toEqual([1, 2]);
      expect(report.timeout.gapMs).toBeGreaterThanOrEqual(MSG_TIMEOUT_MS - EARLY_MS);
      const channel = await channelAtRest(server, "care");
      expect(channel).toMatchObject({ message_count: 3, requeue_count: 1, timeout_count: 1 });
    }, 90_000);
  });

  describeUnless(missing).each(TRANSPORTS)(`${name} over $name`, ({ transport, flags }) => {
    test(`publishes and consumes ${carried} messages, and every body is itself`, async () => {
      await using server = await startServer({ program: PROGRAM, args: [...TLS_FLAGS, ...flags] });
      const report = await run(
        { ...(prepared as Client), env: { BUNSQ_TRANSPORT: JSON.stringify(transport) } },
        server,
        {},
        "carry",
        "carry",
        String(carried),
      );
      expect(report).toEqual({ received: carried, sha256: hashOfBodies(carried) });
      expect(layersOf(server.log())).toEqual(layersWanted(transport));
    }, 90_000);
  });
}

/** The layers that the broker has put on, once for each kind, in their order. */
function layersOf(log: string): string[] {
  return [...new Set([...log.matchAll(/upgrading connection to (TLS|snappy|deflate)/g)].map((match) => match[1] as string))];
}

function layersWanted({ ca, compression }: Transport): string[] {
  return [...(ca === undefined ? [] : ["TLS"]), ...(compression === undefined ? [] : [compression])];
}

/** What a flood needs beside a client. */
export interface Setting {
  /** The broker's flags, asked for when the tests begin. */
  args(): string[];
  /** The client's settings by its library's own names: `auth_secret` for go-nsq and pynsq, `authSecret` for nsqjs. */
  options: object;
  /** Looks at what the broker, with a topic's only channel at rest, has made of the flood. */
  check?(server: Server): void | Promise<void>;
}

/** Runs a client's flood against a broker of its own in some setting: TLS, compression, AUTH. */
export function describeFlood(name: string, prepared: Client | string, setting: Setting): void {
  const missing = typeof prepared === "string" ? prepared : undefined;
  testUnless(missing)(
    `${name} publishes and consumes ${MESSAGES} messages, each exactly once`,
    async () => {
      const server = await startServer({ program: PROGRAM, args: setting.args() });
      try {
        const report = (await run(prepared as Client, server, setting.options, "flood", "flood", String(MESSAGES))) as FloodReport;
        expect(report).toEqual({ published: MESSAGES, received: MESSAGES, missing: 0, repeated: 0, attemptsAboveOne: 0 });
        const channel = await channelAtRest(server, "flood");
        expect(channel).toMatchObject({ message_count: MESSAGES, requeue_count: 0, timeout_count: 0 });
        await setting.check?.(server);
      } finally {
        await server.stop();
      }
    },
    90_000,
  );
}

/** Runs the program to its end and returns what it printed. Its failure is the test's, with what it said. */
async function run(client: Client, server: Server, options: object, topic: string, ...act: string[]): Promise<unknown> {
  const child = Bun.spawn([...client.command, `127.0.0.1:${server.tcpPort}`, topic, ...act], {
    env: { ...process.env, ...client.env, CLIENT_OPTIONS: JSON.stringify(options) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const hurry = setTimeout(() => child.kill(), 80_000);
  const [code, output, errors] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  clearTimeout(hurry);
  if (code !== 0) throw new Error(`${client.name} ${act.join(" ")} ended with ${code ?? child.signalCode}:\n${output}${errors}`);
  return JSON.parse(output);
}

/** The topic's only channel, once its consumer has left and nothing is left in it. */
async function channelAtRest(server: Server, topic: string): Promise<ChannelStats> {
  let channel: ChannelStats | undefined;
  await until(`${topic} is drained and left`, async () => {
    const stats = (await (await server.http("GET", `/stats?format=json&topic=${topic}`)).json()) as {
      topics: { channels: ChannelStats[] }[];
    };
    channel = stats.topics[0]?.channels[0];
    return (
      channel !== undefined &&
      channel.client_count === 0 &&
      channel.depth === 0 &&
      channel.in_flight_count === 0 &&
      channel.deferred_count === 0
    );
  });
  return channel as ChannelStats;
}
