/**
 * A command's error, sent as an error frame, `CODE text`. After a fatal error the broker closes the connection, as nsqd does
 * (internal/protocol/errors.go).
 */
export interface ProtocolError {
  readonly code: string;
  /** One character per byte (latin1), because it may quote the client's bytes. */
  readonly text: string;
  readonly fatal: boolean;
}

export function fatal(code: string, text: string): ProtocolError {
  return { code, text, fatal: true };
}

export function nonFatal(code: string, text: string): ProtocolError {
  return { code, text, fatal: false };
}

/**
 * Whether an error is the answer to a publish: nsqd's texts name the command, and some of Youzan's codes are of nothing else. SUB is
 * answered E_FAILED_ON_NOT_LEADER, too, but as a fatal error.
 */
export function isAboutPublish({ code, text, fatal }: ProtocolError): boolean {
  if (code === "E_FAILED_ON_NOT_LEADER") return !fatal;
  return /\b[DM]?PUB\b|^(E_EXT_NOT_SUPPORT|E_INVALID_JSON_HEADER|INVALID_TRACE_ID|E_FAILED_ON_NOT_WRITABLE)$/m.test(`${code}\n${text}`);
}
