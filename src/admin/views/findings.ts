import type { ChannelOnBroker, ChannelRow, Finding } from "../console-api.ts";
import type { ChannelDelivery } from "../partition-api.ts";
import type { ClientRecord } from "../watch/client-record.ts";

/** The findings of one channel about single consumers. */
const MOST_OF_CLIENTS = 20;
/** More deliveries than this for each finished message are worth a word. */
const MANY_DELIVERIES = 1.5;
/** A message that was delivered this often, and is not finished, is a finding. */
const MANY_ATTEMPTS = 5;
/** A consumer is slow if it finishes less than this part of what the one in the middle does. */
const SLOW_SHARE = 0.25;
/** Fewer consumers do not say what is usual. */
const LEAST_TO_COMPARE = 3;

/** What is known of a channel. */
export interface ChannelFacts {
  row: ChannelRow;
  byBroker: readonly ChannelOnBroker[];
  /** The brokers that have paused its topic. */
  topicPaused: number;
  consumers: readonly ClientRecord[];
  /** Undefined: nobody tells. */
  delivery: ChannelDelivery | undefined;
}

/** Why the consumers of a channel are slow: the gravest reason first. */
export function channelFindings(facts: ChannelFacts): Finding[] {
  return [
    ...readFailures(facts),
    ...poison(facts),
    ...pauses(facts),
    ...missingConsumers(facts),
    ...notReady(facts),
    ...fullConsumers(facts),
    ...timeouts(facts),
    ...attempts(facts),
    ...requeues(facts),
    ...slowConsumers(facts),
    ...deadLetters(facts),
  ];
}

/** Why one consumer gets nothing. @param depth the messages that wait for it at its broker */
export function clientFindings(client: ClientRecord, depth: number): Finding[] {
  const { ready, inFlight, broker, key } = client;
  if (ready === 0) {
    return [{ kind: "ready_0", text: "Its RDY is 0, so it gets no messages: it backs off, or is about to stop.", broker, client: key }];
  }
  if (inFlight < ready || depth === 0) return [];
  const text = `It has ${count(inFlight, "message")} in flight and its RDY is ${ready}, so it gets no more before it finishes some.`;
  return [{ kind: "in_flight_full", text, broker, client: key }];
}

function readFailures({ byBroker }: ChannelFacts): Finding[] {
  return byBroker.flatMap(({ broker, read_failure: why }): Finding[] =>
    why === undefined ? [] : [{ kind: "read_failure", text: `${broker} cannot read its messages: ${why}`, broker }],
  );
}

function poison({ delivery }: ChannelFacts): Finding[] {
  const tried = delivery?.most_tried;
  if (delivery === undefined || tried === undefined || tried === null || tried.attempts < MANY_ATTEMPTS) return [];
  const { id, attempts, broker } = tried;
  const behind = { none: "", key: " All of its key wait behind it.", partition: " All of its partition wait behind it." }[delivery.order];
  const end = delivery.max_attempts > 0 ? ` It goes to ${delivery.dead_letter_topic} after ${delivery.max_attempts} attempts.` : "";
  const text = `A message was delivered ${attempts} times and is not finished.${behind}${end}`;
  return [{ kind: "poison", text, broker, message: id }];
}

function deadLetters({ delivery }: ChannelFacts): Finding[] {
  if (delivery === undefined || delivery.dead_letters === 0) return [];
  const { dead_letters: moved, dead_letter_topic: topic } = delivery;
  const where = topic === "" ? "their dead letter topic" : topic;
  const text = `${count(moved, "message")} ${moved === 1 ? "was" : "were"} given up and moved to ${where} since the brokers started.`;
  return [{ kind: "dead_letters", text, ...(topic === "" ? {} : { topic }) }];
}

function pauses({ row, byBroker, topicPaused }: ChannelFacts): Finding[] {
  const found: Finding[] = [];
  if (row.paused > 0) {
    const which = byBroker.filter(({ paused }) => paused);
    const waiting = which.reduce((sum, { depth }) => sum + depth, 0);
    const where = at(row.paused, row.brokers);
    found.push({
      kind: "paused",
      text: `The channel is paused ${where}: nothing is delivered there, and ${count(waiting, "message")} wait.`,
      ...(which.length === 1 ? { broker: which[0]!.broker } : {}),
    });
  }
  if (topicPaused > 0) {
    found.push({
      kind: "paused",
      text: `The topic is paused ${at(topicPaused, row.brokers)}: new messages do not reach the channel there.`,
    });
  }
  return found;
}

function missingConsumers({ row, byBroker }: ChannelFacts): Finding[] {
  if (row.clients === 0) {
    if (row.depth === 0 && !((row.in_rate ?? 0) > 0)) return [];
    return [{ kind: "no_consumers", text: `No consumer is connected, and ${count(row.depth, "message")} wait.` }];
  }
  return byBroker
    .filter(({ clients, depth }) => clients === 0 && depth > 0)
    .map(({ broker, depth }) => {
      const text = `No consumer is connected to ${broker}, where ${count(depth, "message")} wait; there are consumers at other brokers only.`;
      return { kind: "no_consumers", text, broker };
    });
}

