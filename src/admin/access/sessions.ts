import type { Clock } from "../../base/clock.ts";
import type { Principal } from "./principal.ts";

const ID_BYTES = 32;
const ID = /^[A-Za-z0-9_-]{43}$/;
/** Beyond these the session that was not used for the longest time ends. */
const MOST_SESSIONS = 10_000;
const MOST_OF_ONE_USER = 32;

/** One login. */
export interface Session {
  readonly principal: Principal;
  readonly beganMs: number;
  usedMs: number;
}

/** What the sessions are bound by, of the access file as it is now. */
export interface SessionRules {
  readonly sessions: { readonly idleMs: number; readonly absoluteMs: number };
  has(principal: Principal): boolean;
}

/** Who is logged in, in memory: a restart logs everybody out. */
export class Sessions {
  /** By SHA-256 of the id, in the order of their last use: the time of a search says nothing of an id. */
  private readonly sessions = new Map<string, Session>();

  constructor(
    private readonly rules: () => SessionRules,
    private readonly clock: Pick<Clock, "steadyMs">,
  ) {}

  get count(): number {
    return this.sessions.size;
  }

  /** Begins a session. @returns its id, 256 random bits */
  begin(principal: Principal): string {
    this.sweep();
    const ofUser = [...this.sessions].filter(([, session]) => session.principal === principal).map(([key]) => key);
    for (const key of ofUser.slice(0, ofUser.length - MOST_OF_ONE_USER + 1))
      if (ofUser.length >= MOST_OF_ONE_USER) this.sessions.delete(key);
    const [oldest] = this.sessions.keys();
    if (oldest !== undefined && this.sessions.size >= MOST_SESSIONS) this.sessions.delete(oldest);
    const id = Buffer.from(crypto.getRandomValues(new Uint8Array(ID_BYTES))).toString("base64url");
    const nowMs = this.clock.steadyMs();
    this.sessions.set(keyOf(id), { principal, beganMs: nowMs, usedMs: nowMs });
    return id;
  }

  /** The session with an id, which is used now. @param id as a client sent it */
  use(id: string): Session | undefined {
    if (!ID.test(id)) return undefined;
    const key = keyOf(id);
    const session = this.sessions.get(key);
    if (session === undefined) return undefined;
    this.sessions.delete(key);
    if (!this.isAlive(session)) return undefined;
    session.usedMs = this.clock.steadyMs();
    this.sessions.set(key, session);
    return session;
  }

  /** Ends the session with an id, if there is one. */
  end(id: string): void {
    if (!ID.test(id)) return;
    const key = keyOf(id);
    const session = this.sessions.get(key);
    // Whoever still has it, as a stream, sees that it is over.
    if (session !== undefined) session.usedMs = Number.NEGATIVE_INFINITY;
    this.sessions.delete(key);
  }

  /** Whether a session has neither ended nor expired, and its user is as when it began. */
  isAlive({ principal, beganMs, usedMs }: Session): boolean {
    const { sessions } = this.rules();
    const nowMs = this.clock.steadyMs();
    return this.rules().has(principal) && nowMs - usedMs < sessions.idleMs && nowMs - beganMs < sessions.absoluteMs;
  }

  /** Removes those that are over. */
  sweep(): void {
    for (const [key, session] of this.sessions) if (!this.isAlive(session)) this.sessions.delete(key);
  }
}

function keyOf(id: string): string {
  return new Bun.CryptoHasher("sha256").update(id).digest("hex");
}
