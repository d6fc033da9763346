import { expect, test } from "bun:test";
import { batchOfLines } from "../../../src/broker/http/lines.ts";
import { MpubCheck } from "../../../src/frame/mpub.ts";

/** The messages of a batch, which must pass the check of MPUB. */
function messages(batch: Uint8Array | undefined): string[] {
  if (batch === undefined) throw new Error("refused");
  const buffer = Buffer.from(batch);
  const texts: string[] = [];
  for (let at = 4; at < buffer.length; ) {
    const size = buffer.readUInt32BE(at);
    texts.push(buffer.toString("latin1", at + 4, at + 4 + size));
    at += 4 + size;
  }
  if (texts.length > 0) {
    const check = new MpubCheck();
    expect(check.resume(buffer, 0, buffer.length, 1024, 1 << 20)).toBe(true);
    expect(check.error).toBeUndefined();
  }
  expect(buffer.readUInt32BE(0)).toBe(texts.length);
  return texts;
}

test("each line is a message, the last also without a line end", () => {
  expect(messages(batchOfLines(Buffer.from("one\ntwo\nthree"), 10))).toEqual(["one", "two", "three"]);
  expect(messages(batchOfLines(Buffer.from("one\ntwo\n"), 10))).toEqual(["one", "two"]);
});

test("empty lines are skipped, and a CR is a part of its line", () => {
  expect(messages(batchOfLines(Buffer.from("\n\na\r\n\n\r\n\n"), 10))).toEqual(["a\r", "\r"]);
  expect(messages(batchOfLines(Buffer.from("\n\n\n"), 10))).toEqual([]);
  expect(messages(batchOfLines(Buffer.alloc(0), 10))).toEqual([]);
});

test("a line may be as long as a message, and not a byte longer", () => {
  expect(messages(batchOfLines(Buffer.from("a\n0123456789\nb"), 10))).toEqual(["a", "0123456789", "b"]);
  expect(batchOfLines(Buffer.from("a\n0123456789x\nb"), 10)).toBeUndefined();
  expect(batchOfLines(Buffer.from("a\n0123456789x"), 10)).toBeUndefined();
});
