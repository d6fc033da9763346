import { afterEach, expect } from "bun:test";
import { ByteSocket } from "../behaviour/differential/support/byte-socket.ts";
import { startLookupServer } from "../support/lookup.ts";
import { channelName, ending, mutated, shuffled, sizeWord, split, topicName } from "../support/mutation.ts";
import { testUnless } from "../support/needs.ts";
import { inMib, MIB, memoryBytes } from "../support/process-watch.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { type Running, until } from "../support/server.ts";
import { identityOf, LookupClient } from "./support/lookup-client.ts";

// BUNSQ_SEED=… replays a run. With BUNSQ_FUZZ_ONLY=17 only this stream of it is run, and printed.
const STREAMS = Number(process.env.BUNSQ_FUZZ_LOOKUP ?? 5_000);
const ONLY = process.env.BUNSQ_FUZZ_ONLY;
const LANES = 32;
/** The idle server has 30 MiB, and the whole registry here is a few thousand names. */
const RSS_LIMIT_BYTES = 250 * MIB;
const NEIGHBOUR = "neighbour.topic";

let server: Running | undefined;
afterEach(async () => {
  await server?.stop("SIGKILL");
  server = undefined;
});

function identify(random: Random): Buffer {
  const odd = () => random.pick([undefined, null, 0, -1, 1.5, 1e300, "", "7", [], {}, true, "x".repeat(5_000)]);
  const identity: Record<string, unknown> = { ...identityOf(`broker${random.int(0, 9)}`) };
  if (random.chance(0.15)) identity[random.pick(Object.keys(identity))] = odd();
  if (random.chance(0.1)) identity[random.pick(["TCP_PORT", "remote_address", "__proto__", "toString", ""])] = odd();
  let text = JSON.stringify(identity);
  if (random.chance(0.05))
    text = random.pick(["", "{", "null", "[]", "7", "[".repeat(30_000), '{"tcp_port":99999999999999999999}', "\0", "x".repeat(70_000)]);
  const body = Buffer.from(text);
  return Buffer.concat([Buffer.from("IDENTIFY\n"), sizeWord(random, body.length), body]);
}

function command(random: Random): Buffer {
  const word = random.pick(["REGISTER", "REGISTER", "REGISTER", "UNREGISTER", "PING"]);
  const names = random.pick([
    [],
    [topicName(random)],
    [topicName(random), channelName(random)],
    [topicName(random), channelName(random), "more"],
  ]);
  if (random.chance(0.03))
    return random.pick([
      Buffer.from("\n"),
      Buffer.from("NOP\n"),
      Buffer.alloc(random.int(1, 40_000), "X"),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    ]);
  const line = [random.chance(0.01) ? word.toLowerCase() : word, ...(word === "PING" ? [] : names)].join(random.chance(0.02) ? "  " : " ");
  return Buffer.from(line + random.pick(["\n", "\n", "\n", "\r\n", " \n"]), "latin1");
}

/** The bytes that one connection sends, in pieces, and how it ends. */
function streamOf(seed: number, index: number) {
  const random = Random.forPart(seed, index);
  let pieces: Buffer[] = [Buffer.from(random.chance(0.98) ? "  V1" : random.pick(["  V2", "V1", "\0\0\0\0"]))];
  if (random.chance(0.95)) pieces.push(identify(random));
  for (let count = random.int(0, 40); count > 0; count--) pieces.push(command(random));
  if (random.chance(0.05)) pieces.push(identify(random));
  if (random.chance(0.2)) pieces = shuffled(random, pieces);
  let bytes: Buffer = Buffer.concat(pieces);
  for (let changes = random.chance(0.5) ? random.int(1, 4) : 0; changes > 0; changes--) bytes = mutated(random, bytes);
  return { chunks: split(random, bytes), ending: ending(random) };
}

