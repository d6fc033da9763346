import { type ReadyLimit, ReadyLimits } from "./ready-limits.ts";
import { SettingsError } from "./settings-error.ts";

/** The largest rate, per second. */
const MAX_RATE = 1_000_000_000;

/** What operators have set to hold a channel back, in JSON. What is left out is as by default. */
export interface LimitsJson {
  skip?: boolean;
  skip_zan_test?: boolean;
  client_limits?: readonly ReadyLimit[];
  rate_limit?: number;
  rate_limit_kb?: number;
}

/** What operators have set to hold a channel back. */
export class ChannelLimits {
  static readonly NONE = new ChannelLimits();

  private constructor(
    /** All messages are finished without being delivered. */
    readonly skips = false,
    /** Messages that are marked as a test (HeaderFilter.NO_ZAN_TEST) are finished without being delivered. */
    readonly skipsZanTest = false,
    readonly ready = ReadyLimits.NONE,
    /** How many messages are delivered per second at most; 0: no limit. */
    readonly messagesPerSecond = 0,
    /** How many KiB of records are delivered per second at most; 0: no limit. */
    readonly kilobytesPerSecond = 0,
  ) {}

  /** @throws SettingsError */
  static fromJson({
    skip = false,
    skip_zan_test = false,
    client_limits = [],
    rate_limit = 0,
    rate_limit_kb = 0,
  }: LimitsJson): ChannelLimits {
    if (typeof skip !== "boolean") throw new SettingsError("skip", "it must be true or false");
    if (typeof skip_zan_test !== "boolean") throw new SettingsError("skip_zan_test", "it must be true or false");
    const ready = ReadyLimits.fromJson(client_limits);
    checkRate("rate_limit", rate_limit);
    checkRate("rate_limit_kb", rate_limit_kb);
    return new ChannelLimits(skip, skip_zan_test, ready, rate_limit, rate_limit_kb);
  }

  /** What differs from the default. */
  toJson(): LimitsJson {
    return {
      ...(this.skips ? { skip: true } : {}),
      ...(this.skipsZanTest ? { skip_zan_test: true } : {}),
      ...(this.ready.list.length > 0 ? { client_limits: this.ready.list } : {}),
      ...(this.messagesPerSecond > 0 ? { rate_limit: this.messagesPerSecond } : {}),
      ...(this.kilobytesPerSecond > 0 ? { rate_limit_kb: this.kilobytesPerSecond } : {}),
    };
  }

  get any(): boolean {
    return this.skips || this.skipsZanTest || this.ready.list.length > 0 || this.hasRate;
  }

  get hasRate(): boolean {
    return this.messagesPerSecond > 0 || this.kilobytesPerSecond > 0;
  }
}

/** @throws SettingsError */
function checkRate(setting: string, rate: unknown): void {
  const isRate = Number.isSafeInteger(rate) && (rate as number) >= 0 && (rate as number) <= MAX_RATE;
  if (!isRate) throw new SettingsError(setting, `it must be a whole number up to ${MAX_RATE}`);
}
