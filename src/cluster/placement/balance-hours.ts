const HOUR_MS = 3_600_000;

/** Hours of the day in UTC, [from, to): 22 to 4 is over midnight, and equal ones are the whole day. */
export interface BalanceHours {
  readonly from: number;
  readonly to: number;
}

/** @returns undefined for a text that is not like `2-4` */
export function parseBalanceHours(text: string): BalanceHours | undefined {
  const match = /^(\d{1,2})-(\d{1,2})$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  return match !== null && from < 24 && to <= 24 ? { from, to: to % 24 } : undefined;
}

/** Whether a moment, in ms since 1970, is within the hours. */
export function isWithin(hours: BalanceHours | undefined, wallMs: number): boolean {
  if (hours === undefined || hours.from === hours.to) return true;
  const hour = Math.floor(wallMs / HOUR_MS) % 24;
  return hours.from < hours.to ? hour >= hours.from && hour < hours.to : hour >= hours.from || hour < hours.to;
}
