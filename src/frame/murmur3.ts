const C1 = 0xcc9e2d51;
const C2 = 0x1b873593;

/** MurmurHash3 of the bytes in [from, to), x86, 32 bits, unsigned. https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp */
export function murmur3(bytes: Uint8Array, from: number, to: number, seed: number): number {
  const end = to - ((to - from) & 3);
  let hash = seed | 0;
  for (let at = from; at < end; at += 4) hash = (Math.imul(rotate(hash ^ mixed(word(bytes, at, 4)), 13), 5) + 0xe6546b64) | 0;
  if (end < to) hash ^= mixed(word(bytes, end, to - end));
  hash ^= to - from;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mixed(block: number): number {
  const product = Math.imul(block, C1);
  return Math.imul((product << 15) | (product >>> 17), C2);
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** Up to four bytes, the first one lowest. */
function word(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = (value << 8) | (bytes[at + i] as number);
  return value;
}
