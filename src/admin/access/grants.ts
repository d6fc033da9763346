import type { Sight } from "../watch/sight.ts";
import type { Level } from "./permission.ts";

export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

const LEVEL_OF: Record<Role, Level> = { viewer: "view", operator: "operate", admin: "administer" };
const RANKS: Record<Level, number> = { view: 1, operate: 2, administer: 3 };
/** The pattern of all topics. */
const ALL = "*";

interface Grant {
  pattern: string;
  glob: Bun.Glob;
  rank: number;
}

/** A user's roles by patterns of topics' names. Of several that match, the highest counts. */
export class Grants implements Sight {
  private readonly grants: readonly Grant[];

  /** Equal for users who may do the same. */
  readonly key: string;

  constructor(readonly roles: Readonly<Record<string, Role>>) {
    this.key = JSON.stringify(Object.entries(roles).sort());
    this.grants = Object.entries(roles)
      .map(([pattern, role]) => ({ pattern, glob: new Bun.Glob(pattern), rank: RANKS[LEVEL_OF[role]] }))
      .sort((a, b) => b.rank - a.rank);
  }

  /** @param topic undefined: all topics */
  may(level: Level, topic: string | undefined): boolean {
    return this.grants.some(({ pattern, glob, rank }) => {
      return rank >= RANKS[level] && (pattern === ALL || (topic !== undefined && glob.match(topic)));
    });
  }

  get seesAll(): boolean {
    return this.may("view", undefined);
  }

  maySee(topic: string): boolean {
    return this.may("view", topic);
  }

  /** Whether there may be a topic for which it holds. */
  maySomewhere(level: Level): boolean {
    return this.grants.some(({ rank }) => rank >= RANKS[level]);
  }
}
