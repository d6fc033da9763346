import { fieldsOf, type Json, listOf, parseDocument } from "../base/go/json.ts";
import { isEphemeral, isValidName } from "../frame/names.ts";
import { readText, type SourceFiles, syncFolder, systemFiles, writeAnew } from "./files.ts";

/** The file with nsqd's topics and channels. */
export const NSQD_METADATA_NAME = "nsqd.dat";
/** Its name in nsqd 0.3.8 and older, with the --worker-id. nsqd 1.0 creates a link of this name to nsqd.dat. */
const OLD_NAME = /^nsqd\.\d+\.dat$/;
/** The release whose format is written. */
const NSQD_VERSION = "1.3.0";
/** A topic with one channel takes about 100 bytes. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024;

export interface NsqdChannel {
  name: string;
  paused: boolean;
}

export interface NsqdTopic {
  name: string;
  /** A paused topic keeps its messages, and passes none to its channels. */
  paused: boolean;
  channels: NsqdChannel[];
}

/** A topic or channel in the file that is not in the result. */
export interface LeftOutName {
  topic: string;
  /** Undefined if the topic itself is left out, with its channels. */
  channel: string | undefined;
  /** `invalid`: nsqd leaves it out, too. `ephemeral`: it has no messages on disk, and nsqd 1.3.0 never writes one. */
  reason: "invalid" | "ephemeral";
}

export interface NsqdMetadata {
  /** Name of the file. */
  file: string;
  /** Version of the nsqd that wrote it, as it is in the file; empty if missing. */
  version: string;
  /** That version compared with 1.3.0. nsqd itself ignores the version. */
  release: "same" | "older" | "newer" | "unknown";
  /** In the order of the file; each name once. */
  topics: NsqdTopic[];
  leftOut: LeftOutName[];
}

/**
 * Reads the topics and channels of a data path, and which of them are paused (nsqd/nsqd.go: LoadMetadata). The JSON is read
 * as Go reads it. A topic or channel that is listed twice is paused if one of the entries is.
 *
 * If there is no nsqd.dat, the file of nsqd 0.3.8 or older is read, provided there is exactly one. If there is an nsqd.dat,
 * older files are ignored, as in nsqd 1.3.0.
 *
 * @returns undefined if there is no such file (nsqd would start without topics); an Error for a file on which nsqd would
 *   refuse to start, and for several older files
 * @throws the kernel's error if the file cannot be read
 */
export function readNsqdMetadata(folder: string, files: SourceFiles = systemFiles): NsqdMetadata | Error | undefined {
  const text = readText(files, `${folder}/${NSQD_METADATA_NAME}`, MAX_TEXT_BYTES);
  if (text !== undefined) return parseNsqdMetadata(text, NSQD_METADATA_NAME);
  const found = oldMetadataNames(folder, files).flatMap((name) => {
    const old = readText(files, `${folder}/${name}`, MAX_TEXT_BYTES);
    return old === undefined ? [] : [{ name, old }];
  });
  const [only] = found;
  if (only === undefined) return undefined;
  if (found.length === 1) return parseNsqdMetadata(only.old, only.name);
  const names = found.map(({ name }) => name).join(", ");
  return new Error(`${folder} has no ${NSQD_METADATA_NAME}, but ${names}: rename the right one to ${NSQD_METADATA_NAME}`);
}

/** Names of the metadata files of nsqd 0.3.8 or older in a folder. */
export function oldMetadataNames(folder: string, files: SourceFiles = systemFiles): string[] {
  return files
    .list(folder)
    .filter((name) => OLD_NAME.test(name))
    .sort();
}

/** Parses the text of nsqd.dat. @returns an Error if Go would refuse it */
export function parseNsqdMetadata(text: string, file: string): NsqdMetadata | Error {
  if (text.length >= MAX_TEXT_BYTES) return new Error(`${file} is larger than ${MAX_TEXT_BYTES} bytes`);
  const document = parseDocument(text);
  if (document === undefined) return new Error(`${file} is not valid JSON`);
  const fields = fieldsOf(document, { version: "" });
  const topics = listOf(document, "topics");
  if (fields === undefined || topics === undefined)
    return new Error(`${file} must be an object with a string "version" and a list "topics"`);
  const found = new Map<string, { paused: boolean; channels: Map<string, NsqdChannel> }>();
  const leftOut: LeftOutName[] = [];
  for (const topic of topics) {
    const named = fieldsOf(topic, { name: "", paused: false });
    const channels = listOf(topic, "channels");
    if (named === undefined || channels === undefined) return new Error(`${file} has an invalid topic: ${excerpt(topic)}`);
    const reason = reasonAgainst(named.name);
    const known = found.get(named.name) ?? { paused: false, channels: new Map<string, NsqdChannel>() };
    known.paused ||= named.paused;
    if (reason === undefined) found.set(named.name, known);
    else leftOut.push({ topic: named.name, channel: undefined, reason });
    for (const channel of channels) {
      const read = fieldsOf(channel, { name: "", paused: false });
      if (read === undefined) return new Error(`${file} has an invalid channel: ${excerpt(channel)}`);
      if (reason === undefined) addChannel(known.channels, leftOut, named.name, read);
    }
  }
  return {
    file,
    version: fields.version,
    release: releaseOf(fields.version),
    topics: [...found].map(([name, { paused, channels }]) => ({ name, paused, channels: [...channels.values()] })),
    leftOut,
  };
}

/**
 * Writes nsqd.dat in one step and syncs it (nsqd/nsqd.go: PersistMetadata). Ephemeral topics and channels are left out, as in
 * nsqd. Call it last in an export: it also syncs the names of all files in the folder.
 *
 * @throws RangeError for an invalid name; the kernel's error if a write fails
 */
export function writeNsqdMetadata(folder: string, topics: readonly NsqdTopic[]): void {
  writeAnew(`${folder}/${NSQD_METADATA_NAME}`, formatNsqdMetadata(topics));
  syncFolder(folder);
}

/** Formats the text of nsqd.dat. @throws RangeError for an invalid name */
export function formatNsqdMetadata(topics: readonly NsqdTopic[]): string {
  const kept = <Named extends { name: string }>(list: readonly Named[]) =>
    list.filter(({ name }) => {
      if (!isValidName(name)) throw new RangeError(`${JSON.stringify(name)} is not a valid name of a topic or channel`);
      return !isEphemeral(name);
    });
  return JSON.stringify({
    topics: kept(topics).map(({ name, paused, channels }) => ({
      name,
      paused,
      channels: kept(channels).map((channel) => ({ name: channel.name, paused: channel.paused })),
    })),
    version: NSQD_VERSION,
  });
}

function addChannel(channels: Map<string, NsqdChannel>, leftOut: LeftOutName[], topic: string, { name, paused }: NsqdChannel): void {
  const reason = reasonAgainst(name);
  if (reason !== undefined) leftOut.push({ topic, channel: name, reason });
  else channels.set(name, { name, paused: paused || channels.get(name)?.paused === true });
}

function reasonAgainst(name: string): "invalid" | "ephemeral" | undefined {
  if (!isValidName(name)) return "invalid";
  return isEphemeral(name) ? "ephemeral" : undefined;
}

function releaseOf(version: string): NsqdMetadata["release"] {
  const numbers = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (numbers === undefined) return "unknown";
  const own = NSQD_VERSION.split(".").map(Number);
  for (const [i, number] of numbers.entries()) if (number !== own[i]) return number < (own[i] ?? 0) ? "older" : "newer";
  return version === NSQD_VERSION ? "same" : "older";
}

function excerpt(json: Json): string {
  return JSON.stringify(json).slice(0, 80);
}
