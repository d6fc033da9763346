import {
  encodeFrame,
  FRAME_HEADER_BYTES,
  FRAME_TYPE_MESSAGE,
  FRAME_TYPE_RESPONSE,
  ID_OFFSET,
  MAGIC_V2,
  MESSAGE_OVERHEAD_BYTES,
} from "../../src/frame/frame.ts";

import type { Layers } from "./job.ts";

/** The bytes that loads send repeatedly, encoded once, and the bytes of the replies. */

export const TOPIC = "bench";
export const CHANNEL = "ch";

/** A broker's answer to PUB, MPUB, IDENTIFY and SUB. */
export const OK_FRAME: Buffer = encodeFrame(FRAME_TYPE_RESPONSE, "OK");

/** The reply of the bare HTTP peer. It is as long as the reply of Bun.serve() to /pub. */
export const HTTP_OK: Buffer = Buffer.from(
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-NSQ-Content-Type: nsq; version=1.0\r\n" +
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nOK",
);

/**
 * Magic and IDENTIFY. Heartbeats have the longest interval that nsqd allows (a consumer may not turn them off), so that none comes
 * during a run: counted bytes must not contain an occasional frame.
 */
export const HANDSHAKE: Buffer = handshake(60_000);

/** As HANDSHAKE, of a consumer that understands headers. */
export const EXTENDED_HANDSHAKE: Buffer = identify({ heartbeat_interval: 60_000, extend_support: true });

/** Magic and IDENTIFY. @param heartbeatMs -1 for no heartbeats, which only a producer may ask for */
export function handshake(heartbeatMs: number): Buffer {
  return identify({ heartbeat_interval: heartbeatMs });
}

function identify(wishes: object): Buffer {
  return Buffer.concat([Buffer.from(`${MAGIC_V2}IDENTIFY\n`), sized(Buffer.from(JSON.stringify(wishes)))]);
}

export function layersHandshake({ tls = false, compression }: Layers): Buffer {
  const wishes = {
    feature_negotiation: true,
    heartbeat_interval: 60_000,
    tls_v1: tls,
    [compression ?? "snappy"]: compression !== undefined,
  };
  return identify(wishes);
}

export const SUBSCRIBE: Buffer = subscribeCommand(CHANNEL);

export function subscribeCommand(channel: string): Buffer {
  return Buffer.from(`SUB ${TOPIC} ${channel}\n`);
}

/** The name of the nth channel. The first one is CHANNEL. */
export function channelName(n: number): string {
  return n === 0 ? CHANNEL : `${CHANNEL}-${n}`;
}

/** The names of a load's topics. All have the same length, so that their commands do. */
export function topicNames(topics: number): string[] {
  if (topics === 1) return [TOPIC];
  return Array.from({ length: topics }, (_, n) => `${TOPIC}-${`${n}`.padStart(6, "0")}`);
}

/** The longest delay that nsqd allows by default. */
const DEFER_MS = 3_600_000;

/** A consumer's answers to a message, with room for its id: it is finished, or requeued with a delay of an hour. */
export const FIN: Buffer = Buffer.from("FIN ................\n");
export const REQ: Buffer = Buffer.from(`REQ ................ ${DEFER_MS}\n`);
/** The offset of the id in both. */
export const ANSWER_ID_OFFSET = 4;

export function readyCommand(count: number): Buffer {
  return Buffer.from(`RDY ${count}\n`);
}

/** An MPUB of `count` equal messages. */
export function mpubCommand(count: number, bodyBytes: number, topic = TOPIC): Buffer {
  return Buffer.concat([Buffer.from(`MPUB ${topic}\n`), sized(mpubBody(count, bodyBytes))]);
}

/** An MPUB of `count` different messages, which can be compressed about as well as lines of a JSON log. */
export function jsonMpubCommand(count: number, bodyBytes: number, topic = TOPIC): Buffer {
  const countWord = Buffer.alloc(4);
  countWord.writeUInt32BE(count);
  const messages = Array.from({ length: count }, (_, n) => sized(jsonBody(bodyBytes, n)));
  return Buffer.concat([Buffer.from(`MPUB ${topic}\n`), sized(Buffer.concat([countWord, ...messages]))]);
}

