import type { Clock, Timer } from "../../base/clock.ts";
import type { OwnPartitions } from "../../broker/forwarding/forwarder.ts";
import type { Connection, ConnectionEvents } from "../net/network.ts";
import { WireError } from "../replication/fields.ts";
import { FrameSplitter } from "../replication/frame-splitter.ts";
import { MAX_FRAME_BYTES } from "../replication/wire.ts";
import { decodeForwardFrame, encodeForwardFrame, type ForwardFrame } from "./forward-wire.ts";
import { SentFrames } from "./sent-frames.ts";

/** A broker that says nothing for this long is gone. */
const SILENCE_LIMIT_MS = 30_000;

export interface ForwardServiceParts {
  readonly clock: Clock;
  readonly cluster: string;
  /** This broker's data path uid. */
  readonly uid: string;
  readonly own: OwnPartitions;
  /** Whether it recognizes publishes by their idempotency keys. */
  readonly knowsKeys: boolean;
  onTrouble(who: string, error: Error): void;
}

/** Another broker's connection, by which it has publishes carried out here. */
export class ForwardService implements ConnectionEvents {
  private readonly splitter = new FrameSplitter(MAX_FRAME_BYTES);
  private readonly frames = new SentFrames();
  private from = "";
  private isFlushAsked = false;
  private isClosed = false;
  private silence: Timer | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly parts: ForwardServiceParts,
    private readonly onEnded: () => void,
  ) {}

  onOpen(): void {}

  onDrain(): void {
    this.frames.flush(this.connection);
  }

  onData(bytes: Buffer): void {
    try {
      this.splitter.push(bytes, (frame) => this.read(frame));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.parts.onTrouble(this.from || this.connection.remote, error);
      this.end();
    }
    this.watch();
  }

  onClosed(): void {
    this.isClosed = true;
    this.onEnded();
    if (this.silence !== undefined) this.parts.clock.cancel(this.silence);
  }

  /** @param frame without its length @throws WireError */
  read(frame: Buffer): void {
    if (!this.isClosed) this.receive(decodeForwardFrame(frame));
  }

  private receive(frame: ForwardFrame): void {
    if (frame.kind === "knock" && this.from === "") {
      const { cluster, uid, knowsKeys } = this.parts;
      if (frame.cluster !== cluster) throw new WireError(`it is of the cluster "${frame.cluster}", and not "${cluster}"`);
      if (frame.to !== uid) throw new WireError(`it means ${frame.to}, and not ${uid}`);
      this.from = frame.from;
      this.watch();
      return this.answer({ kind: "welcome", knowsKeys });
    }
    if (this.from === "") throw new WireError(`${frame.kind} in place of KNOCK`);
    if (frame.kind === "ping") return this.answer({ kind: "pong" });
    if (frame.kind !== "publish") throw new WireError(`${frame.kind} from a broker that was to publish`);
    const { number, publish } = frame;
    // The messages are in the log when this returns: how many wait for their acknowledgements is for the other broker to bound.
    this.parts.own.publish(publish, (answer) => this.answer({ kind: "answer", number, answer }));
  }

  private answer(frame: ForwardFrame): void {
    if (this.isClosed) return;
    this.frames.add(encodeForwardFrame(frame));
    if (this.isFlushAsked) return;
    this.isFlushAsked = true;
    this.parts.clock.callAfterTurn(() => {
      this.isFlushAsked = false;
      if (!this.isClosed) this.frames.flush(this.connection);
    });
  }

  /** It asks every second whether this broker is there. */
  private watch(): void {
    if (this.isClosed) return;
    if (this.silence !== undefined) this.parts.clock.cancel(this.silence);
    this.silence = this.parts.clock.callAfter(SILENCE_LIMIT_MS, () => this.end());
  }

  end(): void {
    this.onClosed();
    this.connection.abort();
  }
}
