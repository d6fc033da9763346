import { Call, type Incoming } from "../http/server/call.ts";
import { Refusal } from "../http/server/reply.ts";
import type { Admin } from "./admin.ts";
import type { Actor } from "./audit/audit.ts";
import type { Permission } from "./routes.ts";

/** A request to the console that is being answered. */
export class AdminCall extends Call {
  constructor(
    readonly admin: Admin,
    incoming: Incoming,
  ) {
    super(incoming);
  }

  /** Who sends the request, as a proxy in front says in --acl-http-header, else the name of its basic authentication; empty: nobody says. */
  get user(): string {
    return this.aclUser || this.basicUser;
  }

  /** Whether the request may change something. */
  get mayChange(): boolean {
    const { adminUsers } = this.admin.options;
    return adminUsers.length === 0 || adminUsers.includes(this.aclUser);
  }

  /** Who sends the request, for the audit log. */
  get actor(): Actor {
    const { headers, url: asked } = this.request;
    // With a Host that is no name it is not a URL.
    const url = headers.get("x-scheme") === "https" ? asked.replace(/^http:/, "https:") : asked;
    const userAgent = headers.get("user-agent") ?? "";
    return { user: this.user, address: this.clientAddress ?? "", userAgent, url };
  }

  /**
   * Refuses the request if its user may not do something. For what only the request's body tells; else the route table says it.
   *
   * @param topic undefined: it is about all topics
   * @throws Refusal 403 FORBIDDEN
   */
  require(level: Permission["level"], _topic: string | undefined): void {
    if (level !== "view" && !this.mayChange) throw new Refusal(403, "FORBIDDEN");
  }

  /** The path of a page's file, without --base-path. Only for the handler of these files. */
  get assetPath(): string {
    const { basePath } = this.admin.options;
    return basePath === "/" ? this.parameter : this.parameter.slice(basePath.length) || "/";
  }

  private get aclUser(): string {
    const { aclHttpHeader } = this.admin.options;
    return aclHttpHeader === "" ? "" : (this.request.headers.get(aclHttpHeader) ?? "");
  }

  private get basicUser(): string {
    const [, account] = /^Basic (\S+)$/.exec(this.request.headers.get("authorization") ?? "") ?? [];
    const [name, ...rest] = account === undefined ? [] : Buffer.from(account, "base64").toString().split(":");
    return rest.length === 0 ? "" : (name ?? "");
  }
}
