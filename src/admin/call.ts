import { Call, type Incoming } from "../http/server/call.ts";
import type { Grants } from "./access/grants.ts";
import type { Identity } from "./access/identity.ts";
import type { Admin } from "./admin.ts";
import type { Actor } from "./audit/audit.ts";

/** A request to the console that is being answered. */
export class AdminCall extends Call {
  private known: Identity | undefined;

  /** @param isSecure whether it came by TLS */
  constructor(
    readonly admin: Admin,
    incoming: Incoming,
    readonly isSecure = false,
  ) {
    super(incoming);
  }

  /** The address of the client; behind a trusted proxy, the one that the proxy names, which may lack the port. */
  override get clientAddress(): string | undefined {
    return this.admin.proxies.clientOf(super.clientAddress, this.request.headers);
  }

  /** Whether its client has come by TLS, to this server or to a trusted proxy. */
  get isHttps(): boolean {
    return this.isSecure || this.admin.proxies.saysHttps(super.clientAddress, this.request.headers);
  }

  /** Whether headers are believed in which a proxy says who sends the request: of all, unless the proxies are named. */
  get hasProxyHeaders(): boolean {
    return this.admin.proxies.isEmpty || this.admin.proxies.includes(super.clientAddress);
  }

  /** Who sends the request. It is known once the guard has let the request through, so public calls have none. */
  get identity(): Identity {
    if (this.known === undefined) throw new Error("a public call asks who sent it");
    return this.known;
  }

  set identity(identity: Identity) {
    this.known = identity;
  }

  /** The name of who sends the request; empty: nobody says. */
  get user(): string {
    return this.identity.user;
  }

  /** Who sends the request, for the audit log. */
  get actor(): Actor {
    const { headers, url: asked } = this.request;
    // With a Host that is no name it is not a URL.
    // X-Scheme is nsqadmin's.
    const isHttps = this.isHttps || (this.hasProxyHeaders && headers.get("x-scheme") === "https");
    const url = isHttps ? asked.replace(/^http:/, "https:") : asked;
    const userAgent = headers.get("user-agent") ?? "";
    return { user: this.user, address: this.clientAddress ?? "", userAgent, url };
  }

  /** Whether the answer may show a topic. */
  maySee(topic: string): boolean {
    return this.sight.maySee(topic);
  }

  /** Which topics the answer may show. */
  get sight(): Grants {
    return this.identity.grants;
  }

  /** The path of a page's file, without --base-path. Only for the handler of these files. */
  get assetPath(): string {
    const { basePath } = this.admin.options;
    return basePath === "/" ? this.parameter : this.parameter.slice(basePath.length) || "/";
  }
}
