import { expect } from "bun:test";
import { missing, testUnless } from "../../support/needs.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { ByteSocket } from "./support/byte-socket.ts";

// Publishes in chunks, many of them broken, on both brokers. What bunsq publishes it answers 200, and it publishes nothing else than
// nsqd does with the same bytes: no other reading of chunks can smuggle a message in.

const STREAMS = 400;
const seed = seedFromEnvironment();
const BREAKS = ["\r", "\n", "0", "", "\0", "\r\n", ";", " ", "-", "x", "POST / HTTP/1.1\r\n"];

function chunkedBody(random: Random): { text: string; isBroken: boolean } {
  let text = "";
  for (let chunks = random.int(0, 3); chunks > 0; chunks--) {
    const data = random.pick(["a", "hello", "x\r\n0\r\n\r\n", "line\nline\n", "0".repeat(300)]);
    const size = random.pick([data.length.toString(16), data.length.toString(16).toUpperCase(), `00${data.length.toString(16)}`]);
    text += `${size}${random.pick(["", "", "", ";e=1", ' ;e="q"', " "])}\r\n${data}\r\n`;
  }
  text += `0${random.pick(["", "", ";last"])}\r\n`;
  for (let fields = random.pick([0, 0, 1, 3]); fields > 0; fields--)
    text += random.pick(["X-Sum: 1\r\n", "y:\r\n", "Content-Length: 3\r\n"]);
  text += "\r\n";
  const broken = random.pick([0, 0, 1, 2]);
  for (let breaks = broken; breaks > 0; breaks--) {
    const at = random.int(0, text.length - 1);
    text = text.slice(0, at) + random.pick(BREAKS) + text.slice(at + random.int(0, 1));
  }
  return { text, isBroken: broken > 0 };
}

/** The status of the first answer (0: none), and the messages and bytes that were published. */
async function outcome(
  server: Server,
  topic: string,
  call: string,
  pieces: string[],
): Promise<[status: number, messages: number, bytes: number]> {
  const socket = await ByteSocket.connect(server.httpPort);
  socket.write(`POST ${call.replace("TOPIC", topic)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`);
  for (const piece of pieces) {
    socket.write(Buffer.from(piece, "latin1"));
    await new Promise(setImmediate);
  }
  await socket.until((bytes) => bytes.includes("\r\n\r\n"), 150);
  socket.halfClose();
  const answer = (await socket.untilEnd()).toString("latin1");
  const stats = (await (await server.http("GET", `/stats?format=json&topic=${topic}`)).json()) as {
    topics: { message_count: number; message_bytes: number }[] | null;
  };
  const found = stats.topics?.[0];
  return [Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0), found?.message_count ?? 0, found?.message_bytes ?? 0];
}

testUnless(missing("nsqd"))(
  `broken chunks publish nothing that nsqd does not publish, and nothing that is refused (BUNSQ_SEED=${seed})`,
  async () => {
    await using go = await startServer({ program: "nsqd" });
    await using ours = await startServer({ program: "bunsq" });
    let both = 0;
    for (let i = 0; i < STREAMS; i++) {
      const random = Random.forPart(seed, i);
      const call = random.pick(["/pub?topic=TOPIC", "/mpub?topic=TOPIC"]);
      const { text, isBroken } = chunkedBody(random);
      const pieces: string[] = [];
      for (let at = 0; at < text.length; ) {
        const size = random.chance(0.5) ? text.length : random.int(1, 20);
        pieces.push(text.slice(at, at + size));
        at += size;
      }
      const topic = `t${i}`;
      const [theirs, mine] = await Promise.all([outcome(go, topic, call, pieces), outcome(ours, topic, call, pieces)]);
      const what = `stream ${i} ${call} ${JSON.stringify(pieces)}: nsqd ${theirs}, bunsq ${mine}`;
      const [status, messages] = mine;
      if (messages > 0 && status !== 200) throw new Error(`not answered as it was published: ${what}`);
      if (status === 200 && Bun.deepEquals(mine, theirs)) both++;
      else if (status === 200) throw new Error(`published otherwise: ${what}`);
      else if (!isBroken && theirs[0] === 200) throw new Error(`refused: ${what}`);
    }
    expect(both).toBeGreaterThan(STREAMS / 8);
  },
  120_000,
);