/** Sends a stream and checks the answers. @returns what is wrong with them; undefined if nothing is */
async function play(port: number, seed: number, index: number): Promise<string | undefined> {
  const { chunks, ending } = streamOf(seed, index);
  const socket = await ByteSocket.connect(port);
  for (const chunk of chunks) {
    if (socket.ended) break;
    socket.write(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (ending === "half-close") {
    socket.halfClose();
    await socket.untilEnd(10_000);
    if (!socket.ended) return "the connection was not closed";
  } else if (ending === "linger") {
    await socket.until((bytes) => bytes.length > 6, 20);
  }
  const bytes = socket.received();
  socket.destroy();
  return flaw(bytes, ending === "half-close" && !socket.broken);
}

/** Checks that each answer is OK, an identity or an error, and that nothing follows an error. */
function flaw(bytes: Buffer, whole: boolean): string | undefined {
  let failed = false;
  let at = 0;
  while (at + 4 <= bytes.length) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    const answer = bytes.toString("latin1", at + 4, end);
    if (failed) return `an answer after an error: ${answer.slice(0, 100)}`;
    failed = answer.startsWith("E_");
    if (!failed && answer !== "OK" && !/^\{"broadcast_address":"[^"]+",.*\}$/.test(answer)) return `no answer: ${answer.slice(0, 100)}`;
    at = end;
  }
  return whole && at !== bytes.length ? `${bytes.length - at} bytes that are no answer` : undefined;
}

testUnless(ONLY === undefined ? undefined : "BUNSQ_FUZZ_ONLY is set")(
  `${STREAMS} broken streams neither kill, hang, leak nor bloat the lookup server, and a broker beside them notices nothing`,
  async () => {
    const seed = seedFromEnvironment();
    console.log(`BUNSQ_SEED=${seed}`);
    const lookup = await startLookupServer();
    server = lookup;
    const neighbour = await LookupClient.connect(lookup.tcpPort);
    await neighbour.identify(identityOf("neighbour"));
    expect(await neighbour.call(`REGISTER ${NEIGHBOUR} channel`)).toBe("OK");
    const told = async () => {
      const answer = await (await lookup.http("GET", `/lookup?topic=${NEIGHBOUR}`)).json();
      return (answer as { producers: { broadcast_address: string }[] }).producers.map((producer) => producer.broadcast_address).join();
    };
    let next = 0;
    let rounds = 0;
    const lane = async () => {
      for (let index = next++; index < STREAMS; index = next++) {
        const wrong = await play(lookup.tcpPort, seed, index).catch((error: Error) => error.message);
        if (wrong !== undefined) throw new Error(`BUNSQ_SEED=${seed} BUNSQ_FUZZ_ONLY=${index}: ${wrong}\n${lookup.log().slice(-2_000)}`);
      }
    };
    const lanes = Promise.all(Array.from({ length: LANES }, lane));
    while (next < STREAMS && lookup.process.exitCode === null) {
      // Other brokers that registered the neighbour's topic may be listed or not. The neighbour must always be.
      expect((await told()).split(",")).toContain("neighbour");
      expect(await neighbour.call("PING")).toBe("OK");
      rounds++;
    }
    await lanes;
    await until("nobody but the neighbour is registered", async () => {
      const debug = (await (await lookup.http("GET", "/debug")).json()) as Record<string, unknown[]>;
      return Object.values(debug).every((producers) => producers.length === 1) && debug["client::"]?.length === 1;
    });
    expect(await told()).toBe("neighbour");
    expect(rounds).toBeGreaterThan(10);
    const peakBytes = memoryBytes(lookup.process.pid, "VmHWM");
    console.log(`${STREAMS} streams, ${rounds} rounds of the neighbour, RSS at most ${inMib(peakBytes)}`);
    expect(peakBytes).toBeLessThan(RSS_LIMIT_BYTES);
    expect(await lookup.stop()).toBe(0);
    expect(lookup.log()).not.toMatch(/ FATAL: |error in HTTP handler/);
  },
  120_000,
);

testUnless(ONLY === undefined ? "BUNSQ_FUZZ_ONLY is not set" : undefined)(`stream ${ONLY} does not harm the lookup server`, async () => {
  const seed = seedFromEnvironment();
  server = await startLookupServer("bunsq", ["-log-level=debug"]);
  const { chunks, ending } = streamOf(seed, Number(ONLY));
  console.log(`(${ending})`);
  for (const chunk of chunks) console.log(`  ${JSON.stringify(chunk.toString("latin1")).slice(0, 2_000)}`);
  expect(await play(server.tcpPort, seed, Number(ONLY))).toBeUndefined();
  console.log(server.log());
});
