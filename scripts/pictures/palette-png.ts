import { deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");
const COLOURS = 256;
/** Bytes of a pixel, by the PNG's colour type: RGB and RGB with alpha, as browsers write them. */
const PIXEL_BYTES: Record<number, number> = { 2: 3, 6: 4 };

/**
 * A picture with at most 256 colours, and for each other pixel the nearest of these. Of a page, which has few colours beside the edges of
 * its letters, nothing is seen of that, and the file is a third.
 *
 * @param png with 8 bits a channel, not interlaced, as a browser takes it. Alpha is left out
 */
export function withPalette(png: Uint8Array): Buffer {
  const { width, height, colours } = pixelsOf(png);
  const counts = new Map<number, number>();
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = paletteOf(counts);
  const indices = new Map(palette.map((colour, index) => [colour, index]));
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0, from = 0; y < height; y++) {
    // The first byte of a row is its filter: none, which is best for a palette.
    for (let x = 1; x <= width; x++, from++) {
      const colour = colours[from] ?? 0;
      let index = indices.get(colour);
      if (index === undefined) {
        index = nearest(palette, colour);
        indices.set(colour, index);
      }
      rows[y * (width + 1) + x] = index;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const table = Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 0xff, colour & 0xff]));
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("PLTE", table),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** The most frequent colours; but first one of each kind, so that a red word stays red beside thousands of shades of grey. */
function paletteOf(counts: ReadonlyMap<number, number>): number[] {
  const byCount = [...counts].sort(([, a], [, b]) => b - a).map(([colour]) => colour);
  const kinds = new Map<number, number>();
  // Four bits of each channel say the kind.
  for (const colour of byCount) if (!kinds.has(colour & 0xf0f0f0)) kinds.set(colour & 0xf0f0f0, colour);
  return [...new Set([...[...kinds.values()].slice(0, COLOURS - COLOURS / 8), ...byCount])].slice(0, COLOURS);
}

function nearest(palette: readonly number[], colour: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const [index, known] of palette.entries()) {
    const red = (known >> 16) - (colour >> 16);
    const green = ((known >> 8) & 0xff) - ((colour >> 8) & 0xff);
    const blue = (known & 0xff) - (colour & 0xff);
    const distance = red * red + green * green + blue * blue;
    if (distance < least) {
      least = distance;
      best = index;
    }
  }
  return best;
}

function chunk(type: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(data.length + 12);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, "latin1");
  bytes.set(data, 8);
  bytes.writeUInt32BE(Bun.hash.crc32(bytes.subarray(4, data.length + 8)), data.length + 8);
  return bytes;
}

interface Pixels {
  width: number;
  height: number;
  /** 0xrrggbb, row by row. */
  colours: Uint32Array;
}

/** @throws an error for a PNG of another kind */
function pixelsOf(png: Uint8Array): Pixels {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const width = bytes.readUInt32BE(16);
  const height = bytes.readUInt32BE(20);
  const step = PIXEL_BYTES[bytes[25] ?? 0];
  if (step === undefined || bytes[24] !== 8 || bytes[28] !== 0) throw new Error("the PNG is not one as browsers write them");
  const data: Buffer[] = [];
  for (let at = SIGNATURE.length; at < bytes.length; at += bytes.readUInt32BE(at) + 12) {
    if (bytes.toString("latin1", at + 4, at + 8) === "IDAT") data.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  }
  const lines = inflateSync(Buffer.concat(data));
  const stride = width * step;
  const colours = new Uint32Array(width * height);
  let above = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1);
    const line = unfiltered(lines[start] ?? 0, lines.subarray(start + 1, start + 1 + stride), above, step);
    for (let x = 0; x < width; x++) {
      const at = x * step;
      colours[y * width + x] = ((line[at] ?? 0) << 16) | ((line[at + 1] ?? 0) << 8) | (line[at + 2] ?? 0);
    }
    above = line;
  }
  return { width, height, colours };
}

/** Undoes a row's filter (https://www.w3.org/TR/png-3/#9Filters). */
function unfiltered(filter: number, row: Uint8Array, above: Uint8Array, step: number): Uint8Array<ArrayBuffer> {
  const line = new Uint8Array(row.length);
  for (let at = 0; at < row.length; at++) {
    const left = at < step ? 0 : (line[at - step] ?? 0);
    const up = above[at] ?? 0;
    const corner = at < step ? 0 : (above[at - step] ?? 0);
    line[at] = (row[at] ?? 0) + predicted(filter, left, up, corner);
  }
  return line;
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const estimate = left + up - corner;
  const [toLeft, toUp, toCorner] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
