import { expect, test } from "bun:test";
import { encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_RESPONSE } from "../../src/frame/frame.ts";

test("a frame is its size, its type and its data", () => {
  expect(encodeFrame(FRAME_TYPE_RESPONSE, "OK").toString("hex")).toBe("00000006000000004f4b");
  expect(encodeFrame(FRAME_TYPE_ERROR, new Uint8Array([0xff])).toString("hex")).toBe("0000000500000001ff");
  expect(encodeFrame(FRAME_TYPE_RESPONSE, "").toString("hex")).toBe("0000000400000000");
});

test("the size counts bytes, not characters", () => {
  expect(encodeFrame(FRAME_TYPE_ERROR, "é€").readUInt32BE(0)).toBe(4 + 5);
});
