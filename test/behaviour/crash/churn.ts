import { type Frame, RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import type { Ending, Ledger } from "./ledger.ts";
import { type Life, now } from "./workers.ts";

/** Topics that get publishes only, so that each message's sequence is known. The topics below get DPUBs, too. */
const PLAIN = ["churn-0", "churn-1", "churn-2"];
const TIMED = ["churn-3", "churn-4"];
const CHANNELS = ["a", "b", "c"];
const BARRIER = "churn-barrier";
/** Nothing that is finished leaves these topics: a seek finds all of it. */
const RETENTION_BYTES = 1_000_000_000;
const MSG_TIMEOUT_MS = 60_000;
const EARLY_TOLERANCE_MS = 5;
const BODY_FILLER = 700;

interface ChannelModel {
  paused: boolean;
  /** Numbers of the messages that have to come. */
  owed: Set<number>;
  /** Numbers of those that may come, because a kill came before the broker had to have saved their state; since when. */
  maybe: Map<number, number>;
  /** When each was finished, for the report of a violation. */
  finishedMs: Map<number, number>;
  /** Requeued with a delay: not before. */
  notBefore: Map<number, number>;
}

interface TopicModel {
  paused: boolean;
  timed: boolean;
  /** Numbers in the order of the log. */
  log: number[];
  /** Sequence of the first. */
  base: number;
  /** Messages from here on wait for a channel, or for the unpausing: an index into `log`. */
  released: number;
  channels: Map<string, ChannelModel>;
  /** Deferred publishes of this life of the topic: they may come to any of its channels, from then on. */
  deferred: Map<number, number>;
}

interface StatsTopic {
  topic_name: string;
  depth: number;
  paused: boolean;
  channels: { channel_name: string; paused: boolean; depth: number; in_flight_count: number; deferred_count: number }[];
}

/** One thing done to the broker: what it changes in the model once it is answered, and what is so if the answer never came. */
interface Step {
  what: string;
  call: () => Promise<void>;
  apply: () => void;
  /** After a kill: whether it was done, told by what the broker says of the topic; undefined where that cannot be told, and both must be allowed. */
  wasDone?: (topic: StatsTopic | undefined, end: number) => boolean;
  unknown?: () => void;
}

/**
 * Makes, deletes, pauses, fills, reads and seeks topics and channels, one thing after the other, and knows after each kill
 * what must be there: of all that was answered everything, of the one thing under way all or nothing.
 */
export class Churn {
  steps = 0;
  private readonly topics = new Map<string, TopicModel>();
  private step: Step | undefined;
  private stepTopic = "";
  private nextNumber = 0;
  private running: Promise<void> = Promise.resolve();

  constructor(private readonly ledger: Ledger) {}

  /** Works until the life ends. */
  start(life: Life): void {
    this.running = this.run(life);
  }

  /** Resolves when it has stopped working. */
  settled(): Promise<void> {
    return this.running;
  }

  /** The broker was killed, or stopped: what it need not have noted by then may come again. */
  lifeEnded({ kind, atMs, durableMs }: Ending): void {
    for (const topic of this.topics.values()) {
      for (const channel of topic.channels.values()) {
        for (const [number, finishedMs] of channel.maybe) {
          if (finishedMs === Number.POSITIVE_INFINITY) continue;
          // What the broker did not note is owed again, and nobody knows until it comes and is finished.
          if (atMs - finishedMs > durableMs) channel.maybe.delete(number);
          else channel.maybe.set(number, Number.POSITIVE_INFINITY);
        }
        // A REQ of the last moment may not have been noted, nor its delay.
        if (kind === "crash") {
          for (const [number, dueMs] of channel.notBefore) if (dueMs > atMs) channel.notBefore.set(number, 0);
        }
      }
    }
  }

  /** After a start, before anything else happens: the broker has what it must have. */
  async verify(life: Life): Promise<void> {
    const topics = await stats(life);
    const { step } = this;
    this.step = undefined;
    if (step !== undefined) {
      const known = this.topics.get(this.stepTopic);
      const found = topics.find((topic) => topic.topic_name === this.stepTopic);
      const end = known === undefined || known.timed || found === undefined ? -1 : await logEnd(life, this.stepTopic);
      if (step.wasDone === undefined) step.unknown?.();
      else if (step.wasDone(found, end)) step.apply();
    }
    const names = [...PLAIN, ...TIMED];
    for (const name of names) {
      const found = topics.find((topic) => topic.topic_name === name);
      const model = this.topics.get(name);
      if ((found === undefined) !== (model === undefined)) {
        this.violation(`${name} is ${found === undefined ? "gone" : "there"} (under way: ${step?.what})`);
      } else if (found !== undefined && model !== undefined) {
        await this.verifyTopic(life, name, found, model, step?.what);
      }
    }
  }

  /** Everything that is owed must come now, and nothing else. */
  async drainAll(life: Life): Promise<void> {
    for (const [name, topic] of this.topics) {
      await post(life, `/topic/unpause?topic=${name}`);
      topic.paused = false;
      release(topic);
      for (const [channelName, channel] of topic.channels) {
        await post(life, `/channel/unpause?topic=${name}&channel=${channelName}`);
        channel.paused = false;
        await this.drain(life, name, topic, channelName, channel);
      }
      await post(life, `/topic/delete?topic=${name}`);
    }
    this.topics.clear();
    await post(life, `/topic/create?topic=${BARRIER}`);
    await post(life, `/topic/delete?topic=${BARRIER}`);
  }

  private async verifyTopic(life: Life, name: string, found: StatsTopic, model: TopicModel, underWay: string | undefined): Promise<void> {
    const wrong = (what: string) => this.violation(`${name}: ${what} (under way: ${underWay})`);
    if (found.paused !== model.paused) wrong(`paused is ${found.paused}, must be ${model.paused}`);
    const waiting = model.log.length - model.released;
    if (!model.timed && found.depth !== waiting) wrong(`${found.depth} wait in the topic, must be ${waiting}`);
    if (!model.timed && model.base >= 0 && (await logEnd(life, name)) !== model.base + model.log.length) {
      wrong(`the log ends at ${await logEnd(life, name)}, must end at ${model.base + model.log.length}`);
    }
    const there = found.channels.map(({ channel_name }) => channel_name).sort();
    if (!Bun.deepEquals(there, [...model.channels.keys()].sort())) {
      return wrong(`has the channels ${there}, must have ${[...model.channels.keys()].sort()}`);
    }
    // A deferred publish that was about to join the log when the kill came joins it again, and its first sequence counts as waiting.
    const skipped = model.timed ? await skippedIn(life, name) : 0;
    for (const { channel_name, paused, depth, in_flight_count, deferred_count } of found.channels) {
      const channel = model.channels.get(channel_name) as ChannelModel;
      if (paused !== channel.paused) wrong(`paused of ${channel_name} is ${paused}, must be ${channel.paused}`);
      const holds = depth + in_flight_count + deferred_count;
      const least = owedNow(model, channel).length;
      const most = least + channel.maybe.size + model.deferred.size + skipped;
      if (holds < least || holds > most) wrong(`${channel_name} holds ${holds}, must hold ${least} to ${most}`);
    }
  }

  private async run(life: Life): Promise<void> {
    while (!life.ending && !life.draining) {
      const name = life.random.pick(life.random.chance(0.7) ? PLAIN : TIMED);
      try {
        await this.act(life, name);
        this.steps++;
      } catch (error) {
        if (!life.ending) return this.violation(`${this.step?.what ?? name} failed: ${error}`);
        return;
      }
    }
  }

  private async act(life: Life, name: string): Promise<void> {
    const { random } = life;
    const topic = this.topics.get(name);
    if (topic === undefined) return this.createTopic(life, name);
    const dice = random.next();
    const channelName = random.pick(CHANNELS);
    const channel = topic.channels.get(channelName);
    if (dice < 0.4) return this.publish(life, name, topic);
    if (dice < 0.43) return this.flag(life, name, topic, undefined);
    if (dice < 0.45) return this.deleteTopic(life, name, topic);
    if (channel === undefined) return dice < 0.8 ? this.createChannel(life, name, topic, channelName) : undefined;
    if (dice < 0.5) return this.flag(life, name, topic, channelName);
    if (dice < 0.54) return this.deleteChannel(life, name, topic, channelName);
    if (dice < 0.62) return this.seek(life, name, topic, channelName, channel);
    return this.consume(life, name, topic, channelName, channel, false);
  }

  /** Does a step. If it throws, the step stays noted as the one that was under way. */
  private async do(name: string, step: Step): Promise<void> {
    this.step = step;
    this.stepTopic = name;
    await step.call();
    step.apply();
    this.step = undefined;
  }

  private async createTopic(life: Life, name: string): Promise<void> {
    await this.do(name, {
      what: `creating ${name}`,
      call: () => post(life, `/topic/create?topic=${name}`),
      apply: () =>
        this.topics.set(name, {
          paused: false,
          timed: TIMED.includes(name),
          log: [],
          base: -1,
          released: 0,
          channels: new Map(),
          deferred: new Map(),
        }),
      wasDone: (found) => found !== undefined,
    });
    await this.prepare(life, name);
  }

  /** What has to be known and set of a topic before anything is published to it. */
  private async prepare(life: Life, name: string): Promise<void> {
    const topic = this.topics.get(name) as TopicModel;
    await post(life, `/topic/retention?topic=${name}&bytes=${RETENTION_BYTES}`);
    topic.base = await logEnd(life, name);
  }

  private async publish(life: Life, name: string, topic: TopicModel): Promise<void> {
    // A kill came before: nothing was published to it yet.
    if (topic.base < 0) await this.prepare(life, name);
    const { random } = life;
    const deferMs = topic.timed && random.chance(0.4) ? random.int(300, 3_000) : 0;
    const count = deferMs > 0 || random.chance(0.5) ? 1 : random.int(2, 30);
    const numbers = Array.from({ length: count }, () => this.nextNumber++);
    const bodies = numbers.map((number) => `${number} `.padEnd(random.int(10, BODY_FILLER), "."));
    const length = topic.log.length;
    const apply = () => {
      if (deferMs > 0) return void topic.deferred.set(numbers[0], sentMs + deferMs);
      topic.log.push(...numbers);
      for (const channel of topic.channels.values()) for (const number of numbers) channel.owed.add(number);
      release(topic);
    };
    const sentMs = now();
    await this.do(name, {
      what: `publishing ${count} messages to ${name} from ${numbers[0]} on`,
      call: async () => {
        const client = await RawClient.connect(life.tcpPort);
        try {
          if (count > 1) client.mpub(name, bodies);
          else client.command(deferMs > 0 ? `DPUB ${name} ${deferMs}` : `PUB ${name}`, bodies[0]);
          const answer = await client.response();
          if (answer !== "OK") throw new Error(`answered with ${answer}`);
        } finally {
          client.close();
        }
      },
      apply,
      ...(topic.timed
        ? { unknown: () => numbers.forEach((number) => void topic.deferred.set(number, 0)) }
        : {
            wasDone: (_found: StatsTopic | undefined, end: number) => {
              // All of it, or nothing: anything between is found by the log's end.
              return end > topic.base + length;
            },
          }),
    });
  }

  private async createChannel(life: Life, name: string, topic: TopicModel, channelName: string): Promise<void> {
    await this.do(name, {
      what: `creating ${name}/${channelName}`,
      call: () => post(life, `/channel/create?topic=${name}&channel=${channelName}`),
      apply: () => {
        // What waits in the topic goes to all channels that there are by then.
        const owed = new Set(topic.log.slice(topic.released));
        topic.channels.set(channelName, { paused: false, owed, maybe: new Map(), finishedMs: new Map(), notBefore: new Map() });
        release(topic);
      },
      wasDone: (found) => found?.channels.some(({ channel_name }) => channel_name === channelName) === true,
    });
  }

  private async deleteChannel(life: Life, name: string, topic: TopicModel, channelName: string): Promise<void> {
    await this.do(name, {
      what: `deleting ${name}/${channelName}`,
      call: () => post(life, `/channel/delete?topic=${name}&channel=${channelName}`),
      apply: () => topic.channels.delete(channelName),
      wasDone: (found) => found?.channels.some(({ channel_name }) => channel_name === channelName) !== true,
    });
  }

  private async deleteTopic(life: Life, name: string, _topic: TopicModel): Promise<void> {
    await this.do(name, {
      what: `deleting ${name}`,
      call: () => post(life, `/topic/delete?topic=${name}`),
      apply: () => this.topics.delete(name),
      wasDone: (found) => found === undefined,
    });
  }

  /** Pauses what goes, unpauses what is paused. */
  private async flag(life: Life, name: string, topic: TopicModel, channelName: string | undefined): Promise<void> {
    const target = channelName === undefined ? topic : (topic.channels.get(channelName) as ChannelModel);
    const paused = !target.paused;
    const verb = paused ? "pause" : "unpause";
    await this.do(name, {
      what: `${verb} of ${name}${channelName === undefined ? "" : `/${channelName}`}`,
      call: () =>
        post(life, channelName === undefined ? `/topic/${verb}?topic=${name}` : `/channel/${verb}?topic=${name}&channel=${channelName}`),
      apply: () => {
        target.paused = paused;
        release(topic);
      },
      wasDone: (found) => {
        const there = channelName === undefined ? found : found?.channels.find(({ channel_name }) => channel_name === channelName);
        return there?.paused === paused;
      },
    });
  }

  private async seek(life: Life, name: string, topic: TopicModel, channelName: string, channel: ChannelModel): Promise<void> {
    if (topic.paused || topic.base < 0) return;
    const { random } = life;
    const place = random.chance(0.3) ? topic.log.length : topic.timed || random.chance(0.3) ? 0 : random.int(0, topic.log.length);
    const to = place === topic.log.length ? "end" : place === 0 ? "beginning" : `sequence:${topic.base + place}`;
    const after = new Set(topic.log.slice(place));
    await this.do(name, {
      what: `seek of ${name}/${channelName} to ${to}`,
      call: () => post(life, `/channel/seek?topic=${name}&channel=${channelName}&to=${to}`),
      apply: () => {
        channel.owed = new Set(after);
        channel.maybe.clear();
        channel.notBefore.clear();
      },
      unknown: () => {
        const before = channel.owed;
        channel.owed = before.intersection(after);
        for (const number of before.symmetricDifference(after)) channel.maybe.set(number, Number.POSITIVE_INFINITY);
        channel.notBefore.clear();
      },
    });
  }

  /** Reads some messages and answers them in all ways there are; checks each that comes. */
  private async consume(
    life: Life,
    name: string,
    topic: TopicModel,
    channelName: string,
    channel: ChannelModel,
    all: boolean,
  ): Promise<void> {
    const ready = channel.paused ? 0 : owedNow(topic, channel).filter((number) => (channel.notBefore.get(number) ?? 0) < now()).length;
    const want = all ? ready : Math.min(ready, life.random.int(1, 40));
    if (want === 0) return;
    const client = await RawClient.connect(life.tcpPort);
    try {
      await client.call("IDENTIFY", JSON.stringify({ msg_timeout: MSG_TIMEOUT_MS }));
      await client.call(`SUB ${name} ${channelName}`);
      client.command(`RDY ${want}`);
      const frames: Frame[] = [];
      // Others may come in the place of those that are owed: they are checked all the same.
      while (frames.length < want) {
        const frame = await client.message();
        this.came(frame, name, topic, channelName, channel);
        frames.push(frame);
      }
      client.command("RDY 0");
      const answered: (() => void)[] = [];
      for (const frame of frames) answered.push(this.answer(life, client, frame, channel, all));
      // The barrier's OK says that all of them were read.
      client.command(`PUB ${BARRIER}`, "b");
      for (;;) {
        const frame = await client.next();
        if (frame.type === "response") break;
        // A broker that stops takes no publishes any more.
        if (frame.type === "error" && life.ending) return;
        if (frame.type === "error") return this.violation(`${name}/${channelName}: ${frame.text}`);
        // It was on its way when RDY 0 was sent: it goes back when the connection ends.
        this.came(frame, name, topic, channelName, channel);
      }
      for (const apply of answered) apply();
    } finally {
      client.close();
    }
  }

  /** @returns what it means for the channel once the broker has read it */
  private answer(life: Life, client: RawClient, frame: Frame, channel: ChannelModel, finishAll: boolean): () => void {
    const { random } = life;
    const number = Number.parseInt(frame.text, 10);
    const dice = finishAll ? 0 : random.next();
    const finished = () => {
      channel.finishedMs.set(number, now());
      if (channel.owed.delete(number) || channel.maybe.has(number)) channel.maybe.set(number, now());
      channel.notBefore.delete(number);
    };
    const mayBeFinished = () => {
      if (channel.owed.delete(number)) channel.maybe.set(number, Number.POSITIVE_INFINITY);
    };
    if (dice < 0.6 || (dice >= 0.8 && dice < 0.9)) {
      if (dice >= 0.8) client.command(`TOUCH ${frame.id}`);
      client.command(`FIN ${frame.id}`);
      // Until the barrier is answered it is finished or not.
      mayBeFinished();
      return finished;
    }
    if (dice < 0.8) {
      const delayMs = random.chance(0.3) ? 0 : random.int(260, 2_500);
      const dueMs = now() + delayMs;
      client.command(`REQ ${frame.id} ${delayMs}`);
      return () => void channel.notBefore.set(number, dueMs);
    }
    // The rest goes back with the connection.
    return () => {};
  }

  private came(frame: Frame, name: string, topic: TopicModel, channelName: string, channel: ChannelModel): void {
    const number = Number.parseInt(frame.text, 10);
    const what = `${name}/${channelName} got ${number}`;
    const deferredMs = topic.deferred.get(number);
    if (!channel.owed.has(number) && !channel.maybe.has(number) && deferredMs === undefined) {
      const finishedMs = channel.finishedMs.get(number);
      const when = finishedMs === undefined ? "" : `: it was finished at ${finishedMs.toFixed(0)}`;
      return this.violation(`${what}, which it must not get any more${when}`);
    }
    if (channel.paused) this.violation(`${what} while it was paused`);
    const dueMs = Math.max(channel.notBefore.get(number) ?? 0, deferredMs ?? 0);
    if (now() < dueMs - EARLY_TOLERANCE_MS) this.violation(`${what} ${(dueMs - now()).toFixed(0)} ms before it was due`);
    const place = topic.log.indexOf(number);
    if (place >= topic.released) this.violation(`${what}, which the topic holds back`);
  }

  private async drain(life: Life, name: string, topic: TopicModel, channelName: string, channel: ChannelModel): Promise<void> {
    const client = await RawClient.connect(life.tcpPort);
    const came = new Set<number>();
    await client.call(`SUB ${name} ${channelName}`);
    client.onFrame = (frame) => {
      if (frame.type !== "message") return;
      this.came(frame, name, topic, channelName, channel);
      came.add(Number.parseInt(frame.text, 10));
      client.command(`FIN ${frame.id}`);
    };
    client.command("RDY 500");
    await until(
      `${name}/${channelName} is empty`,
      async () => {
        const found = (await stats(life)).find((one) => one.topic_name === name)?.channels.find((one) => one.channel_name === channelName);
        return found !== undefined && found.depth + found.in_flight_count + found.deferred_count === 0;
      },
      20_000,
    );
    client.close();
    const missing = [...channel.owed].filter((number) => !came.has(number));
    if (missing.length > 0) this.violation(`${name}/${channelName}: ${missing.length} messages are lost: ${missing.slice(0, 10)}`);
  }

  private violation(what: string): void {
    this.ledger.violation(`churn: ${what}`);
  }
}

/** With a channel, and not paused, a topic passes on all it has. */
function release(topic: TopicModel): void {
  if (!topic.paused && topic.channels.size > 0) topic.released = topic.log.length;
}

/** What is owed, and not held back by the topic. */
function owedNow(topic: TopicModel, channel: ChannelModel): number[] {
  const waiting = new Set(topic.log.slice(topic.released));
  return [...channel.owed].filter((number) => !waiting.has(number));
}

async function post(life: Life, path: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${life.httpPort}${path}`, { method: "POST" });
  if (response.status !== 200) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
  await response.arrayBuffer();
}

async function stats(life: Life): Promise<StatsTopic[]> {
  const response = await fetch(`http://127.0.0.1:${life.httpPort}/stats?format=json&include_clients=false`);
  return ((await response.json()) as { topics: StatsTopic[] }).topics;
}

/** The sequence that the next message of a topic gets. */
async function logEnd(life: Life, topic: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${life.httpPort}/topic/messages?topic=${topic}&from=end&limit=1`);
  return ((await response.json()) as { end: number }).end;
}

interface Page {
  messages: unknown[];
  beginning: number;
  next: number;
  end: number;
}

/** How many sequences of a topic's log have no message. */
async function skippedIn(life: Life, topic: string): Promise<number> {
  const listing = `http://127.0.0.1:${life.httpPort}/topic/messages?topic=${topic}&limit=1000`;
  let page = (await (await fetch(listing)).json()) as Page;
  let skipped = page.end - page.beginning - page.messages.length;
  while (page.next < page.end) {
    page = (await (await fetch(`${listing}&from=${page.next}`)).json()) as Page;
    skipped -= page.messages.length;
  }
  return skipped;
}
