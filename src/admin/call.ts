import { Call, type Incoming } from "../http/server/call.ts";
import type { Admin } from "./admin.ts";

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
