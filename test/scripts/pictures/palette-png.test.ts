import { expect, test } from "bun:test";
import { deflateSync } from "node:zlib";
import { withPalette } from "../../../scripts/pictures/palette-png.ts";

const WIDTH = 4;

function chunk(type: string, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(data.length + 12);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, "latin1");
  bytes.set(data, 8);
  return bytes;
}

/** A picture of rows, each with its filter in front, as a browser writes it. */
function png(colourType: number, rows: readonly number[][]): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(WIDTH, 0);
  header.writeUInt32BE(rows.length, 4);
  header.set([8, colourType, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from("89504e470d0a1a0a", "hex"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.from(rows.flat()))),
    chunk("IEND", new Uint8Array()),
  ]);
}

/** The colours of a picture with a palette, row by row. */
function coloursOf(picture: Buffer): string[] {
  const parts = new Map<string, Buffer>();
  for (let at = 8; at < picture.length; at += picture.readUInt32BE(at) + 12) {
    parts.set(picture.toString("latin1", at + 4, at + 8), picture.subarray(at + 8, at + 8 + picture.readUInt32BE(at)));
  }
  const table = parts.get("PLTE") ?? Buffer.alloc(0);
  const lines = Bun.inflateSync(parts.get("IDAT")?.subarray(2) as Uint8Array<ArrayBuffer>);
  return [...lines].flatMap((index, at) => (at % (WIDTH + 1) === 0 ? [] : [table.toString("hex", index * 3, index * 3 + 3)]));
}

test("each of the filters is undone", () => {
  const rows = [
    [0, 10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 0],
    [1, 5, 0, 0, 5, 0, 0, 5, 0, 0, 5, 0, 0],
    [2, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0],
    [3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [4, 1, 0, 0, 1, 0, 0, 1, 0, 0, 250, 0, 0],
  ];
  const reds = [10, 20, 30, 40, 5, 10, 15, 20, 6, 11, 16, 21, 10, 10, 13, 17, 11, 12, 14, 11];
  expect(coloursOf(withPalette(png(2, rows)))).toEqual(reds.map((red) => `${red.toString(16).padStart(2, "0")}0000`));
});

test("alpha is left out", () => {
  expect(coloursOf(withPalette(png(6, [[0, 1, 2, 3, 255, 4, 5, 6, 255, 1, 2, 3, 255, 7, 8, 9, 255]])))).toEqual([
    "010203",
    "040506",
    "010203",
    "070809",
  ]);
});

test("one red among hundreds of greys stays red, and greys too many get their neighbours", () => {
  const greys = Array.from({ length: 255 }, (_, at) => [0, ...Array(WIDTH).fill([at, at, at]).flat()] as number[]);
  const tints = Array.from(
    { length: 255 },
    (_, at) =>
      [
        0,
        ...Array(WIDTH)
          .fill([at, at, Math.min(255, at + 1)])
          .flat(),
      ] as number[],
  );
  const red = [0, 200, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  const colours = coloursOf(withPalette(png(2, [...greys, ...tints, red])));
  expect(colours.at(-4)).toBe("c80a0a");
  expect(new Set(colours).size).toBeLessThanOrEqual(256);
  const far = colours
    .slice(0, 255 * WIDTH)
    .filter((colour, at) => Math.abs(Number.parseInt(colour.slice(0, 2), 16) - Math.floor(at / WIDTH)) > 15);
  expect(far).toEqual([]);
});

test("a PNG of another kind is refused", () => {
  expect(() => withPalette(png(0, [[0, 1, 2, 3, 4]]))).toThrow("not one as browsers write them");
});
