import { closeSync, openSync, readSync } from "node:fs";
import type { Flag } from "./flag.ts";
import { quote } from "./flags.ts";
import { COMPANIONS, type Companion, emptyLayer, type Layer, Names, prefixOf, type Scope } from "./settings.ts";
import { BadValue, readConfigValue } from "./values.ts";

/** A file with every setting has 10 KB. Bun's parser takes quadratic time in the number of keys. */
const MAX_CONFIG_BYTES = 64 * 1024;
/** The most errors that are reported at once. */
const MAX_ERRORS = 20;

/** A config file cannot be read. */
export class ConfigFileError extends Error {}

export interface ConfigFile {
  path: string;
  text: string;
  content: Record<string, unknown>;
}

/** The key of a flag in a config file. It is nsqd's if nsqd has the flag. */
export function configKey(flag: Flag): string {
  return flag.configKey ?? flag.name.replaceAll("-", "_");
}

/** Reads and parses a config file. @throws ConfigFileError, in nsqd's words */
export function loadConfigFile(path: string): ConfigFile {
  const failed = (why: string) => new ConfigFileError(`failed to load config file ${path} - ${why}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(readBounded(path));
  } catch (error) {
    throw failed(readFailure(error));
  }
  const wrong = tomlError(text);
  if (wrong !== undefined) throw failed(`toml: line ${firstLineWith(text, wrong)}: ${wrong}`);
  return { path, text, content: Bun.TOML.parse(text) as Record<string, unknown> };
}

/** A key of a config file and its value. */
interface Entry {
  key: string;
  /** The key as the program knows it: with the section's prefix if the program has the section's flags with a prefix. */
  name: string;
  value: unknown;
  section: Companion | undefined;
}

/**
 * Reads the settings in a config file. The keys are the broker's; those in the sections `[lookup]` and `[admin]` are the lookup
 * server's and the console's. One of these alone reads its section, or the whole file if there is no section. A file with a
 * section is meant for all modes, so there is no warning about settings that one mode does not need.
 */
export function readConfig(scope: Scope, { path, text, content }: ConfigFile): Layer {
  const layer = emptyLayer();
  const names = new Names(scope, "config", configKey);
  const hasSections = COMPANIONS.some((companion) => isTable(content[companion]));
  for (const entry of entriesOf(content, scope.alone)) {
    const { key, name, value, section } = entry;
    const flag = names.find(name);
    const isBrokers = scope.alone !== undefined && hasSections && section === undefined;
    if (flag === undefined ? names.isElsewhere(name) : isBrokers) {
      if (!hasSections) layer.warnings.push(`${key} in ${path} has no effect in this mode`);
      continue;
    }
    const where = () => `${path}${lineOf(text, entry)}`;
    if (flag === undefined) {
      const what = `${where()}: unknown ${isTable(value) ? "section" : "key"} ${quote(key)}`;
      if (scope.isStandIn) layer.warnings.push(`${what} has no effect${hintFor(entry, names)}`);
      else layer.errors.push(what + hintFor(entry, names));
    } else {
      try {
        layer.values.set(flag.name, readConfigValue(flag, value));
        layer.origins.set(flag.name, `${section === undefined ? key : `${section}.${key}`} in ${path}`);
      } catch (error) {
        if (!(error instanceof BadValue)) throw error;
        layer.errors.push(`${where()}: invalid value ${showToml(value)} for ${key}: ${error.message}`);
      }
    }
    if (layer.errors.length >= MAX_ERRORS) break;
  }
  return layer;
}

/** All keys. Those of the sections are last. */
function entriesOf(content: Record<string, unknown>, alone: Companion | undefined): Entry[] {
  const inSections: Entry[] = [];
  const others: Entry[] = [];
  for (const [key, value] of Object.entries(content)) {
    const section = COMPANIONS.find((companion) => companion === key);
    if (section === undefined || !isTable(value)) {
      others.push({ key, name: key, value, section: undefined });
      continue;
    }
    for (const [inner, its] of Object.entries(value)) {
      inSections.push({ key: inner, name: section === alone ? inner : sectionPrefix(section) + inner, value: its, section });
    }
  }
  return [...others, ...inSections];
}

/** The prefix of a section's keys outside of the section. */
function sectionPrefix(section: Companion): string {
  return prefixOf(section).replace("-", "_");
}

/** A hint at the key that was probably meant. */
function hintFor({ name, value, section }: Entry, names: Names): string {
  const meant = isTable(value) ? undefined : names.nearest(name);
  if (meant === undefined) return "";
  const prefix = section === undefined ? "" : sectionPrefix(section);
  return `; did you mean ${meant.startsWith(prefix) ? meant.slice(prefix.length) : meant}?`;
}

function readFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof TypeError) return "it is not UTF-8";
  if ("code" in error && error.code === "EISDIR") return "it is a directory";
  // The message is like "ENOENT: no such file or directory, open '…'". Only the middle part is useful.
  return /^[A-Z]+: (.*?)(?:, \w+.*)?$/.exec(error.message)?.[1] ?? error.message;
}

/** Reads a file, but at most one byte more than is allowed. @throws Error for a file that is too large */
function readBounded(path: string): Uint8Array {
  const file = openSync(path, "r");
  try {
    const bytes = new Uint8Array(MAX_CONFIG_BYTES + 1);
    let length = 0;
    while (length < bytes.length) {
      const count = readSync(file, bytes, length, bytes.length - length, null);
      if (count === 0) return bytes.subarray(0, length);
      length += count;
    }
    throw new Error(`it is larger than ${MAX_CONFIG_BYTES} bytes`);
  } finally {
    closeSync(file);
  }
}

function tomlError(text: string): string | undefined {
  try {
    Bun.TOML.parse(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error.message.replace(/^TOML Parse error: /, "");
  }
}

/**
 * Finds the line of an error, which the parser does not report: the last line of the shortest beginning of the text that has
 * the same error.
 */
function firstLineWith(text: string, error: string): number {
  const lines = text.split("\n");
  let below = 0;
  let upTo = lines.length;
  while (upTo - below > 1) {
    const middle = (below + upTo) >> 1;
    if (tomlError(`${lines.slice(0, middle).join("\n")}\n`) === error) upTo = middle;
    else below = middle;
  }
  return upTo;
}

/** The line that sets a key, for messages; empty if the key is not on a line of its own. */
function lineOf(text: string, { key, section }: Entry): string {
  let within: string | undefined;
  for (const [at, line] of text.split("\n").entries()) {
    const header = /^\s*\[\s*([^\]]*?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) within = COMPANIONS.find((companion) => companion === header);
    const named = header ?? /^\s*"?([^"\s=]+)"?\s*=/.exec(line)?.[1];
    if (named === key && (within === section || header !== undefined)) return ` line ${at + 1}`;
  }
  return "";
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** A value about as it is written in the file. A long one is cut off. */
function showToml(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
