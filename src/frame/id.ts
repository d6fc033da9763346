/**
 * Message ids: 64 bits as 16 lower-case hex characters. The bits say where the message is stored.
 *
 *     node (10 bits) | topic number (14 bits) | sequence in the topic's log (40 bits)
 *     \_______ 6 characters: the prefix _____/ \__________ 10 characters __________/
 *
 * The node is the broker's at the time when the topic was made: a topic keeps its prefix when the broker gets another node id. A
 * log that earlier releases wrote under several node ids has records with several prefixes. These differ in the node alone.
 *
 * So a FIN finds its message by arithmetic. An id holds the sequence modulo 2^40. As long as there are at most 2^39 messages
 * between the oldest unfinished one and the newest, the full sequence can be computed from it.
 */

export const NODE_LIMIT = 1 << 10;
export const TOPIC_NUMBER_LIMIT = 1 << 14;
export const SEQUENCE_SPAN = 2 ** 40;

const HEX = "0123456789abcdef";

/** For each byte its two hex characters as one big-endian 16-bit word. */
const HEX2 = new Uint16Array(256);
for (let i = 0; i < 256; i++) HEX2[i] = (HEX.charCodeAt(i >> 4) << 8) | HEX.charCodeAt(i & 15);

/** For each 16-bit number its four hex characters as one big-endian 32-bit word: one store writes four characters. */
const HEX4 = new Uint32Array(65536);

/** Fills HEX4 at the first prefix. A broker without topics needs neither the table nor the compiled code that fills it. */
function fillHex4(): void {
  for (let i = 0; i < 65536; i++) HEX4[i] = ((HEX2[i >> 8] << 16) | HEX2[i & 255]) >>> 0;
}

/** The values of lower-case hex digits; 0x100 for any other byte, so that a bitwise OR of digits shows a bad one. */
const DIGIT = new Uint16Array(256).fill(0x100);
for (let i = 0; i < 16; i++) DIGIT[HEX.charCodeAt(i)] = i;

/** The 24-bit prefix of the ids of a topic that is made on a node. */
export function idPrefix(node: number, topicNumber: number): number {
  return useIdPrefix((node * TOPIC_NUMBER_LIMIT + topicNumber) >>> 0);
}

/** The topic number in a prefix. */
export function topicNumberOf(prefix: number): number {
  return prefix & (TOPIC_NUMBER_LIMIT - 1);
}

/** Fills the table of writeId(). To be called for a prefix that was read, before ids are written with it. @returns the prefix */
export function useIdPrefix(prefix: number): number {
  if (HEX4[0] === 0) fillHex4();
  return prefix;
}

/** Writes an id's 16 characters at `at`. */
export function writeId(view: DataView, at: number, prefix: number, sequence: number): void {
  const low = sequence % SEQUENCE_SPAN;
  const middle = Math.floor(low / 65536);
  view.setUint32(at, HEX4[prefix >>> 8]);
  view.setUint16(at + 4, HEX2[prefix & 255]);
  view.setUint32(at + 6, HEX4[middle >>> 8]);
  view.setUint16(at + 10, HEX2[middle & 255]);
  view.setUint32(at + 12, HEX4[low & 0xffff]);
}

/** The last four characters of an id. Ids in a row differ in nothing else until the sequence passes a multiple of 65,536. */
export function idTail(sequence: number): number {
  return HEX4[sequence & 0xffff];
}

/**
 * Counts the fixed-size lines in a row whose ids count up from `sequence` and that are otherwise equal to the first one.
 *
 * @param at the first line, which has the id of `sequence`
 * @param lineBytes length of a line
 * @param idAt offset of the id in a line
 * @returns at least 1; counts no line that does not fit before `end`, and stops before a sequence that is a multiple of 65,536
 */
export function countAscending(view: DataView, at: number, end: number, lineBytes: number, idAt: number, sequence: number): number {
  const most = Math.min(Math.floor((end - at) / lineBytes), 65536 - (sequence % 65536));
  const low = sequence & 0xffff;
  const head = view.getInt32(at);
  const id0 = view.getInt32(at + idAt);
  const id1 = view.getInt32(at + idAt + 4);
  const id2 = view.getInt32(at + idAt + 8);
  const last = view.getUint8(at + lineBytes - 1);
  let count = 1;
  for (let line = at + lineBytes; count < most; line += lineBytes, count++) {
    if (
      view.getInt32(line) !== head ||
      view.getInt32(line + idAt) !== id0 ||
      view.getInt32(line + idAt + 4) !== id1 ||
      view.getInt32(line + idAt + 8) !== id2 ||
      view.getUint32(line + idAt + 12) !== HEX4[low + count] ||
      view.getUint8(line + lineBytes - 1) !== last
    ) {
      break;
    }
  }
  return count;
}

/** The prefix of the id at `at`; -1 if it is not lower-case hex. */
export function readPrefix(bytes: Uint8Array, at: number): number {
  const d0 = DIGIT[bytes[at]];
  const d1 = DIGIT[bytes[at + 1]];
  const d2 = DIGIT[bytes[at + 2]];
  const d3 = DIGIT[bytes[at + 3]];
  const d4 = DIGIT[bytes[at + 4]];
  const d5 = DIGIT[bytes[at + 5]];
  if ((d0 | d1 | d2 | d3 | d4 | d5) >= 0x100) return -1;
  return (d0 << 20) | (d1 << 16) | (d2 << 12) | (d3 << 8) | (d4 << 4) | d5;
}

/** The sequence modulo 2^40 of the id at `at`; -1 if it is not lower-case hex. */
export function readSequence(bytes: Uint8Array, at: number): number {
  const d0 = DIGIT[bytes[at + 6]];
  const d1 = DIGIT[bytes[at + 7]];
  const d2 = DIGIT[bytes[at + 8]];
  const d3 = DIGIT[bytes[at + 9]];
  const d4 = DIGIT[bytes[at + 10]];
  const d5 = DIGIT[bytes[at + 11]];
  const d6 = DIGIT[bytes[at + 12]];
  const d7 = DIGIT[bytes[at + 13]];
  const d8 = DIGIT[bytes[at + 14]];
  const d9 = DIGIT[bytes[at + 15]];
  if ((d0 | d1 | d2 | d3 | d4 | d5 | d6 | d7 | d8 | d9) >= 0x100) return -1;
  const high = (d0 << 16) | (d1 << 12) | (d2 << 8) | (d3 << 4) | d4;
  const low = (d5 << 16) | (d6 << 12) | (d7 << 8) | (d8 << 4) | d9;
  return high * 1048576 + low;
}

/** The sequence nearest to `near` that equals `low` modulo 2^40. */
export function expandSequence(low: number, near: number): number {
  const full = near - (near % SEQUENCE_SPAN) + low;
  if (full > near + SEQUENCE_SPAN / 2 && full >= SEQUENCE_SPAN) return full - SEQUENCE_SPAN;
  if (full < near - SEQUENCE_SPAN / 2) return full + SEQUENCE_SPAN;
  return full;
}
