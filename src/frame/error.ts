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

/** Whether an error is the answer to a PUB, MPUB or DPUB: nsqd's texts name the command. */
export function isAboutPublish({ code, text }: ProtocolError): boolean {
  return /\b[DM]?PUB\b/.test(`${code} ${text}`);
}
