import type { Frame } from "../../../src/cluster/replication/wire.ts";
import type { Random } from "../../support/random.ts";

function sequence(random: Random): number {
  return random.pick([0, 1, random.int(0, 1_000), 2 ** 32 - 1, 2 ** 32 + random.int(0, 1_000), Number.MAX_SAFE_INTEGER]);
}

export function times<T>(random: Random, most: number, make: () => T): T[] {
  return Array.from({ length: random.int(0, most) }, make);
}

function randomEnd(random: Random, partition: number, epoch: number) {
  return { partition, epoch, end: sequence(random), synced: sequence(random), state: random.pick([-1, 0, random.int(0, 2 ** 40)]) };
}

function randomKeys(random: Random) {
  return times(random, 5, () => 0).map((_, i) => ({ key: `k${i}${"x".repeat(random.int(0, 200))}`, epoch: i, number: sequence(random) }));
}

/** A frame of any kind, of which only single fields make sense. */
export function randomFrame(random: Random): Frame {
  const partition = random.int(0, 2 ** 24);
  const epoch = random.int(1_000, 2_000);
  switch (random.int(1, 14)) {
    case 1:
      return { kind: "hello", version: 1, cluster: random.pick(["", "größer", "x".repeat(255)]), uid: "0123456789abcdef", run: "r" };
    case 2:
      return { kind: "lead", partition, epoch };
    case 3: {
      const epochs = times(random, 5, () => 0).map((_, i) => ({ epoch: 3 * i, firstSequence: 10 * i }));
      return {
        kind: "follow",
        partition,
        epoch,
        ask: random.int(0, 9),
        additions: random.int(0, 2 ** 32 - 1),
        start: 5,
        end: 2 ** 33,
        epochs,
      };
    }
    case 4:
      return { kind: "part", partition, epoch, ask: 7, to: sequence(random), start: 3, needed: 4, restarts: random.chance(0.5), end: 8 };
    case 5: {
      const commits = times(random, 5, () => ({
        firstSequence: sequence(random),
        count: random.int(0, 2 ** 32 - 1),
        length: random.int(0, 2 ** 32 - 1),
        timeMs: random.next() * 2e12,
        crc: random.int(0, 2 ** 32 - 1),
      }));
      const bytes = Buffer.from(times(random, 300, () => random.int(0, 255)));
      const [first] = commits;
      const isKeyed = first !== undefined && commits.length === 1 && first.count > 0;
      const keys =
        isKeyed && random.chance(0.5) ? [{ sequence: first.firstSequence, key: random.pick(["", "k\xff", "y".repeat(255)]) }] : [];
      const epochAndStart = { epoch: random.int(0, 1_000), startsSegment: random.chance(0.5) };
      const run = { isGap: false as const, ...epochAndStart, commits, bytes, ...(keys.length > 0 && { keys }) };
      return { kind: "append", partition, epoch, highWatermark: sequence(random), run };
    }
    case 12:
      return { kind: "need", partition, epoch, from: 7, to: 8 + random.int(0, 2 ** 40) };
    case 13: {
      const commits = [{ firstSequence: 9, count: 1, length: 5, timeMs: 1, crc: 2 }];
      const run = { isGap: false as const, epoch, startsSegment: true, commits, bytes: Buffer.from("12345") };
      const answer = random.pick(["records", "later", "lacking", "removed"] as const);
      return {
        kind: "have",
        partition,
        epoch,
        from: sequence(random),
        answer,
        start: sequence(random),
        run: answer === "records" ? run : undefined,
      };
    }
    case 14:
      return { kind: "skip", partition, epoch, from: 7, to: 8 + random.int(0, 2 ** 40) };
    case 6:
      return { kind: "ends", ends: times(random, 9, () => randomEnd(random, partition, epoch)) };
    case 7:
      return { kind: "beat", marks: times(random, 9, () => ({ partition, epoch, highWatermark: sequence(random) })) };
    case 8:
      return { kind: "state-keys", partition, epoch, ask: 3, after: random.pick(["", "a"]), isLast: true, keys: randomKeys(random) };
    case 9:
      return { kind: "state-more", partition, epoch, ask: 3, after: "k".repeat(random.int(0, 255)) };
    case 10: {
      const value = () => random.pick([undefined, Buffer.alloc(0), Buffer.from("x".repeat(random.int(0, 300)))]);
      const changes = randomKeys(random).map((key) => ({ ...key, value: value() }));
      return { kind: "state", partition, epoch, ask: 9, number: random.pick([undefined, 0, 2 ** 40]), changes };
    }
    default:
      return { kind: "reject", partition, epoch };
  }
}
