import { CHANNEL_PREFIX, type StateKey, type StateValue } from "../../../src/cluster/replication/state/replica-state.ts";
import type { Random } from "../../support/random.ts";
import type { SimPartition } from "./sim-partition.ts";

const CHANNELS = ["a", "b", "c"].map((name) => CHANNEL_PREFIX + name);
const DEFERRED_PREFIX = "deferred/";
/** Larger values than these go in a frame of their own. */
const PADDING = [...Array.from({ length: 18 }, () => ""), "x".repeat(2_000), "x".repeat(100_000)];

type State = ReadonlyMap<string, StateValue>;

/** What is asked of a broker: the value of a channel lists messages, and that of a deferred entry has one. */
interface Proposal {
  readonly key: string;
  readonly value: Buffer | undefined;
}

/**
 * Changes the state of a partition as a broker does, and checks what must hold of it: what was answered is there, and a message that moves
 * from a channel to a deferred entry, and from there to another one, is in one of these places at any moment.
 */
export class StateChecks {
  answered = 0;
  private nextNumber = 1;
  /** The versions with which keys were removed. */
  private readonly removals = new Map<string, StateKey[]>();
  /** The newest version of each key that was answered. */
  private readonly newest = new Map<string, StateKey>();
  /** Messages that were answered to be there, and not taken away. */
  private readonly messages = new Set<number>();
  private readonly taken = new Set<number>();
  private readonly added = new Map<string, number>();

  /** Has a broker change something. It changes nothing if it does not lead. */
  propose(partition: SimPartition, random: Random): void {
    const { leading } = partition.replica;
    if (leading === undefined) return;
    const channel = random.pick(CHANNELS);
    const get = (key: string) => leading.state.get(key);
    const entries = this.entriesOf(partition).filter((key) => get(key) !== undefined);
    const listed = messagesOf(get(channel));
    const what = random.int(0, 6);
    if (what <= 1) return this.add(partition, channel, listed, random);
    if (what === 2 && listed.length > 0) {
      const [moved, ...others] = listed;
      return void this.change(partition, [this.entryOf([moved], random), { key: channel, value: valueWith(others, random) }]);
    }
    if (what === 3 && entries.length > 0) {
      const key = random.pick(entries);
      return void this.change(partition, [this.entryOf(messagesOf(get(key)), random), { key, value: undefined }]);
    }
    if (what === 4 && entries.length > 0) {
      const key = random.pick(entries);
      for (const message of messagesOf(get(key))) this.taken.add(message);
      return void this.change(partition, [{ key, value: undefined }]);
    }
    for (const message of listed) this.taken.add(message);
    this.change(partition, [{ key: channel, value: random.chance(0.5) ? undefined : valueWith([], random) }]);
  }

  /** Deferred entries that a broker had stored, or was asked to make a while ago. */
  private entriesOf(partition: SimPartition): string[] {
    return [...partition.disk.state.now.keys()].filter((key) => key.startsWith(DEFERRED_PREFIX));
  }

  private add(partition: SimPartition, channel: string, listed: readonly number[], random: Random): void {
    const message = this.nextNumber++;
    const proposal = random.chance(0.5)
      ? this.entryOf([message], random)
      : { key: channel, value: valueWith([...listed, message].slice(-20), random) };
    if (listed.length >= 20 && proposal.key === channel) this.taken.add(listed[0]);
    for (const { key, epoch, number } of this.change(partition, [proposal])) this.added.set(`${key} ${epoch} ${number}`, message);
  }

  private entryOf(messages: readonly number[], random: Random): Proposal {
    return { key: DEFERRED_PREFIX + String(this.nextNumber++).padStart(8, "0"), value: valueWith(messages, random) };
  }

  private change(partition: SimPartition, proposals: readonly Proposal[]): StateKey[] {
    const versions = partition.changeState(proposals);
    for (const [i, version] of versions.entries()) {
      if (proposals[i].value !== undefined) continue;
      const known = this.removals.get(version.key) ?? [];
      this.removals.set(version.key, [...known, version]);
    }
    return versions;
  }

  /** Changes were answered. */
  acked(versions: readonly StateKey[]): void {
    this.answered++;
    for (const version of versions) {
      const { key, epoch, number } = version;
      const known = this.newest.get(key);
      if (known === undefined || isBefore(known, version)) this.newest.set(key, version);
      const message = this.added.get(`${key} ${epoch} ${number}`);
      if (message !== undefined) this.messages.add(message);
    }
  }

  /** @returns what of some changes is not in a state; undefined: all is */
  lackOfKeys(state: State, versions: readonly StateKey[]): string | undefined {
    for (const version of versions) {
      const { key } = version;
      const has = state.get(key);
      if (has === undefined) {
        if (this.removals.get(key)?.some((removal) => !isBefore(removal, version)) === true) continue;
        return `${key} of ${text(version)} is not there`;
      }
      if (isBefore(has, version)) return `${key} is that of ${text(has)}, and ${text(version)} was answered`;
    }
    return undefined;
  }

  /** @returns what was answered and is not in the state of one who leads now; undefined: all is */
  lackOf(state: State): string | undefined {
    const lacks = this.lackOfKeys(state, [...this.newest.values()]);
    if (lacks !== undefined) return lacks;
    const found = new Set([...state.values()].flatMap(({ value }) => messagesOf(value)));
    const missing = [...this.messages].find((message) => !this.taken.has(message) && !found.has(message));
    return missing === undefined ? undefined : `message ${missing} is nowhere`;
  }
}

function valueWith(messages: readonly number[], random: Random): Buffer {
  return Buffer.from(`${messages.join(",")};${random.pick(PADDING)}`);
}

function messagesOf(value: Buffer | undefined): number[] {
  const [listed] = (value ?? "").toString().split(";");
  return listed === "" ? [] : listed.split(",").map(Number);
}

/** The versions of all keys, to compare states by. */
export function versionsOf(state: State): string {
  return [...state.values()]
    .map(({ key, epoch, number }) => `${key}=${epoch}.${number}`)
    .sort()
    .join(" ");
}

function isBefore(one: StateKey, other: StateKey): boolean {
  return one.epoch === other.epoch ? one.number < other.number : one.epoch < other.epoch;
}

function text({ epoch, number }: StateKey): string {
  return `${epoch}.${number}`;
}
