import { nsToMs, parseDuration } from "../../base/go/duration.ts";
import { Grants, ROLES, type Role } from "./grants.ts";
import { isSame, type Principal } from "./principal.ts";

// The access file, in TOML:
//
//   [sessions]                       optional
//   idle = "1h"                      a session ends when it was not used for this long
//   absolute = "12h"                 and this long after the login, in any case
//
//   [users.anna]                     logs in by name and password
//   password = "$argon2id$…"         made by `bunsq access password`
//   roles = { "*" = "viewer", "orders.*" = "operator" }
//
//   [tokens.deploy]                  Authorization: Bearer …
//   sha256 = "…"                     made by `bunsq access token`
//   roles = { "*" = "operator" }
//
//   [header_users.bob]               a name in --acl-http-header; "*" is any other name
//   roles = { "*" = "admin" }

/** The access file cannot be used. */
class AccessFileError extends Error {}

/** Bun's parser takes quadratic time in the number of keys. */
const MOST_FILE_BYTES = 64 * 1024;
const MOST_NAME_LENGTH = 128;
const MOST_PATTERNS = 64;
const SECTIONS = ["sessions", "users", "tokens", "header_users"];
/** Letters of topics' names, and what stands for some of them. */
const PATTERN = /^[.a-zA-Z0-9_*?-]{1,64}(#ephemeral)?$/;
const ARGON2ID = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{16,88}$/;
/** Checking a password must not take the memory or the time of the whole process. */
const MOST_MEMORY_KIB = 256 * 1024;
const MOST_PASSES = 20;
const SHA256 = /^[0-9a-f]{64}$/;
const HOUR_MS = 3_600_000;
const DEFAULT_SESSIONS = { idleMs: HOUR_MS, absoluteMs: 12 * HOUR_MS };
const ANY_NAME = "*";

type Table = Record<string, unknown>;

/** An access file that was read. */
export class AccessRules {
  readonly users = new Map<string, Principal>();
  /** By SHA-256, so that the time of a search says nothing of a token. */
  readonly tokens = new Map<string, Principal>();
  private readonly headerUsers = new Map<string, Principal>();
  private readonly all = new Set<Principal>();
  sessions = DEFAULT_SESSIONS;
  /** The roles that there are, each set of them once, in the order of the file. */
  readonly sights: readonly Grants[];

  /**
   * Reads an access file.
   *
   * @param before the rules until now. Who is the same in both stays the same object, by which a session knows that it goes on
   * @throws AccessFileError
   */
  static parse(text: string, before?: AccessRules): AccessRules {
    if (text.length > MOST_FILE_BYTES) throw new AccessFileError(`the file is longer than ${MOST_FILE_BYTES} bytes`);
    let content: unknown;
    try {
      content = Bun.TOML.parse(text);
    } catch (error) {
      throw new AccessFileError((error as Error).message);
    }
    return new AccessRules(tableOf("the file", content, SECTIONS), before);
  }

  private constructor(content: Table, before: AccessRules | undefined) {
    for (const [name, entry] of entriesOf(content, "users", ["password", "roles"])) {
      this.users.set(name, this.add({ kind: "user", name, ...rolesOf(entry), secretHash: passwordOf(entry) }, before?.users.get(name)));
    }
    for (const [name, entry] of entriesOf(content, "tokens", ["sha256", "roles"])) {
      const { sha256 } = entry.table;
      if (typeof sha256 !== "string" || !SHA256.test(sha256)) throw entry.wrong("sha256 must be 64 hexadecimal digits in lower case");
      if (this.tokens.has(sha256)) throw entry.wrong("another token has the same sha256");
      const old = before?.tokens.get(sha256);
      this.tokens.set(
        sha256,
        this.add({ kind: "token", name, ...rolesOf(entry), secretHash: sha256 }, old?.name === name ? old : undefined),
      );
    }
    for (const [name, entry] of entriesOf(content, "header_users", ["roles"])) {
      const principal = this.add({ kind: "header", name, ...rolesOf(entry), secretHash: "" }, before?.headerUsers.get(name));
      this.headerUsers.set(name, principal);
    }
    this.sights = [...new Map([...this.all].map(({ grants }) => [grants.key, grants])).values()];
    if (content.sessions !== undefined) this.sessions = sessionsOf(content.sessions);
  }

  private add(principal: Principal, before: Principal | undefined): Principal {
    const known = before !== undefined && isSame(before, principal) ? before : principal;
    this.all.add(known);
    return known;
  }

  /** Whether the file still says this. */
  has(principal: Principal): boolean {
    return this.all.has(principal);
  }

  /** @param name in the proxy's header */
  headerUser(name: string): Principal | undefined {
    if (name === "" || name.length > MOST_NAME_LENGTH) return undefined;
    return this.headerUsers.get(name) ?? this.headerUsers.get(ANY_NAME);
  }
}

interface Entry {
  table: Table;
  wrong(why: string): AccessFileError;
}

function entriesOf(content: Table, section: string, keys: readonly string[]): [name: string, entry: Entry][] {
  const table = tableOf(section, content[section] ?? {});
  return Object.entries(table).map(([name, value]) => {
    const where = `${section}.${name}`;
    if (name === "" || name.length > MOST_NAME_LENGTH || /[:\p{Cc}]/u.test(name)) {
      throw new AccessFileError(`${where}: a name has 1 to ${MOST_NAME_LENGTH} characters, no colon and no control character`);
    }
    return [name, { table: tableOf(where, value, keys), wrong: (why) => new AccessFileError(`${where}: ${why}`) }];
  });
}

/** @param keys all that it may have; undefined: any */
function tableOf(where: string, value: unknown, keys?: readonly string[]): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new AccessFileError(`${where} must be a table`);
  const unknown = keys === undefined ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new AccessFileError(`${where}: unknown key ${unknown}; there are ${keys?.join(", ")}`);
  return value as Table;
}

