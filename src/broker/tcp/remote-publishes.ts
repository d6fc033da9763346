import { PendingPublish } from "../acks/pending-publish.ts";
import { ForwardedCommit } from "../forwarding/forwarded-commit.ts";
import type { ForwardedMessages } from "../forwarding/forwarded-messages.ts";
import type { MessagePlace } from "../forwarding/forwarded-publish.ts";
import type { Forwarder } from "../forwarding/forwarder.ts";
import type { Elsewhere } from "../forwarding/place.ts";
import type { TraceName } from "../trace/trace-name.ts";

/** What the publishes of a client need of it and of the broker. */
export interface RemotePublishesParts {
  readonly turn: { schedule(): void };
  readonly client: {
    readonly traceName: TraceName;
    /** The command that waits is to be run again. */
    resumeCommand(): void;
  };
}

/** A publish that is to be carried out elsewhere. */
interface RemotePublish extends ForwardedMessages {
  readonly command: PendingPublish["command"];
  /** Idempotency key; empty: none. */
  readonly key: string;
  readonly deferMs: number;
  /** Makes the answer of where the first message is; undefined: the answer is OK. */
  readonly answer?: ((place: MessagePlace) => Buffer) | undefined;
}

/** The publishes of one client that other brokers carry out. */
export class RemotePublishes {
  constructor(private readonly parts: RemotePublishesParts) {}

  /** @returns false: the command has to wait, and will be run again once there may be room */
  hasRoom(forwarder: Forwarder, place: Elsewhere): boolean {
    return forwarder.hasRoom(place, () => this.parts.client.resumeCommand());
  }

  /** @returns what its acknowledgement waits for */
  publish(forwarder: Forwarder, { topic, partition, keyHash }: Elsewhere, publish: RemotePublish): PendingPublish {
    const { command, key, deferMs, isRecords, messages, answer } = publish;
    const { turn, client } = this.parts;
    const commit = new ForwardedCommit();
    const pending = new PendingPublish(commit, command);
    const origin = client.traceName.text;
    forwarder.forward({ topic, partition, keyHash, command, key, deferMs, origin, isRecords, messages }, (failure, place) => {
      commit.settle(failure);
      if (place !== undefined && answer !== undefined) pending.answer = answer(place);
      turn.schedule();
    });
    return pending;
  }
}
