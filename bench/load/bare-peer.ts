/**
 * Servers that only move bytes. They show the best result that this machine, its kernel and Bun allow for a load. They know the
 * bytes of the load in advance and count them instead of parsing, so the same generator can run against them.
 *
 *     bun bench/load/bare-peer.ts '<BarePeer as JSON>'
 *
 * prints the port that it listens on.
 */
import { openSync, readSync, writeSync, writevSync } from "node:fs";
import { freeBuffer } from "../../src/base/free-buffer.ts";
import { RingWriter } from "./ring-writer.ts";
import { FIN, HANDSHAKE, HTTP_OK, messageFrame, OK_FRAME, readyCommand, repeat, SUBSCRIBE } from "./wire.ts";

export type BarePeer =
  /** Answers each command of a known size. If it has a file, it appends the commands to it first, once per turn of the event loop. */
  | { kind: "sink"; commandBytes: number; protocol: "tcp" | "http"; appendTo?: string }
  /** Sends as many messages as RDY and the received FINs allow. If it has a file, it fills that first, and reads messages from it. */
  | { kind: "source"; messages: number; bodyBytes: number; rdy: number; readFrom?: string };

/** The ring repeats, so it does not have to hold all outstanding replies. */
const REPLIES_IN_RING = 64;

/** The state of one connection. */
interface Peer {
  writer: RingWriter;
  /** The lengths of the greetings that have not arrived yet. */
  greetings: number[];
  /** Bytes received of the current greeting, command or FIN. */
  partial: number;
  /** Messages in the ring that were read from the file and are not sent. */
  unread: number;
}

/** Handles a greeting, which always comes alone. Returns whether `data` was one, or a part of one. */
function greeted(socket: Bun.Socket<Peer>, data: Buffer, finished: (greetingsLeft: number) => void): boolean {
  const peer = socket.data;
  const expected = peer.greetings[0];
  if (expected === undefined) return false;
  peer.partial += data.length;
  if (peer.partial === expected) {
    peer.partial = 0;
    peer.greetings.shift();
    finished(peer.greetings.length);
  }
  return true;
}

function sink(options: BarePeer & { kind: "sink" }): Bun.SocketHandler<Peer> {
  const { commandBytes, appendTo } = options;
  const reply = options.protocol === "http" ? HTTP_OK : OK_FRAME;
  const ring = repeat(reply, REPLIES_IN_RING);
  const file = appendTo === undefined ? undefined : openSync(appendTo, "a");
  let received: Buffer[] = [];
  const waiting = new Set<Bun.Socket<Peer>>();
  const commit = () => {
    if (file !== undefined) writevSync(file, received);
    received.forEach(freeBuffer);
    received = [];
    for (const socket of waiting) socket.data.writer.flush(socket);
    waiting.clear();
  };
  return {
    open: (socket) => {
      socket.data = {
        writer: new RingWriter(ring),
        greetings: options.protocol === "http" ? [] : [HANDSHAKE.length],
        partial: 0,
        unread: 0,
      };
    },
    data: (socket, data) => {
      if (greeted(socket, data, () => socket.write(OK_FRAME))) return;
      const peer = socket.data;
      const bytes = peer.partial + data.length;
      peer.partial = bytes % commandBytes;
      peer.writer.owedBytes += ((bytes - peer.partial) / commandBytes) * reply.length;
      if (file === undefined) {
        peer.writer.flush(socket);
        freeBuffer(data);
        return;
      }
      if (received.length === 0) setImmediate(commit);
      received.push(data);
      waiting.add(socket);
    },
    drain: (socket) => socket.data.writer.flush(socket),
  };
}

/** A file of messages that is read from its beginning to its end, one ring at a time. */
class MessageFile {
  private readonly fd: number;
  private at = 0;

  constructor(
    path: string,
    private readonly ring: Buffer,
    private readonly rings: number,
  ) {
    this.fd = openSync(path, "w+");
    for (let i = 0; i < rings; i++) writeSync(this.fd, ring);
  }

  /** Reads the next messages into a peer's ring. All rings have the same bytes, so unsent bytes may be overwritten. */
  readInto(ring: Buffer): void {
    readSync(this.fd, ring, 0, ring.length, this.at * this.ring.length);
    this.at = (this.at + 1) % this.rings;
  }
}

function source(options: BarePeer & { kind: "source" }): Bun.SocketHandler<Peer> {
  const frame = messageFrame(options.bodyBytes);
  const ring = repeat(frame, options.rdy);
  const { readFrom } = options;
  const file = readFrom === undefined ? undefined : new MessageFile(readFrom, ring, Math.ceil(options.messages / options.rdy));
  let messagesLeft = options.messages;
  const send = (socket: Bun.Socket<Peer>, wanted: number) => {
    const messages = Math.min(wanted, messagesLeft);
    messagesLeft -= messages;
    const { writer } = socket.data;
    if (file !== undefined) {
      socket.data.unread -= messages;
      for (; socket.data.unread < 0; socket.data.unread += options.rdy) file.readInto(writer.ring);
    }
    writer.owedBytes += messages * frame.length;
    writer.flush(socket);
  };
  return {
    open: (socket) => {
      const greetings = [HANDSHAKE.length, SUBSCRIBE.length, readyCommand(options.rdy).length];
      socket.data = { writer: new RingWriter(file === undefined ? ring : Buffer.from(ring)), greetings, partial: 0, unread: 0 };
    },
    data: (socket, data) => {
      if (greeted(socket, data, (left) => (left > 0 ? socket.write(OK_FRAME) : send(socket, options.rdy)))) return;
      const bytes = socket.data.partial + data.length;
      socket.data.partial = bytes % FIN.length;
      send(socket, (bytes - socket.data.partial) / FIN.length);
    },
    drain: (socket) => socket.data.writer.flush(socket),
  };
}

if (import.meta.main) {
  const options: BarePeer = JSON.parse(process.argv[2] ?? "");
  const handlers = options.kind === "sink" ? sink(options) : source(options);
  console.log(Bun.listen<Peer>({ hostname: "127.0.0.1", port: 0, socket: handlers }).port);
}
