import { UNKNOWN } from "./numbers.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A duration in ms, with its two largest units: `0.25 ms`, `450 ms`, `3.2 s`, `4m 10s`, `3h 12m`, `2d 4h`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return UNKNOWN;
  if (ms < 10) return `${Number(ms.toPrecision(2))} ms`;
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return pair(ms, MINUTE, "m", SECOND, "s");
  if (ms < DAY) return pair(ms, HOUR, "h", MINUTE, "m");
  return pair(ms, DAY, "d", HOUR, "h");
}

function pair(ms: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)}${largeUnit}${rest === 0 ? "" : ` ${rest}${smallUnit}`}`;
}

/** A time in ms since 1970, in the browser's zone: `14:03:22` today, `11-22 14:03` this year, else `2025-11-22 14:03`. */
export function clock(time: number | null | undefined, now: number): string {
  if (time === null || time === undefined) return UNKNOWN;
  const date = new Date(time);
  const today = new Date(now);
  if (day(date) === day(today)) return hours(date);
  const isThisYear = date.getFullYear() === today.getFullYear();
  return `${day(date).slice(isThisYear ? "YYYY-".length : 0)} ${hours(date).slice(0, "HH:MM".length)}`;
}

/** `2026-11-22 14:03:22.512` in the browser's zone. */
export function timestamp(time: number): string {
  const date = new Date(time);
  return `${day(date)} ${hours(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** How long ago it was. */
export function since(time: number | null | undefined, now: number): string {
  return time === null || time === undefined ? UNKNOWN : duration(Math.max(0, now - time));
}

function day(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

function hours(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
