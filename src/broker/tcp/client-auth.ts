import { goQuote } from "../../base/go/quote.ts";
import { fatal, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import { encodeJson } from "../../http/server/reply.ts";
import type { Authority } from "../auth/authority.ts";
import type { Permissions } from "../auth/permissions.ts";
import { type CommandResult, WAIT } from "./commands/command.ts";
import type { Connection } from "./connection.ts";

/**
 * What one client has shown itself to be by AUTH, on a broker with auth servers.
 *
 * A check that has to ask a server answers WAIT: the connection puts the command off, with all that comes behind it,
 * and runs it again once the answer is there. Nobody else waits.
 */
export class ClientAuth {
  private permissions: Permissions | undefined;
  private expiresMs = 0;
  private secret: Buffer = Buffer.alloc(0);
  private asking: AbortController | undefined;
  /** How the question that a command waits for was answered. */
  private answer: Permissions | Error | undefined;
  /** The name that it may publish to without further questions, while the permissions last. */
  private publishes: Buffer | undefined;

  constructor(
    private readonly authority: Authority,
    private readonly client: Connection,
  ) {}

  get authed(): boolean {
    return this.permissions !== undefined && this.permissions.count > 0;
  }

  get identity(): string {
    return this.permissions?.identity ?? "";
  }

  get identityUrl(): string {
    return this.permissions?.identityUrl ?? "";
  }

  /** AUTH with a secret: asks who that is, and answers. @param bytes valid until this returns */
  authenticate(bytes: Buffer): CommandResult {
    const answer = this.takeAnswer();
    if (answer === undefined) {
      if (this.authed) return fatal("E_INVALID", "AUTH already set");
      this.secret = Buffer.from(bytes);
      return this.ask();
    }
    if (answer instanceof Error) return this.failed(answer);
    if (answer.count === 0) return fatal("E_UNAUTHORIZED", "AUTH no authorizations found");
    const { identity, identityUrl, count } = answer;
    const said = encodeJson({ identity, identity_url: identityUrl, permission_count: count });
    this.client.respond(encodeFrame(FRAME_TYPE_RESPONSE, said));
    return undefined;
  }

  /** Whether it may publish to a topic. @param name the same buffer for the same topic costs next to nothing */
  checkPublish(command: string, name: Buffer): CommandResult {
    if (this.publishes === name && this.client.broker.steadyMs < this.expiresMs) return undefined;
    const refusal = this.check(command, name.toString("latin1"), "");
    if (refusal === undefined) this.publishes = name;
    return refusal;
  }

  /** Whether it may do what a command asks for, in nsqd's order (protocol_v2.go, CheckAuth). @param channel empty for publishing */
  check(command: string, topic: string, channel: string): CommandResult {
    const answer = this.takeAnswer();
    if (answer === undefined) {
      if (!this.authed) return fatal("E_AUTH_FIRST", `AUTH required before ${command}`);
      if (this.client.broker.steadyMs >= this.expiresMs) return this.ask();
    } else if (answer instanceof Error) {
      return this.failed(answer);
    }
    if (this.permissions?.allows(topic, channel) === true) return undefined;
    return fatal("E_UNAUTHORIZED", `AUTH failed for ${command} on ${goQuote(topic)} ${goQuote(channel)}`);
  }

  /** The client is gone. */
  close(): void {
    this.asking?.abort();
    this.asking = undefined;
  }

  private ask(): typeof WAIT {
    const asking = new AbortController();
    this.asking = asking;
    const answered = (answer: Permissions | Error): void => {
      if (this.asking !== asking) return;
      this.asking = undefined;
      this.answer = answer;
      if (!(answer instanceof Error)) {
        this.permissions = answer;
        this.publishes = undefined;
        // From now, not from when the server was asked, as in nsqd.
        this.expiresMs = performance.now() + answer.ttlS * 1000;
      }
      this.client.broker.listener.guard(this.client, (client) => client.goOn());
    };
    this.authority.ask({ ...this.client.facts, secret: this.secret }, asking.signal).then(answered, answered);
    return WAIT;
  }

  private takeAnswer(): Permissions | Error | undefined {
    const { answer } = this;
    this.answer = undefined;
    return answer;
  }

  /** Why goes into the log only: it is no business of a client that nobody vouches for. */
  private failed(error: Error): ProtocolError {
    this.client.broker.log.warn(`PROTOCOL(V2): [${this.client.remoteAddress}] AUTH failed ${error.message}`);
    return fatal("E_AUTH_FAILED", "AUTH failed");
  }
}
