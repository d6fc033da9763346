/**
 * What a command can answer instead of a response: an error frame, `CODE text`. After a fatal one the
 * broker closes the connection, as nsqd does (internal/protocol/errors.go).
 */
export interface ProtocolError {
  readonly code: string;
  /** May quote what the client sent, byte for byte: latin1, one character a byte. */
  readonly text: string;
  readonly fatal: boolean;
}

export function fatal(code: string, text: string): ProtocolError {
  return { code, text, fatal: true };
}

export function nonFatal(code: string, text: string): ProtocolError {
  return { code, text, fatal: false };
}
