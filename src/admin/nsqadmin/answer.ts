import { Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import { AllFailed, type Found } from "../upstream/gather.ts";
import type { UpstreamError } from "../upstream/upstream.ts";

/** Collects what went wrong at some servers, for the answer of a call that others have carried out. */
export class Warnings {
  private readonly texts: string[] = [];

  constructor(private readonly call: AdminCall) {}

  /** Notes what failed. @returns what was found */
  of<Value>({ value, failures }: Found<Value>): Value {
    this.add(failures);
    return value;
  }

  add(failures: readonly UpstreamError[]): void {
    if (failures.length === 0) return;
    const text = failures.map(({ message }) => message).join("\n");
    this.call.admin.logger.warn(text);
    this.texts.push(text);
  }

  /** The member `message` of an answer: empty if nothing went wrong. */
  get message(): string {
    return this.texts.length === 0 ? "" : `WARNING: ${this.texts.join("; ")}`;
  }
}

/** The result of asking servers for something. @param what for the log: `get topics` @throws Refusal 502 if no server has answered */
export async function orRefuse<Value>(call: AdminCall, what: string, asked: Promise<Value>): Promise<Value> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof AllFailed)) throw error;
    call.admin.logger.error(`failed to ${what} - ${error.message}`);
    throw new Refusal(502, `UPSTREAM_ERROR: ${error.message}`);
  }
}
