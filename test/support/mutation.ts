import type { Random } from "./random.ts";

/** How a stream's sender leaves. */
export type Ending =
  /** Closes its half and waits for the broker to close the other. */
  | "half-close"
  /** Drops the connection behind its last byte. */
  | "abort"
  /** Listens for a moment first, as a client that waits for an answer does. */
  | "linger";

/** What one connection sends. */
export interface FuzzStream {
  /** Handed to the socket one by one, a turn of the event loop apart. */
  chunks: Buffer[];
  ending: Ending;
  /** Whether messages that arrive are answered, with their real ids and at times twice. */
  answersMessages: boolean;
  /** Whether the broker's bytes can be checked: not if the stream may have turned compression or TLS on. */
  isReadable: boolean;
  /** Whether the ids of messages may be any bytes, as they are for Youzan's clients. */
  hasRawIds: boolean;
}

/** Sizes and counts that have broken parsers before. As 32-bit words. */
const WORDS = [0, 1, 2, 3, 4, 5, 7, 8, 0x7f, 0x80, 0xff, 0xffff, 0x100001, 0x500001, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

/** A four-byte size: mostly the right one. */
export function sizeWord(random: Random, right: number, wrongShare = 0.05): Buffer {
  const word = Buffer.alloc(4);
  const wrong = random.chance(0.4) ? right + random.int(-3, 3) : random.pick(WORDS);
  word.writeUInt32BE((random.chance(wrongShare) ? wrong : right) >>> 0);
  return word;
}

/** Numbers as text, the way a client's bug or an attacker's pen would have them. */
const NUMBERS = [
  "-1", "0", "00", "1", "01", "+1", "-0", "1.5", "1e3", "0x10", "", " ", "NaN", "ten", "2147483647", "2147483648", "4294967296",
  "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "99999999999999999999", "٣", "1_000",
]; // biome-ignore format: a list

export function numberText(random: Random, low: number, high: number, wrongShare = 0.12): string {
  return random.chance(wrongShare) ? random.pick(NUMBERS) : String(random.int(low, high));
}

export function randomBytes(random: Random, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = random.int(0, 255);
  return bytes;
}

/** Length of a body: most are small, a few are larger than any buffer on the way, and than the broker's limit. */
export function bodyBytes(random: Random): number {
  const dice = random.next();
  if (dice < 0.9) return random.int(0, 60);
  if (dice < 0.99) return random.int(0, 2_000);
  if (dice < 0.9998) return random.int(2_000, 30_000);
  return random.int(100_000, 1_200_000);
}

export function body(random: Random): Buffer {
  const length = bodyBytes(random);
  return length < 200 && random.chance(0.5) ? randomBytes(random, length) : Buffer.alloc(length, random.int(0, 255));
}

/** Whole commands dropped, doubled, or in another order. */
export function shuffled(random: Random, pieces: Buffer[]): Buffer[] {
  const out = [...pieces];
  for (let changes = random.int(1, 3); changes > 0 && out.length > 1; changes--) {
    const at = random.int(0, out.length - 1);
    const kind = random.int(0, 2);
    if (kind === 0) out.splice(at, 1);
    else if (kind === 1) out.splice(at, 0, out[at] as Buffer);
    else out.push(...out.splice(at, 1));
  }
  return out;
}

/** One change somewhere in the bytes. */
export function mutated(random: Random, bytes: Buffer): Buffer {
  if (bytes.length === 0) return randomBytes(random, 4);
  const at = random.int(0, bytes.length - 1);
  const run = random.int(1, 12);
  switch (random.int(0, 7)) {
    case 0: {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] as number) ^ (1 << random.int(0, 7));
      return copy;
    }
    case 1: {
      const copy = Buffer.from(bytes);
      copy[at] = random.pick([0, 9, 10, 13, 32, 35, 47, 127, 128, 255]);
      return copy;
    }
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + run)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at + run), bytes.subarray(at)]);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), randomBytes(random, run), bytes.subarray(at)]);
    case 5:
      return bytes.subarray(0, at);
    case 6: {
      const word = sizeWord(random, run, 1);
      return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(Math.min(bytes.length, at + 4))]);
    }
    default: {
      // Two commands, or a command and a body, run into each other.
      const other = random.int(0, bytes.length - 1);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(other)]);
    }
  }
}

/** The bytes in pieces as a network may deliver them: whole, in two, in many, or (a short part of it) byte by byte. */
export function split(random: Random, bytes: Buffer): Buffer[] {
  const dice = random.next();
  if (dice < 0.5 || bytes.length < 2) return [bytes];
  const cuts = new Set<number>();
  if (dice < 0.95) {
    for (let count = random.int(1, 5); count > 0; count--) cuts.add(random.int(1, bytes.length - 1));
  } else {
    const start = random.int(1, bytes.length - 1);
    for (let at = start; at < Math.min(bytes.length, start + 30); at++) cuts.add(at);
  }
  const chunks: Buffer[] = [];
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    chunks.push(bytes.subarray(from, cut));
    from = cut;
  }
  chunks.push(bytes.subarray(from));
  return chunks;
}

export function ending(random: Random): Ending {
  const dice = random.next();
  return dice < 0.65 ? "half-close" : dice < 0.9 ? "abort" : "linger";
}

/** Names the streams share, so that they meet each other's topics and channels. */
const TOPICS = ["fuzz.a", "fuzz_b", "fuzz-c", "fuzz.d", "fuzz.e#ephemeral"];
const CHANNELS = ["x", "y", "z", "w#ephemeral"];

function oddName(random: Random): string {
  return random.pick([
    "", " ", "#ephemeral", "a#ephemeral#ephemeral", "a#eph", "with space", "ümlaut", "slash/../../etc", "..", ".", "nul\0", "a\rb", "%41",
    "x".repeat(64), "x".repeat(65), "x".repeat(random.int(60, 5_000)), "__proto__", "constructor", "toString", `new.${random.int(0, 200)}`,
  ]); // biome-ignore format: a list
}

export function topicName(random: Random): string {
  return random.chance(0.06) ? oddName(random) : random.pick(TOPICS);
}

export function channelName(random: Random): string {
  return random.chance(0.06) ? oddName(random) : random.pick(CHANNELS);
}