/**
 * MPUB_EXTs of `count` messages, each with a JSON header of `headerBytes`. With keys there are as many commands as it takes to name each
 * key once.
 */
export function mpubExtCommands(count: number, bodyBytes: number, headerBytes: number, keys: number, topic = TOPIC): Buffer[] {
  const countWord = Buffer.alloc(4);
  countWord.writeUInt32BE(count);
  return Array.from({ length: Math.max(1, Math.ceil(keys / count)) }, (_, command) => {
    const messages = Array.from({ length: count }, (_, n) => {
      const header = jsonHeader(headerBytes, keys === 0 ? undefined : (command * count + n) % keys);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(header.length);
      return sized(Buffer.concat([length, header, messageBody(bodyBytes)]));
    });
    return Buffer.concat([Buffer.from(`MPUB_EXT ${topic}\n`), sized(Buffer.concat([countWord, ...messages]))]);
  });
}

/** @param key number of the message's key */
function jsonHeader(bytes: number, key: number | undefined): Buffer {
  const fields = key === undefined ? { source: "web" } : { source: "web", "##key": `customer-${`${key}`.padStart(6, "0")}` };
  const text = JSON.stringify({ ...fields, note: "" });
  return Buffer.from(text.replace(/""}$/, `"${"n".repeat(Math.max(0, bytes - text.length))}"}`));
}

function jsonBody(bytes: number, n: number): Buffer {
  let state = n + 1;
  const digits = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const fields = () =>
    `"time":17${digits()},"user":"${digits().toString(36)}","event":"page_view","url":"/products/${digits() % 5000}","session":"${digits().toString(16)}${digits().toString(16)}",`;
  let text = "{";
  while (text.length < bytes) text += fields();
  return Buffer.from(text.slice(0, bytes - 1).concat("}"));
}

export function pubCommand(bodyBytes: number, topic = TOPIC): Buffer {
  return Buffer.concat([Buffer.from(`PUB ${topic}\n`), sized(messageBody(bodyBytes))]);
}

export function dpubCommand(bodyBytes: number, topic = TOPIC): Buffer {
  return Buffer.concat([Buffer.from(`DPUB ${topic} ${DEFER_MS}\n`), sized(messageBody(bodyBytes))]);
}

/** A `POST /pub` on a persistent connection. */
export function httpPubRequest(bodyBytes: number, topic = TOPIC): Buffer {
  return httpPost(`/pub?topic=${topic}`, messageBody(bodyBytes));
}

/** A `POST /mpub` in binary form. */
export function httpMpubRequest(count: number, bodyBytes: number, topic = TOPIC): Buffer {
  return httpPost(`/mpub?topic=${topic}&binary=true`, mpubBody(count, bodyBytes));
}

function httpPost(path: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n`), body]);
}

function mpubBody(count: number, bodyBytes: number): Buffer {
  const countWord = Buffer.alloc(4);
  countWord.writeUInt32BE(count);
  return Buffer.concat([countWord, repeat(sized(messageBody(bodyBytes)), count)]);
}

/** A message as a broker delivers it, with an id of zeros. The bare source sends it. */
export function messageFrame(bodyBytes: number): Buffer {
  const frame = encodeFrame(FRAME_TYPE_MESSAGE, Buffer.alloc(MESSAGE_OVERHEAD_BYTES - FRAME_HEADER_BYTES + bodyBytes, "."));
  frame.fill("0", ID_OFFSET, MESSAGE_OVERHEAD_BYTES);
  frame.writeUInt16BE(1, ID_OFFSET - 2);
  return frame;
}

/** `count` copies of `unit` in a row. */
export function repeat(unit: Buffer, count: number): Buffer {
  const all = Buffer.allocUnsafeSlow(unit.length * count);
  for (let at = 0; at < all.length; at += unit.length) unit.copy(all, at);
  return all;
}

function messageBody(bytes: number): Buffer {
  return Buffer.alloc(bytes, "x");
}

/** A body with its size word in front. */
export function sized(body: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length);
  return Buffer.concat([size, body]);
}