function notReady({ consumers }: ChannelFacts): Finding[] {
  const idle = consumers.filter(({ ready }) => ready === 0);
  if (idle.length === 0) return [];
  const isOne = idle.length === 1;
  const who = idle.length === consumers.length ? everyConsumer(idle.length) : `${idle.length} of ${consumers.length} consumers`;
  const text = isOne
    ? `${who} has RDY 0 and gets no messages: it backs off after errors, or is about to stop.`
    : `${who} have RDY 0 and get no messages: they back off after errors, or are about to stop.`;
  return [{ kind: "ready_0", text, ...(isOne ? named(idle[0]!) : {}) }];
}

function fullConsumers({ row, consumers }: ChannelFacts): Finding[] {
  if (row.depth === 0) return [];
  const taking = consumers.filter(({ ready }) => ready > 0);
  const full = taking.filter(({ ready, inFlight }) => inFlight >= ready);
  if (full.length === 0 || full.length < taking.length) return [];
  const inFlight = full.reduce((sum, client) => sum + client.inFlight, 0);
  const ready = full.reduce((sum, client) => sum + client.ready, 0);
  const have = full.length === 1 ? "The only consumer with RDY has" : `All ${full.length} consumers with RDY have`;
  const text =
    `${have} as many messages in flight as RDY allows (${inFlight} of ${ready}), ` +
    `while ${count(row.depth, "message")} wait: more consumers, or a larger RDY, would empty the channel faster.`;
  return [{ kind: "in_flight_full", text }];
}

function timeouts({ row }: ChannelFacts): Finding[] {
  const rate = row.timeout_rate ?? 0;
  if (rate === 0) return [];
  const text = `${perSecond(rate)} time out${shareOf(rate, row.out_rate)}: consumers need longer than the message timeout, or end without finishing.`;
  return [{ kind: "timeouts", text }];
}

function attempts({ row }: ChannelFacts): Finding[] {
  const { out_rate: delivered, finish_rate: finished } = row;
  if (delivered === null || finished === null || delivered === 0) return [];
  const again = (row.requeue_rate ?? 0) + (row.timeout_rate ?? 0);
  if (again === 0) return [];
  if (finished === 0) return [{ kind: "attempts", text: `${perSecond(delivered)} are delivered, and none is finished.` }];
  if (delivered < finished * MANY_DELIVERIES) return [];
  return [{ kind: "attempts", text: `Each finished message was delivered ${(delivered / finished).toFixed(1)} times on average.` }];
}

function requeues({ row }: ChannelFacts): Finding[] {
  const rate = row.requeue_rate ?? 0;
  if (rate === 0) return [];
  return [{ kind: "requeues", text: `${perSecond(rate)} are requeued by consumers${shareOf(rate, row.out_rate)}.` }];
}

function slowConsumers({ row, consumers }: ChannelFacts): Finding[] {
  const rates = consumers.map(({ finishRate }) => finishRate).filter((rate) => !Number.isNaN(rate));
  if (rates.length < LEAST_TO_COMPARE || row.depth === 0) return [];
  const usual = rates.sort((a, b) => a - b)[Math.floor(rates.length / 2)]!;
  return consumers
    .filter(({ ready, inFlight, finishRate }) => ready > 0 && inFlight >= ready && finishRate < usual * SLOW_SHARE)
    .slice(0, MOST_OF_CLIENTS)
    .map((client) => {
      const text =
        `${client.clientId || client.remoteAddress} finishes ${number(client.finishRate)} messages a second, ` +
        `while half of the consumers finish ${number(usual)} or more; it has ${client.inFlight} in flight.`;
      return { kind: "slow_consumer", text, ...named(client) };
    });
}

function named(client: ClientRecord): Pick<Finding, "broker" | "client"> {
  return { broker: client.broker, client: client.key };
}

function everyConsumer(consumers: number): string {
  return consumers === 1 ? "The only consumer" : `All ${consumers} consumers`;
}

function at(brokers: number, all: number): string {
  if (brokers < all) return `at ${brokers} of ${all} brokers`;
  return all === 1 ? "at its broker" : `at all ${all} brokers`;
}

function perSecond(rate: number): string {
  return `${number(rate)} messages a second`;
}

/** ` (8 % of those delivered)` */
function shareOf(rate: number, delivered: number | null): string {
  if (delivered === null || delivered === 0) return "";
  return ` (${number(Math.min(100, (100 * rate) / delivered))} % of those delivered)`;
}

function count(messages: number, what: string): string {
  return `${messages.toLocaleString("en-US")} ${what}${messages === 1 ? "" : "s"}`;
}

function number(value: number): string {
  return value >= 10 ? Math.round(value).toLocaleString("en-US") : String(Math.round(value * 100) / 100);
}
