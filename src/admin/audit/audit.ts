import { hostname } from "node:os";
import type { Logger } from "../../base/logger.ts";
import type { Activity } from "../console-api.ts";
import type { Notifications } from "../notify/notifications.ts";
import { fieldsOf, flagOf, numberOf, textOf } from "../upstream/fields.ts";
import type { AuditFile } from "./audit-file.ts";

/** Activities that are kept in memory. */
const KEPT = 1000;
/** Names and texts are cut: who sends a request chooses some of them. */
const MAX_NAME = 256;
const MAX_DETAIL = 1024;

/** Who does something, by which request. */
export interface Actor {
  user: string;
  /** `host:port` */
  address: string;
  userAgent: string;
  url: string;
}

/** What was done, or was tried. */
export interface Deed {
  /** As in nsqadmin's notifications: `pause_topic`, `delete_channel`. */
  action: string;
  topic?: string;
  channel?: string;
  /** The broker that it is about, if it is about one. */
  node?: string;
  /** How it went, by server. An empty name: at all servers that had to do it. */
  results: readonly { server: string; ok: boolean; message: string }[];
}

export interface AuditParts {
  readonly logger: Pick<Logger, "error">;
  /** Undefined without --audit-log. */
  readonly file: AuditFile | undefined;
  /** Undefined without --notification-http-endpoint. */
  readonly notifications: Notifications | undefined;
  /** ms since 1970. For tests. */
  readonly now?: () => number;
}

/**
 * What operators have done: in the audit log, for the page, and for --notification-http-endpoint. Nothing that fails here stops an
 * action.
 */
export class Audit {
  private readonly kept: Activity[];
  private readonly listeners = new Set<(activity: Activity) => void>();

  constructor(private readonly parts: AuditParts) {
    const lines = parts.file?.lastLines(KEPT) ?? [];
    this.kept = lines.flatMap((line) => activityIn(line) ?? []);
  }

  /** Notes an action, one line for each server. The endpoint is told once, if anything was done. */
  record(actor: Actor, deed: Deed): void {
    const time = (this.parts.now ?? Date.now)();
    const { action, topic = "", channel = "", node, results } = deed;
    for (const { server, ok, message } of results) {
      this.add({
        time,
        user: actor.user.slice(0, MAX_NAME),
        from: actor.address,
        action,
        topic: topic.slice(0, MAX_NAME),
        channel: channel.slice(0, MAX_NAME),
        server: server.slice(0, MAX_NAME),
        ok,
        detail: message.slice(0, MAX_DETAIL),
      });
    }
    if (!results.some(({ ok }) => ok)) return;
    this.parts.notifications?.add({
      action,
      topic,
      ...(channel === "" ? {} : { channel }),
      ...(node === undefined ? {} : { node }),
      timestamp: Math.floor(time / 1000),
      ...(actor.user === "" ? {} : { user: actor.user }),
      remote_ip: actor.address,
      user_agent: actor.userAgent,
      url: actor.url,
      via: hostname(),
    });
  }

  /** The last activities that fit, the newest first. */
  recent(limit: number, fits: (activity: Activity) => boolean = () => true): Activity[] {
    return this.kept.filter(fits).slice(-limit).reverse();
  }

  /** Has a listener called with each activity. @returns ends that */
  subscribe(listener: (activity: Activity) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Resolves when what waits is written, or cannot be. */
  async close(): Promise<void> {
    await this.parts.file?.close();
  }

  private add(activity: Activity): void {
    this.kept.push(activity);
    if (this.kept.length > KEPT) this.kept.shift();
    this.parts.file?.append(JSON.stringify(activity));
    for (const listener of this.listeners) {
      try {
        listener(activity);
      } catch (error) {
        this.parts.logger.error(`ACTIVITY: a listener failed - ${(error as Error).stack}`);
      }
    }
  }
}

/** A line of an audit log; undefined for one that is damaged or something else. */
function activityIn(line: string): Activity | undefined {
  let fields: ReturnType<typeof fieldsOf>;
  try {
    fields = fieldsOf(JSON.parse(line));
  } catch {
    return undefined;
  }
  const text = (name: string) => textOf(fields, name);
  if (text("action") === "") return undefined;
  return {
    time: numberOf(fields, "time"),
    user: text("user"),
    from: text("from"),
    action: text("action"),
    topic: text("topic"),
    channel: text("channel"),
    server: text("server"),
    ok: flagOf(fields, "ok"),
    detail: text("detail"),
  };
}
