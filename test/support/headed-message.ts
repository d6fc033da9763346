import { bodyAt, encodeHeader, HeaderReader, hasHeader, NO_BYTES } from "../../src/frame/header.ts";

// Messages whose headers say which body they belong to, so that a test notices where one is lost, or comes with another message.

const header = new HeaderReader();

/** The header of the message with a body. */
export function headerFor(body: string): Uint8Array {
  return encodeHeader({ traceId: 0n, key: Buffer.from(`key ${body.length}`), tag: NO_BYTES, text: Buffer.from(textFor(body)) });
}

function textFor(body: string): string {
  return JSON.stringify({ of: body });
}

/** The body of the record in [at, end). @throws if it has a header, and that is another one than headerFor() makes */
export function bodyOf(record: Buffer, at: number, end: number): string {
  const body = record.toString("utf8", bodyAt(record, at), end);
  if (!hasHeader(record, at)) return body;
  header.read(record, at);
  const text = record.toString("utf8", header.textFrom, header.textTo);
  const key = record.toString("utf8", header.keyFrom, header.keyTo);
  if (text !== textFor(body) || key !== `key ${body.length}`) throw new Error(`${body} has the header ${text} of ${key}`);
  return body;
}
