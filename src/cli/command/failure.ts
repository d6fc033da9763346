import { type ClientError, HttpError } from "../../client/bun.ts";

/** What a failed call means, and what to do, in a line or two. */
export function explainFailure(error: ClientError): string {
  const { code, broker = "the broker", message } = error;
  const hint = hintFor(error);
  if (hint !== undefined) return `${message}\n${hint}`;
  if (code === "CONNECT_FAILED" && /^[A-Z]+ \//.test(error.command ?? "")) {
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

const TLS_HINT = "--tls-root-ca-file takes the authorities that sign brokers' certificates, --tls-cert and --tls-key the own certificate";

/** Which flag is missing for TLS or AUTH. */
function hintFor({ code, command, broker = "", text, cause }: ClientError): string | undefined {
  if (code === "E_AUTH_FIRST") return "--auth-secret or BUNSQ_AUTH_SECRET takes the secret";
  if (code === "E_INVALID" && text.includes("TLS required")) return "--tls encrypts the connection";
  if (code === "TLS_REQUIRED") return "--broker=https://HOST:4152 connects to its HTTPS listener";
  if (code === "TLS_FAILED" || (code === "E_IDENTIFY_FAILED" && command === "TLS")) return TLS_HINT;
  const isCertificate = cause instanceof Error && /certificate|TLS|SSL/i.test(`${cause.message} ${(cause as NodeJS.ErrnoException).code}`);
  return code === "CONNECT_FAILED" && broker.startsWith("https:") && isCertificate ? TLS_HINT : undefined;
}
