import { encodeJson } from "../../base/go/json.ts";
import { goQuote } from "../../base/go/quote.ts";
import type { Logger, LogSubject } from "../../base/logger.ts";
import { fatal, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import type { Authority } from "../auth/authority.ts";
import type { Permissions } from "../auth/permissions.ts";
import { type CommandResult, WAIT } from "./commands/command.ts";

/** The client that authenticates itself. */
export interface AuthenticatedClient extends LogSubject {
  /** `ip:port` */
  readonly remoteAddress: string;
  /** Its address without the port. */
  readonly remoteIp: string;
  /** Undefined: it does not use TLS. */
  readonly tls: { readonly commonName: string } | undefined;
  respond(frame: Buffer): void;
  /** The answer for which a command waits is there: the command is to be run again. */
  resumeCommand(): void;
}

/** What authentication needs of the broker. */
export interface AuthServices {
  readonly authority: Authority;
  /** The time of this turn by a clock that nobody sets, ms. */
  readonly turn: { readonly steadyMs: number; readClock(): void };
  readonly logger: Logger;
}

/**
 * What one client may do, by the answer to its AUTH, on a broker with auth servers.
 *
 * A check that has to ask a server first returns WAIT: the decoder keeps the command and everything after it, and runs
 * the command again once the answer is there. No other client waits.
 */
export class ClientAuth {
  private permissions: Permissions | undefined;
  private expiresMs = 0;
  private secret: Buffer = Buffer.alloc(0);
  /** Ends the question that is under way. */
  private question: AbortController | undefined;
  /** The answer that the waiting command has not seen yet. */
  private answer: Permissions | Error | undefined;
  /** The name of the topic that the client may publish to without a further check, as long as its permissions last. */
  private publishableName: Buffer | undefined;

  constructor(
    private readonly client: AuthenticatedClient,
    private readonly services: AuthServices,
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

  /** AUTH: asks who has this secret, and responds with the answer. @param secret valid until this returns */
  authenticate(secret: Buffer): CommandResult {
    const answer = this.removeAnswer();
    if (answer === undefined) {
      if (this.authed) return fatal("E_INVALID", "AUTH already set");
      this.secret = Buffer.from(secret);
      return this.ask();
    }
    if (answer instanceof Error) return this.failed(answer);
    if (answer.count === 0) return fatal("E_UNAUTHORIZED", "AUTH no authorizations found");
    const { identity, identityUrl, count } = answer;
    const response = encodeJson({ identity, identity_url: identityUrl, permission_count: count });
    this.client.respond(encodeFrame(FRAME_TYPE_RESPONSE, response));
    return undefined;
  }

  /** Whether the client may publish to a topic. @param name the same buffer again for the same topic costs two comparisons */
  checkPublish(command: string, name: Buffer): CommandResult {
    if (this.publishableName === name && this.services.turn.steadyMs < this.expiresMs) return undefined;
    const refusal = this.check(command, name.toString("latin1"), "");
    if (refusal === undefined) this.publishableName = name;
    return refusal;
  }

  /** Whether the client may do what a command asks for, in nsqd's order (protocol_v2.go, CheckAuth). @param channel empty for a publish */
  check(command: string, topic: string, channel: string): CommandResult {
    const answer = this.removeAnswer();
    if (answer === undefined) {
      if (!this.authed) return fatal("E_AUTH_FIRST", `AUTH required before ${command}`);
      if (this.services.turn.steadyMs >= this.expiresMs) return this.ask();
    } else if (answer instanceof Error) {
      return this.failed(answer);
    }
    if (this.permissions?.allows(topic, channel) === true) return undefined;
    return fatal("E_UNAUTHORIZED", `AUTH failed for ${command} on ${goQuote(topic)} ${goQuote(channel)}`);
  }

  /** The connection is closed: ends a question that is under way. */
  dispose(): void {
    this.question?.abort();
    this.question = undefined;
  }

  private ask(): typeof WAIT {
    const question = new AbortController();
    this.question = question;
    const onAnswer = (answer: Permissions | Error): void => {
      if (this.question !== question) return;
      this.question = undefined;
      this.answer = answer;
      if (!(answer instanceof Error)) {
        this.permissions = answer;
        this.publishableName = undefined;
        // The TTL counts from the answer, not from the question, as in nsqd.
        this.services.turn.readClock();
        this.expiresMs = this.services.turn.steadyMs + answer.ttlS * 1000;
      }
      this.client.resumeCommand();
    };
    const { remoteIp, tls } = this.client;
    const facts = { remoteIp, tls: tls !== undefined, commonName: tls?.commonName ?? "", secret: this.secret };
    this.services.authority.ask(facts, question.signal).then(onAnswer, onAnswer);
    return WAIT;
  }

  private removeAnswer(): Permissions | Error | undefined {
    const { answer } = this;
    this.answer = undefined;
    return answer;
  }

  /** The reason is for the log only: an unauthenticated client does not get it. */
  private failed(error: Error): ProtocolError {
    this.services.logger.warn(`PROTOCOL(V2): [${this.client.remoteAddress}] AUTH failed ${error.message}`, this.client);
    return fatal("E_AUTH_FAILED", "AUTH failed");
  }
}
