import { SettingsError } from "./settings-error.ts";

/** The most limits of one channel. */
const MAX_LIMITS = 64;
const MAX_PREFIX_BYTES = 255;
const SETTING = "client_limits";

/** The most messages that each client has in flight whose address or id begins with a text. */
export interface ReadyLimit {
  /** Empty: each client. */
  prefix: string;
  ready: number;
}

/** How many messages clients of a channel may have in flight, whatever they ask for by RDY. */
export class ReadyLimits {
  static readonly NONE = new ReadyLimits([]);

  /** @param list the longest prefix first */
  private constructor(readonly list: readonly ReadyLimit[]) {}

  /** @throws SettingsError */
  static fromJson(json: unknown): ReadyLimits {
    if (!Array.isArray(json)) throw new SettingsError(SETTING, "it must be a list");
    if (json.length > MAX_LIMITS) throw new SettingsError(SETTING, `there may be ${MAX_LIMITS} of them`);
    const list = json.map(limitOf);
    if (new Set(list.map(({ prefix }) => prefix)).size < list.length) throw new SettingsError(SETTING, "each prefix may be there once");
    return list.length === 0 ? ReadyLimits.NONE : new ReadyLimits(list.sort((a, b) => b.prefix.length - a.prefix.length));
  }

  /** These with the limit of one prefix changed, in JSON. @param ready 0: that prefix has none any more */
  with(prefix: string, ready: number): ReadyLimit[] {
    const others = this.list.filter((limit) => limit.prefix !== prefix);
    return ready === 0 ? others : [...others, { prefix, ready }];
  }

  /** The limit of a client: that of the longest prefix which its address or its id begins with. Infinity: it has none. */
  of(address: string, clientId: string): number {
    const limit = this.list.find(({ prefix }) => address.startsWith(prefix) || clientId.startsWith(prefix));
    return limit?.ready ?? Number.POSITIVE_INFINITY;
  }
}

/** @throws SettingsError */
function limitOf(json: unknown): ReadyLimit {
  const { prefix, ready } = (json ?? {}) as Partial<ReadyLimit>;
  if (typeof prefix !== "string" || Buffer.byteLength(prefix) > MAX_PREFIX_BYTES) {
    throw new SettingsError(SETTING, `a prefix must be a text of at most ${MAX_PREFIX_BYTES} bytes`);
  }
  if (typeof ready !== "number" || !Number.isSafeInteger(ready) || ready < 1)
    throw new SettingsError(SETTING, "ready must be a whole number above 0");
  return { prefix, ready };
}
