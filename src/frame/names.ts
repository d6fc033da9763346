/** The longest topic or channel name, in bytes, `#ephemeral` included. */
export const MAX_NAME_BYTES = 64;

const EPHEMERAL_SUFFIX = "#ephemeral";
const VALID_NAME = /^[.a-zA-Z0-9_-]+(#ephemeral)?$/;

/** Whether a topic or a channel may carry this name (nsqd: internal/protocol/names.go). */
export function isValidName(name: string): boolean {
  return name.length >= 1 && name.length <= MAX_NAME_BYTES && VALID_NAME.test(name);
}

/** Whether a topic or channel of this name is kept in memory only and is deleted with its last consumer. */
export function isEphemeral(name: string): boolean {
  return name.endsWith(EPHEMERAL_SUFFIX);
}
