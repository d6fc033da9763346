import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import type { AdminOptions } from "../options.ts";
import { AccessRules } from "./access-rules.ts";
import { AttemptLimit } from "./attempt-limit.ts";
import { addressOf, basicAccount, bearerToken, sessionIdOf, sha256 } from "./credentials.ts";
import { Grants } from "./grants.ts";
import type { Identity } from "./identity.ts";
import { isPassword } from "./passwords.ts";
import type { Principal } from "./principal.ts";
import { Sessions } from "./sessions.ts";

const EVERYTHING = new Grants({ "*": "admin" });
const LOOKING = new Grants({ "*": "viewer" });
/** How often the file is looked at. */
const LOOK_MS = 1_000;
/** How many logins may fail at once, and after which time one more may. */
const ADDRESS_BURST = 10;
const ADDRESS_REFILL_MS = 6_000;
const USER_BURST = 20;
const USER_REFILL_MS = 3_000;
/** A script that sends its password with every request does not pay for argon2 each time. */
const CHECKED_MS = 60_000;
const MOST_CHECKED = 256;

/** Who may do what. Without an access file it is what nsqadmin does: everybody looks, and --admin-user says who may do more. */
export class Access {
  readonly sessions: Sessions;
  private rules: AccessRules | undefined;
  private signature = "";
  private timer: ReturnType<typeof setInterval> | undefined;
  private readonly perAddress: AttemptLimit;
  private readonly perUser: AttemptLimit;
  private readonly checked = new Map<string, { principal: Principal; untilMs: number }>();
  private readonly salt = crypto.randomUUID();

  /**
   * @param file as --access-file names it; empty: none
   * @throws StartError if the file cannot be used
   */
  constructor(
    private readonly file: string,
    private readonly options: Pick<AdminOptions, "aclHttpHeader" | "adminUsers">,
    private readonly logger: Logger,
    private readonly clock: Clock,
  ) {
    this.perAddress = new AttemptLimit(ADDRESS_BURST, ADDRESS_REFILL_MS, clock);
    this.perUser = new AttemptLimit(USER_BURST, USER_REFILL_MS, clock);
    this.sessions = new Sessions(() => this.rules!, clock);
    if (file === "") return;
    try {
      this.signature = signatureOf(file);
      this.rules = AccessRules.parse(readFileSync(file, "utf8"));
    } catch (error) {
      throw new StartError(`failed to load the access file ${file} - ${(error as Error).message}`);
    }
  }

  get hasFile(): boolean {
    return this.rules !== undefined;
  }

  /** What users may see, by the access file; without one everybody sees everything. */
  get sights(): readonly Grants[] {
    return this.rules?.sights ?? [];
  }

  /** Whether a password or a token can be given. */
  get canLogIn(): boolean {
    return this.rules !== undefined && this.rules.users.size + this.rules.tokens.size > 0;
  }

