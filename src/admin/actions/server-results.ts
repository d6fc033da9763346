import type { ActionResult } from "../console-api.ts";
import { UpstreamError } from "../upstream/upstream.ts";

export type ServerResult = ActionResult["results"][number];

/** What a server answered, and how it took the action. */
export interface Outcome<Answer = unknown> extends ServerResult {
  /** The server does not have what the action is about. */
  isMissing: boolean;
  answer: Answer | undefined;
}

/** The program of a server, as `nsqd 1.3.0`; empty if it is not known. */
export type ProductOf = (server: string) => string;

/** Asks servers at the same time to do something. A server that does not know the call is told apart from one that has failed. */
export function atEach<Answer>(
  servers: readonly string[],
  productOf: ProductOf,
  ask: (server: string) => Promise<Answer>,
): Promise<Outcome<Answer>[]> {
  return Promise.all(
    servers.map(async (server) => {
      try {
        return { server, ok: true, message: "", isMissing: false, answer: await ask(server) };
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error;
        if (isUnknownCall(error.status, error.code)) return unsupportedAt(server, productOf);
        return { ...failedAt(error), isMissing: isMissing(error), answer: undefined };
      }
    }),
  );
}

/** A server does not know the action. */
export function unsupportedAt(server: string, productOf: ProductOf): Outcome<never> {
  const message = `not supported by ${productOf(server) || "this server"}`;
  return { server, ok: false, message, unsupported: true, isMissing: false, answer: undefined };
}

export function failedAt(error: UpstreamError): ServerResult {
  return { server: error.server, ok: false, message: reasonOf(error) };
}

/** Why a server did not do something, for people: the code if it has one. */
export function reasonOf({ status, code, why }: UpstreamError): string {
  if (isUnknownCall(status, code)) return "this server cannot do that: it does not know the call, as Go's nsqd";
  return code ?? why;
}

/** Whether a server does not know a call, as Go's nsqd those that are bunsq's own. */
export function isUnknownCall(status: number | undefined, code: string | undefined): boolean {
  return status === 405 || (status === 404 && (code === undefined || code === "NOT_FOUND"));
}

function isMissing({ status, code }: UpstreamError): boolean {
  return status === 404 && (code === "TOPIC_NOT_FOUND" || code === "CHANNEL_NOT_FOUND");
}
