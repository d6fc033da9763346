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

/** What is sent again and again under load, laid out once; and what comes back, byte for byte. */

export const TOPIC = "bench";
export const CHANNEL = "ch";

/** A broker's answer to PUB, MPUB, IDENTIFY and SUB. */
export const OK_FRAME: Buffer = encodeFrame(FRAME_TYPE_RESPONSE, "OK");

/** What the bare HTTP peer answers: as long as what Bun.serve answers to /pub. */
export const HTTP_OK: Buffer = Buffer.from(
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-NSQ-Content-Type: nsq; version=1.0\r\n" +
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nOK",
);

/**
 * Magic and IDENTIFY. Heartbeats at the longest interval nsqd allows (a consumer may not turn them off), so that none
 * comes during a run: a frame that only sometimes comes has no place in counted bytes.
 */
export const HANDSHAKE: Buffer = handshake(60_000);

/** The same with other heartbeats. @param ms -1: none, which only a producer may ask for */
export function handshake(heartbeatMs: number): Buffer {
  return Buffer.concat([Buffer.from(`${MAGIC_V2}IDENTIFY\n`), sized(Buffer.from(`{"heartbeat_interval":${heartbeatMs}}`))]);
}

export function layersHandshake({ tls = false, compression }: Layers): Buffer {
  const wishes = {
    feature_negotiation: true,
    heartbeat_interval: 60_000,
    tls_v1: tls,
    [compression ?? "snappy"]: compression !== undefined,
  };
  return Buffer.concat([Buffer.from(`${MAGIC_V2}IDENTIFY\n`), sized(Buffer.from(JSON.stringify(wishes)))]);
}

export const SUBSCRIBE: Buffer = subscribeCommand(CHANNEL);

export function subscribeCommand(channel: string): Buffer {
  return Buffer.from(`SUB ${TOPIC} ${channel}\n`);
}

/** The channel of the nth of `channels`; with one channel its name is CHANNEL. */
export function channelName(n: number): string {
  return n === 0 ? CHANNEL : `${CHANNEL}-${n}`;
}

/** The names of a load's topics, all equally long, so that their commands are. */
export function topicNames(topics: number): string[] {
  if (topics === 1) return [TOPIC];
  return Array.from({ length: topics }, (_, n) => `${TOPIC}-${`${n}`.padStart(6, "0")}`);
}

/** nsqd's longest delay by default. */
const DEFER_MS = 3_600_000;

/** What a consumer says of each message, with room for its id: it is done with, or is to come again in an hour. */
export const FIN: Buffer = Buffer.from("FIN ................\n");
export const REQ: Buffer = Buffer.from(`REQ ................ ${DEFER_MS}\n`);
/** Where the id stands in either. */
export const ANSWER_ID_OFFSET = 4;

export function readyCommand(count: number): Buffer {
  return Buffer.from(`RDY ${count}\n`);
}

/** One MPUB of `count` equal messages. */
export function mpubCommand(count: number, bodyBytes: number, topic = TOPIC): Buffer {
  return Buffer.concat([Buffer.from(`MPUB ${topic}\n`), sized(mpubBody(count, bodyBytes))]);
}

/** The same with messages that differ, and shrink as lines of a log in JSON do. */
export function jsonMpubCommand(count: number, bodyBytes: number, topic = TOPIC): Buffer {
  const countWord = Buffer.alloc(4);
  countWord.writeUInt32BE(count);
  const messages = Array.from({ length: count }, (_, n) => sized(jsonBody(bodyBytes, n)));
  return Buffer.concat([Buffer.from(`MPUB ${topic}\n`), sized(Buffer.concat([countWord, ...messages]))]);
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

/** One `POST /pub` on a connection that is kept alive. */
export function httpPubRequest(bodyBytes: number, topic = TOPIC): Buffer {
  return httpPost(`/pub?topic=${topic}`, messageBody(bodyBytes));
}

/** One `POST /mpub` in binary form. */
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

/** A message as a broker delivers it, with an id of zeros: what the bare source sends. */
export function messageFrame(bodyBytes: number): Buffer {
  const frame = encodeFrame(FRAME_TYPE_MESSAGE, Buffer.alloc(MESSAGE_OVERHEAD_BYTES - FRAME_HEADER_BYTES + bodyBytes, "."));
  frame.fill("0", ID_OFFSET, MESSAGE_OVERHEAD_BYTES);
  frame.writeUInt16BE(1, ID_OFFSET - 2);
  return frame;
}

/** `count` copies of `unit`, end to end. */
export function repeat(unit: Buffer, count: number): Buffer {
  const all = Buffer.allocUnsafeSlow(unit.length * count);
  for (let at = 0; at < all.length; at += unit.length) unit.copy(all, at);
  return all;
}

function messageBody(bytes: number): Buffer {
  return Buffer.alloc(bytes, "x");
}

/** A body behind its size word. */
export function sized(body: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length);
  return Buffer.concat([size, body]);
}
