import { hostname } from "node:os";
import { Fatal } from "../tool.ts";

/** What a file's name is made of. */
export interface NameOptions {
  filenameFormat: string;
  hostIdentifier: string;
  /** Whether files are rotated, compressed or moved, so that two may have the same name but for their number. */
  isNumbered: boolean;
  isGzip: boolean;
}

/** The part of a name that numbers files. */
const REVISION = "<REV>";

/** The format of a topic's file names, with <DATETIME> and perhaps <REV> still in it. @throws Fatal */
export function topicFormat({ filenameFormat, hostIdentifier, isNumbered, isGzip }: NameOptions, topic: string): string {
  const host = hostname();
  const shortHost = host.split(".", 1)[0] ?? host;
  const identifier = hostIdentifier === "" ? shortHost : fill(fill(hostIdentifier, "<SHORT_HOST>", shortHost), "<HOSTNAME>", host);
  if (isNumbered && !filenameFormat.includes(REVISION)) {
    throw new Fatal("missing <REV> in --filename-format when gzip, rotation, or work dir enabled");
  }
  let format = isNumbered ? filenameFormat : fill(filenameFormat, REVISION, "");
  format = fill(format, "<TOPIC>", topic);
  format = fill(format, "<HOST>", identifier);
  format = fill(format, "<PID>", String(process.pid));
  return isGzip && !format.endsWith(".gz") ? `${format}.gz` : format;
}

/** Replaces <DATETIME>. */
export function withTime(format: string, datetimeFormat: string, at: Date): string {
  return fill(format, "<DATETIME>", strftime(datetimeFormat, at));
}

/** Replaces <REV>. */
export function withRevision(name: string, revision: number): string {
  return fill(name, REVISION, `-${padded(revision, 6)}`);
}

/** `$` in a value has no meaning. */
function fill(text: string, place: string, value: string): string {
  return text.replaceAll(place, () => value);
}

const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const FIELDS: Readonly<Record<string, (at: Date) => string>> = {
  B: (at) => MONTHS[at.getMonth()] ?? "",
  b: (at) => (MONTHS[at.getMonth()] ?? "").slice(0, 3),
  m: (at) => padded(at.getMonth() + 1, 2),
  A: (at) => DAYS[at.getDay()] ?? "",
  a: (at) => (DAYS[at.getDay()] ?? "").slice(0, 3),
  d: (at) => padded(at.getDate(), 2),
  H: (at) => padded(at.getHours(), 2),
  I: (at) => padded(at.getHours() % 12 || 12, 2),
  M: (at) => padded(at.getMinutes(), 2),
  S: (at) => padded(at.getSeconds(), 2),
  Y: (at) => String(at.getFullYear()),
  y: (at) => padded(at.getFullYear() % 100, 2),
  p: (at) => (at.getHours() < 12 ? "AM" : "PM"),
  Z: (at) => at.toLocaleTimeString("en-US", { timeZoneName: "short" }).split(" ").at(-1) ?? "",
  z: (at) => offset(-at.getTimezoneOffset()),
  "%": () => "%",
};

/** Formats a local time. Only the fields that nsq_to_file knows are replaced. */
function strftime(format: string, at: Date): string {
  return format.replace(/%(.)/gs, (whole, field: string) => FIELDS[field]?.(at) ?? whole);
}

/** `+0130` for 90 minutes east of Greenwich. */
function offset(minutes: number): string {
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${padded(Math.floor(size / 60), 2)}${padded(size % 60, 2)}`;
}

function padded(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
