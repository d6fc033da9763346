import {
  body,
  bodyBytes,
  channelName,
  ending,
  type FuzzStream,
  mutated,
  numberText,
  randomBytes,
  shuffled,
  sizeWord,
  split,
  topicName,
} from "../../support/mutation.ts";
import { Random } from "../../support/random.ts";
import { line, sized } from "./command-line.ts";
import { youzanAnything, youzanCommands } from "./youzan-commands.ts";

/** Stream `index` of the run with this seed: commands that make sense, and then what a careless hand made of them. */
export function tcpStream(seed: number, index: number): FuzzStream {
  const random = Random.forPart(seed, index);
  const pieces = commands(random);
  const isReadable = !pieces.some((piece) => /(tls_v1|snappy|deflate)"?: ?true/.test(piece.toString("latin1")));
  pieces.unshift(magic(random));
  const ordered = random.chance(0.15) ? shuffled(random, pieces) : pieces;
  let bytes = Buffer.concat(ordered);
  if (random.chance(0.6)) for (let count = random.int(1, 4); count > 0; count--) bytes = Buffer.from(mutated(random, bytes));
  return { chunks: split(random, bytes), ending: ending(random), answersMessages: random.chance(0.5), isReadable, hasRawIds: true };
}

function magic(random: Random): Buffer {
  if (random.chance(0.97)) return Buffer.from("  V2");
  return random.chance(0.5)
    ? Buffer.from(random.pick(["  V1", "  V3", "  v2", "V2  ", "  V", "", "GET ", "\x16\x03\x01\x02"]))
    : randomBytes(random, 4);
}

function commands(random: Random): Buffer[] {
  const dice = random.next();
  const pieces: Buffer[] = [];
  if (dice < 0.03) return [randomBytes(random, random.int(0, 2_000))];
  if (dice > 0.75) return youzanCommands(random);
  if (random.chance(0.4)) pieces.push(identify(random));
  if (dice < 0.32) {
    for (let count = random.int(1, 8); count > 0; count--) pieces.push(publish(random));
  } else if (dice < 0.6) {
    pieces.push(line(random, "SUB", topicName(random), channelName(random)));
    pieces.push(line(random, "RDY", numberText(random, 0, 50)));
    for (let count = random.int(0, 8); count > 0; count--) pieces.push(random.chance(0.2) ? publish(random) : answer(random));
    if (random.chance(0.3)) pieces.push(line(random, "CLS"));
    if (random.chance(0.3)) pieces.push(answer(random));
  } else {
    // Any command in any state.
    for (let count = random.int(1, 12); count > 0; count--)
      pieces.push(random.pick([identify, publish, answer, anything, youzanAnything])(random));
  }
  return pieces;
}

function identify(random: Random): Buffer {
  const settings: Record<string, unknown> = {};
  const value = (low: number, high: number) =>
    random.chance(0.1) ? random.pick([-1, 0, 1.5, 1e300, "7", null, true, [], {}]) : random.int(low, high);
  if (random.chance(0.5)) settings.client_id = `client-${random.int(0, 9)}`;
  if (random.chance(0.3)) settings.hostname = random.chance(0.05) ? "h".repeat(10_000) : "host";
  if (random.chance(0.3)) settings.user_agent = random.chance(0.1) ? 'a"\n\u0000\u2028' : "fuzz/1";
  if (random.chance(0.5)) settings.feature_negotiation = random.chance(0.9) ? true : "yes";
  if (random.chance(0.3)) settings.heartbeat_interval = value(-1, 70_000);
  if (random.chance(0.2)) settings.output_buffer_size = value(-1, 70_000);
  if (random.chance(0.2)) settings.output_buffer_timeout = value(-1, 40_000);
  if (random.chance(0.2)) settings.sample_rate = value(-1, 100);
  if (random.chance(0.3)) settings.msg_timeout = value(0, 10_000);
  if (random.chance(0.02)) settings[random.pick(["tls_v1", "snappy", "deflate"])] = true;
  if (random.chance(0.02)) settings.deflate_level = value(0, 9);
  let text = JSON.stringify(settings);
  if (random.chance(0.03))
    text = random.pick(["", "{", "null", "[]", "7", '"x"', "{".repeat(5_000), "[".repeat(20_000), `{"a":${"9".repeat(400)}}`, "\0\0"]);
  return Buffer.concat([line(random, "IDENTIFY"), sized(random, Buffer.from(text))]);
}

function publish(random: Random): Buffer {
  const dice = random.next();
  if (dice < 0.5) return Buffer.concat([line(random, "PUB", topicName(random)), sized(random, body(random))]);
  if (dice < 0.65)
    return Buffer.concat([line(random, "DPUB", topicName(random), numberText(random, 0, 5_000)), sized(random, body(random))]);
  const bodies: Buffer[] = [];
  for (let count = random.int(0, 12); count > 0; count--) bodies.push(sized(random, body(random)));
  const batch = Buffer.concat([sizeWord(random, bodies.length), ...bodies]);
  return Buffer.concat([line(random, "MPUB", topicName(random)), sized(random, batch)]);
}

/** An answer to a message: the ids of a stream that does not listen are guesses. */
function answer(random: Random): Buffer {
  const id = random.chance(0.8)
    ? hexId(random)
    : random.pick(["", "short", "0".repeat(17), "G".repeat(16), "\0".repeat(16), "ABCDEF0123456789"]);
  return random.pick([
    () => line(random, "FIN", id),
    () => line(random, "REQ", id, numberText(random, 0, 3_000)),
    () => line(random, "TOUCH", id),
  ])();
}

function hexId(random: Random): string {
  return random
    .int(0, 0xffffffff)
    .toString(16)
    .padStart(16, random.pick(["0", "0", "f", "1"]));
}

function anything(random: Random): Buffer {
  return random.pick([
    () => line(random, "NOP"),
    () => line(random, "CLS"),
    () => line(random, "RDY", numberText(random, 0, 3_000)),
    () => line(random, "RDY"),
    () => line(random, "SUB", topicName(random), channelName(random)),
    () => line(random, "SUB", topicName(random)),
    () => Buffer.concat([line(random, "AUTH"), sized(random, Buffer.alloc(Math.min(2_000, bodyBytes(random)), "s"))]),
    () => line(random, "PING"),
    () => line(random, "pub", topicName(random)),
    () => line(random, "FIN", hexId(random), "extra", "words"),
    () => line(random, ""),
    () => line(random, "X".repeat(random.int(1, 40_000))),
    () => Buffer.from("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"),
  ])();
}
