import { type ClientError, HttpError } from "../../client/bun.ts";

/** What a failed call means, and what to do, in a line or two. */
export function explainFailure(error: ClientError): string {
  const { code, broker = "the broker", message } = error;
  if (code === "CONNECT_FAILED") {
    const reason = error.cause instanceof Error ? ` (${error.cause.message})` : "";
    return `cannot reach ${broker} over HTTP${reason}\nis it running there? --broker and --lookup, or BUNSQ_BROKER and BUNSQ_LOOKUP, say where to connect to`;
  }
  if (code === "LOOKUP_FAILED") {
    return `cannot ask the lookup server ${broker}: ${message}\n--lookup or BUNSQ_LOOKUP takes the address of its HTTP listener, by default port 4161`;
  }
  if (code === "PROTOCOL") return `${message}\nis this the HTTP listener of a broker? --broker takes its address, by default port 4151`;
  if (error instanceof HttpError && error.code === "NOT_FOUND")
    return `${message}: ${broker} does not have this call, which is bunsq's own`;
  return message;
}
