const ESCAPED = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if (/[0-9A-Za-z._~-]/.test(character)) return character;
  return character === " " ? "+" : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
});

/** Go's url.QueryEscape. */
export function escapeQuery(bytes: Buffer): string {
  let text = "";
  for (const byte of bytes) text += ESCAPED[byte];
  return text;
}
