import { expect, spyOn, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import {
  asJson,
  asText,
  decodeMsgpack,
  fromBase64,
  gunzip,
  hexDump,
  kindOf,
  oneLine,
  toBase64,
} from "../../../src/admin/page/bodies/bytes.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

test("base64 comes back as it went in, for all bytes", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
  expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
  expect(fromBase64(toBase64(bytes))).toEqual(bytes);
});

test("what a body is, is seen by its bytes", () => {
  expect(kindOf(utf8(""))).toBe("empty");
  expect(kindOf(utf8('{"a":1}'))).toBe("json");
  expect(kindOf(utf8("a line\nand another\t"))).toBe("text");
  expect(kindOf(Bun.gzipSync("a"))).toBe("gzip");
  expect(kindOf(encode({ a: 1 }))).toBe("msgpack");
  expect(kindOf(Uint8Array.of(0, 1, 2))).toBe("binary");
});

test("a body that is cut off within a character is still text", () => {
  const cut = utf8("grüße").subarray(0, 3);
  expect(asText(cut)).toBeUndefined();
  expect(asText(cut, true)).toBe("gr");
  expect(kindOf(cut, true)).toBe("text");
  expect(oneLine(cut)).toBe("gr");
});

test("JSON is any JSON value, and what is none is not taken for one", () => {
  expect(asJson(utf8("[1]"))).toEqual({ value: [1] });
  expect(asJson(utf8("null"))).toEqual({ value: null });
  expect(asJson(utf8("{"))).toBeUndefined();
});

test("a hex dump has offsets, bytes and characters", () => {
  expect(hexDump(utf8('{"order":"a-17"}\n'))).toBe(
    `00000000  7b 22 6f 72 64 65 72 22 3a 22 61 2d 31 37 22 7d  |{"order":"a-17"}|\n00000010  0a${" ".repeat(45)}  |.|`,
  );
});

test("gzip is opened, up to a bound", async () => {
  const open = async (text: string, limit?: number) => {
    const { bytes, isCut } = await gunzip(new Uint8Array(Bun.gzipSync(text)), limit);
    return [new TextDecoder().decode(bytes), isCut];
  };
  expect(await open("hello")).toEqual(["hello", false]);
  expect(await open("hello", 5)).toEqual(["hello", false]);
  expect(await open("hello", 4)).toEqual(["hell", true]);
});

test("of a small body that unpacks to much, little more than is shown is unpacked", async () => {
  // 64 MB from 64 kB.
  const packed = new Uint8Array(Bun.gzipSync("x".repeat(64_000_000)));
  const read = spyOn(ReadableStreamDefaultReader.prototype, "read");
  const { bytes, isCut } = await gunzip(packed);
  const pieces = (await Promise.all(read.mock.results.map(({ value }) => value))) as { value?: Uint8Array }[];
  read.mockRestore();
  expect([bytes.length, isCut]).toEqual([4 * 1024 * 1024, true]);
  const unpacked = pieces.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
  expect(unpacked).toBeGreaterThanOrEqual(bytes.length);
  expect(unpacked).toBeLessThan(3 * bytes.length);
});

test("damaged gzip is refused, and of one that is cut off the beginning is shown", async () => {
  expect(gunzip(Uint8Array.of(0x1f, 0x8b, 1, 2, 3))).rejects.toThrow();
  const packed = new Uint8Array(Bun.gzipSync(Array.from({ length: 20_000 }, (_, at) => String(at)).join()));
  const { bytes, isCut } = await gunzip(packed.slice(0, packed.length / 2));
  expect(isCut).toBe(true);
  expect(new TextDecoder().decode(bytes)).toStartWith("0,1,2,3");
});

test("MessagePack is decoded, and a length that the body cannot have is refused", async () => {
  expect(await decodeMsgpack(encode({ a: [1, "b", null] }))).toEqual({ a: [1, "b", null] });
  // An array of 4 billion.
  expect(decodeMsgpack(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff))).rejects.toThrow();
});