function rolesOf({ table, wrong }: Entry): { grants: Grants } {
  const { roles } = table;
  if (typeof roles !== "object" || roles === null || Array.isArray(roles))
    throw wrong('roles are missing, as in roles = { "*" = "viewer" }');
  const entries = Object.entries(roles);
  if (entries.length > MOST_PATTERNS) throw wrong(`there are more than ${MOST_PATTERNS} patterns`);
  for (const [pattern, role] of entries) {
    if (!PATTERN.test(pattern)) throw wrong(`${pattern} is no pattern of topics: letters of their names, * for any and ? for one`);
    if (!ROLES.includes(role)) throw wrong(`the role of ${pattern} must be one of ${ROLES.join(", ")}`);
  }
  return { grants: new Grants(roles as Record<string, Role>) };
}

function passwordOf({ table, wrong }: Entry): string {
  const { password } = table;
  const [, memory, passes, lanes] = (typeof password === "string" && ARGON2ID.exec(password)) || [];
  if (memory === undefined) throw wrong("password must be a hash that `bunsq access password` has made, as $argon2id$v=19$m=…");
  const isCheap = Number(memory) <= MOST_MEMORY_KIB && Number(passes) <= MOST_PASSES;
  if (!isCheap || Number(passes) === 0 || Number(lanes) === 0) {
    throw wrong(`the password's hash must have m up to ${MOST_MEMORY_KIB}, and t from 1 to ${MOST_PASSES}`);
  }
  return password as string;
}

function sessionsOf(value: unknown): { idleMs: number; absoluteMs: number } {
  const table = tableOf("sessions", value, ["idle", "absolute"]);
  const timeOf = (key: "idle" | "absolute", fallback: number) => {
    const text = table[key];
    if (text === undefined) return fallback;
    const ns = typeof text === "string" ? parseDuration(text) : undefined;
    if (ns === undefined || ns <= 0n) throw new AccessFileError(`sessions.${key} must be a duration, as "30m" or "12h"`);
    return nsToMs(ns);
  };
  return { idleMs: timeOf("idle", DEFAULT_SESSIONS.idleMs), absoluteMs: timeOf("absolute", DEFAULT_SESSIONS.absoluteMs) };
}
