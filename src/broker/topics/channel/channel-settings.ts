import { isValidName } from "../../../frame/names.ts";
import { ChannelLimits, type LimitsJson } from "./channel-limits.ts";
import { FilterError, HeaderFilter } from "./selective/header-filter.ts";
import { SettingsError } from "./settings-error.ts";

/** What is delivered one after the other: the messages of a key, all of a partition, or none. */
export type Order = "none" | "key" | "partition";

/** The later ones have what the earlier ones have. */
const ORDERS: readonly string[] = ["none", "key", "partition"] satisfies Order[];
/** Attempts are counted up to this. */
const MOST_ATTEMPTS = 0xffff;

export function isOrder(text: string): text is Order {
  return ORDERS.includes(text);
}

export function isStricter(order: Order, other: Order): boolean {
  return ORDERS.indexOf(order) > ORDERS.indexOf(other);
}

/** How a channel delivers, in JSON. What is left out is as by default. */
export interface SettingsJson extends LimitsJson {
  order?: string;
  filter?: unknown;
  max_attempts?: number;
  dead_letter_topic?: string;
}

/** Tells which messages enter a channel; the others are finished without being delivered. */
export interface Admission {
  /** @param at the message's record in `record` */
  takes(record: Buffer, at: number): boolean;
}

/**
 * How a channel delivers its messages. A channel with the default settings delivers all of them as they come. Limits hold it back; any
 * other setting has it choose them (selective/selective-dispatcher.ts).
 */
export class ChannelSettings {
  static readonly DEFAULT = new ChannelSettings();

  /** Undefined: all enter. */
  readonly admission: Admission | undefined;

  private constructor(
    readonly order: Order = "none",
    /** Messages that it does not fit are finished without being delivered. Undefined: all fit. */
    readonly filter: HeaderFilter | undefined = undefined,
    /** How often a message is delivered before it goes to `deadLetterTopic`; 0: without end. */
    readonly maxAttempts = 0,
    /** Empty if there is no `maxAttempts`. */
    readonly deadLetterTopic = "",
    readonly limits = ChannelLimits.NONE,
  ) {
    this.admission = limits.skipsZanTest ? withoutZanTest(filter) : filter;
  }

  /** @throws SettingsError */
  static fromJson(json: unknown): ChannelSettings {
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new SettingsError("settings", "they are no JSON object");
    const { order = "none", filter, max_attempts = 0, dead_letter_topic = "" } = json as SettingsJson;
    if (!isOrder(order)) throw new SettingsError("order", "it must be none, key or partition");
    if (!Number.isInteger(max_attempts) || max_attempts < 0 || max_attempts > MOST_ATTEMPTS) {
      throw new SettingsError("max_attempts", `it must be a whole number up to ${MOST_ATTEMPTS}`);
    }
    if (typeof dead_letter_topic !== "string" || (dead_letter_topic !== "" && !isValidName(dead_letter_topic))) {
      throw new SettingsError("dead_letter_topic", "it must be the name of a topic");
    }
    // Either alone would lose messages, or do nothing.
    if (max_attempts > 0 && dead_letter_topic === "") throw new SettingsError("dead_letter_topic", "max_attempts needs one");
    if (max_attempts === 0 && dead_letter_topic !== "") throw new SettingsError("max_attempts", "dead_letter_topic needs it");
    return new ChannelSettings(order, parseFilter(filter), max_attempts, dead_letter_topic, ChannelLimits.fromJson(json as LimitsJson));
  }

  /** @throws SettingsError if no toJson() can have made the text */
  static decode(text: string): ChannelSettings {
    try {
      return ChannelSettings.fromJson(JSON.parse(text));
    } catch (error) {
      if (error instanceof SyntaxError) throw new SettingsError("settings", error.message);
      throw error;
    }
  }

  /** Changes these settings, which are of a channel of a topic. @throws SettingsError if they cannot be used there */
  changedIn(topicName: string, changes: SettingsJson): ChannelSettings {
    const settings = this.with(changes);
    if (settings.deadLetterTopic === topicName) throw new SettingsError("dead_letter_topic", "it must be another topic");
    return settings;
  }

  /** These settings with some changed. @throws SettingsError */
  with(changes: SettingsJson): ChannelSettings {
    return ChannelSettings.fromJson({ ...this.toJson(), ...changes });
  }

  /** What differs from the default. */
  toJson(): SettingsJson {
    const json: SettingsJson = {};
    if (this.order !== "none") json.order = this.order;
    if (this.filter !== undefined) json.filter = this.filter.toJson();
    if (this.maxAttempts > 0) {
      json.max_attempts = this.maxAttempts;
      json.dead_letter_topic = this.deadLetterTopic;
    }
    return { ...json, ...this.limits.toJson() };
  }

  encode(): string {
    return JSON.stringify(this.toJson());
  }

  get isDefault(): boolean {
    return this.encode() === "{}";
  }

  /** Whether the channel has to choose its messages. */
  get isSelective(): boolean {
    return this.order !== "none" || this.admission !== undefined || this.maxAttempts > 0;
  }
}

function withoutZanTest(filter: HeaderFilter | undefined): Admission {
  if (filter === undefined) return HeaderFilter.NO_ZAN_TEST;
  return { takes: (record, at) => HeaderFilter.NO_ZAN_TEST.takes(record, at) && filter.takes(record, at) };
}

function parseFilter(json: unknown): HeaderFilter | undefined {
  if (json === undefined || json === null) return undefined;
  try {
    return HeaderFilter.fromJson(json);
  } catch (error) {
    if (error instanceof FilterError) throw new SettingsError("filter", error.message);
    throw error;
  }
}