  /** Begins to look whether the file has changed. */
  watch(): void {
    if (this.file === "") return;
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Reads the file again if it has changed. One that cannot be used leaves all as it is. */
  look(): void {
    let signature: string;
    try {
      signature = signatureOf(this.file);
      if (signature === this.signature) return;
      this.rules = AccessRules.parse(readFileSync(this.file, "utf8"), this.rules);
      this.logger.info(`ACCESS: read ${this.file} again`);
    } catch (error) {
      signature = `broken ${(error as Error).message}`;
      if (signature !== this.signature) {
        this.logger.error(`ACCESS: cannot use ${this.file}, what it said before goes on - ${(error as Error).message}`);
      }
    }
    this.signature = signature;
    this.sessions.sweep();
    this.checked.clear();
  }

  /** @returns undefined: the request has to say who sends it, and does not, or not truly; rejects with Refusal 429, 503 */
  identify(call: Pick<AdminCall, "request" | "clientAddress" | "hasProxyHeaders">): Identity | undefined | Promise<Identity | undefined> {
    if (this.rules === undefined) return this.identifyAsNsqadmin(call);
    const { headers } = call.request;
    const token = bearerToken(headers);
    if (token !== undefined) return this.identityOf(this.principalOfToken(token));
    const session = this.sessions.use(sessionIdOf(headers));
    if (session !== undefined) {
      const { principal } = session;
      return { user: principal.name, grants: principal.grants, isCurrent: () => this.sessions.isAlive(session) };
    }
    const named = this.nameInHeader(call);
    const byHeader = this.rules.headerUser(named);
    if (byHeader !== undefined) return this.identityOf(byHeader, named);
    const account = basicAccount(headers);
    if (account === undefined) return undefined;
    return this.checkPassword(account.name, account.password, addressOf(call.clientAddress)).then((principal) =>
      this.identityOf(principal),
    );
  }

  /** Who has a token. */
  principalOfToken(token: string): Principal | undefined {
    return this.rules?.tokens.get(sha256(token));
  }

  /**
   * Checks a user's password.
   *
   * @param address of the client, without port
   * @throws Refusal 429 after too many failures, 503
   */
  async checkPassword(name: string, password: string, address: string): Promise<Principal | undefined> {
    const key = sha256(`${this.salt}\n${name}\n${password}`);
    const known = this.checked.get(key);
    if (known !== undefined && known.untilMs > this.clock.steadyMs()) return known.principal;
    const userKey = sha256(name);
    this.beginAttempt(address);
    if (this.perUser.begin(userKey) > 0) throw new Refusal(429, "TOO_MANY_ATTEMPTS");
    const principal = this.rules?.users.get(name);
    const [decoy] = this.rules?.users.values() ?? [];
    const fits = await isPassword(password, principal?.secretHash, decoy?.secretHash);
    // The file may have changed meanwhile.
    if (!fits || principal === undefined || !this.rules?.has(principal)) return undefined;
    this.perAddress.succeeded(address);
    this.perUser.succeeded(userKey);
    const [oldest] = this.checked.keys();
    if (oldest !== undefined && this.checked.size >= MOST_CHECKED) this.checked.delete(oldest);
    this.checked.set(key, { principal, untilMs: this.clock.steadyMs() + CHECKED_MS });
    return principal;
  }

  /** @throws Refusal 429 */
  beginAttempt(address: string): void {
    if (this.perAddress.begin(address) > 0) throw new Refusal(429, "TOO_MANY_ATTEMPTS");
  }

  /** An attempt with a token has not failed. */
  attemptSucceeded(address: string): void {
    this.perAddress.succeeded(address);
  }

  /** Who sends a request as a proxy in front says; empty: it says nothing, or is not believed. */
  private nameInHeader({ request, hasProxyHeaders }: Pick<AdminCall, "request" | "hasProxyHeaders">): string {
    const { aclHttpHeader } = this.options;
    return aclHttpHeader === "" || !hasProxyHeaders ? "" : (request.headers.get(aclHttpHeader) ?? "");
  }

  private identityOf(principal: Principal | undefined, user = principal?.name ?? ""): Identity | undefined {
    return principal && { user, grants: principal.grants, isCurrent: () => this.rules?.has(principal) === true };
  }

  /** Who sends a request as a proxy in front says in --acl-http-header, else the name of its basic authentication, which proves nothing. */
  private identifyAsNsqadmin(call: Pick<AdminCall, "request" | "hasProxyHeaders">): Identity {
    const { adminUsers } = this.options;
    const { headers } = call.request;
    const named = this.nameInHeader(call);
    const grants = adminUsers.length === 0 || adminUsers.includes(named) ? EVERYTHING : LOOKING;
    return { user: named || (basicAccount(headers)?.name ?? ""), grants, isCurrent: () => true };
  }
}

/** What is different after a file was written or replaced. */
function signatureOf(file: string): string {
  const { ino, size, mtimeMs, ctimeMs } = statSync(file);
  return [ino, size, mtimeMs, ctimeMs].join(" ");
}
