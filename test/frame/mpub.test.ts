import { expect, test } from "bun:test";
import { MpubCheck } from "../../src/frame/mpub.ts";
import { sized } from "../support/raw-client.ts";

const MAX_MSG = 100;
const MAX_BODY = 1000;

function body(count: number, ...messages: Buffer[]): Buffer {
  const head = Buffer.alloc(4);
  head.writeInt32BE(count);
  return Buffer.concat([head, ...messages]);
}

function sizeWord(size: number): Buffer {
  const word = Buffer.alloc(4);
  word.writeInt32BE(size);
  return word;
}

interface Outcome {
  over: boolean;
  error: string | undefined;
  count?: number;
  checked?: number;
  offset?: number;
}

/** Checks a body that comes in pieces, which end at `ends`. */
function check(bytes: Buffer, ends: number[], margin = 0): Outcome {
  const check = new MpubCheck();
  const padded = Buffer.concat([Buffer.alloc(margin, 0xff), bytes, Buffer.alloc(8, 0xff)]);
  let over = false;
  for (const end of [...ends, bytes.length]) {
    if (over) break;
    over = check.resume(padded, margin, margin + end, MAX_MSG, MAX_BODY);
  }
  const { count, checked, offset, error } = check;
  // How far the check got before an error does not matter.
  if (error !== undefined) return { over, error: `${error.code} ${error.text}` };
  return { over, error, count, checked, offset };
}

const GOOD = body(3, sized("a"), sized("bcd"), sized("x".repeat(MAX_MSG)));

const BAD: [string, Buffer, string][] = [
  ["no message", body(0), "E_BAD_BODY MPUB invalid message count 0"],
  ["a negative count", body(-1), "E_BAD_BODY MPUB invalid message count -1"],
  ["more messages than the largest body can hold", body(200), "E_BAD_BODY MPUB invalid message count 200"],
  ["an empty message", body(1, sizeWord(0)), "E_BAD_MESSAGE MPUB invalid message(0) body size 0"],
  ["a message of negative size", body(2, sized("a"), sizeWord(-5)), "E_BAD_MESSAGE MPUB invalid message(1) body size -5"],
  ["a message over the limit", body(2, sized("a"), sizeWord(101)), "E_BAD_MESSAGE MPUB message too big 101 > 100"],
  [
    "more bytes than the largest body",
    body(11, ...Array.from({ length: 11 }, () => sized("x".repeat(100)))),
    "E_BAD_BODY MPUB body too big 1044 > 1000",
  ],
];

test("a complete body is checked to its end", () => {
  expect(check(GOOD, [])).toEqual({ over: true, error: undefined, count: 3, checked: 3, offset: GOOD.length });
  expect(check(GOOD, [], 13)).toEqual({ over: true, error: undefined, count: 3, checked: 3, offset: GOOD.length });
});

test("bytes behind a complete body are ignored", () => {
  expect(check(Buffer.concat([GOOD, Buffer.from("NOP\n")]), []).offset).toBe(GOOD.length);
});

test("a body may have as many messages as fit into the largest body", () => {
  const most = Math.floor((MAX_BODY - 4) / 5);
  const bytes = body(most, ...Array.from({ length: most }, () => sized("x")));
  expect(check(bytes, [])).toMatchObject({ over: true, error: undefined, checked: most });
});

for (const [what, bytes, error] of BAD) {
  test(`a body with ${what} is refused`, () => {
    expect(check(bytes, [])).toMatchObject({ over: true, error });
  });
}

test("a body that comes in pieces gets the same result wherever it is split", () => {
  for (const bytes of [GOOD, ...BAD.map(([, bad]) => bad)]) {
    const whole = check(bytes, []);
    for (let first = 0; first <= bytes.length; first++) {
      expect(check(bytes, [first])).toEqual(whole);
      expect(check(bytes, [first, Math.min(first + 3, bytes.length)], 5)).toEqual(whole);
    }
    expect(
      check(
        bytes,
        Array.from({ length: bytes.length }, (_, i) => i),
      ),
    ).toEqual(whole);
  }
});

test("the check of an incomplete body says how many bytes it needs to continue", () => {
  const checking = new MpubCheck();
  let needed = checking.needed;
  for (let end = 0; end < GOOD.length; end++) {
    expect(checking.resume(GOOD, 0, end, MAX_MSG, MAX_BODY)).toBeFalse();
    expect(checking.needed).toBeGreaterThan(end);
    expect(checking.needed).toBeGreaterThanOrEqual(needed);
    needed = checking.needed;
  }
  expect(needed).toBe(GOOD.length);
});

test("a check can be reset for another body", () => {
  const checking = new MpubCheck();
  expect(checking.resume(body(0), 0, 4, MAX_MSG, MAX_BODY)).toBeTrue();
  expect(checking.error).toBeDefined();
  expect(checking.reset().resume(GOOD, 0, GOOD.length, MAX_MSG, MAX_BODY)).toBeTrue();
  expect(checking.error).toBeUndefined();
});
