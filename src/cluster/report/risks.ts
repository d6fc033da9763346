import type { ClusterView, Stored } from "../state/cluster-view.ts";
import { topicAndPartition } from "../state/keys.ts";
import type { MoveRecord, PartitionRecord, TopicRecord } from "../state/records.ts";
import type { BrokerNames } from "./broker-names.ts";
import { inWords, partitionRisk, type Risk, risk, type Trouble } from "./risk.ts";
import type { Sightings } from "./sightings.ts";

/** A hand-over takes well below a second, and is forced after some. */
const LEADING_MS = 30_000;
/** How long copying takes depends on the data, so this is only worth a look. */
const COPYING_MS = 900_000;
const WAITING_MS = 1_800_000;
const REMOVAL_MS = 1_800_000;
const CHANGE_MS = 15_000;
const CONTROLLER_MS = 10_000;

/** A disk is nearly full if it has less than both of these. */
const LOW_PART = 0.05;
const LOW_BYTES = 10 * 2 ** 30;

/** What risks are read from. */
export interface RiskSources {
  readonly view: ClusterView;
  readonly names: BrokerNames;
  readonly sightings: Sightings;
  /** Whether etcd has answered lately. */
  readonly isCurrent: boolean;
  /** How long there has been no controller, ms; 0: there is one. */
  readonly withoutControllerMs: number;
  /** What this lookup server's flag says: in how many replicas a publish must be, for topics of which nobody says; 0: in a majority. */
  readonly minInSync: number;
}

/** What may go wrong next, and what already has, the worst first. */
export function findRisks(sources: RiskSources): Risk[] {
  const risks = [
    ...generalRisks(sources),
    ...partitionRisks(sources),
    ...brokerRisks(sources),
    ...moveRisks(sources),
    ...topicRisks(sources),
  ];
  return [...risks.filter(({ severity }) => severity === "critical"), ...risks.filter(({ severity }) => severity === "warning")];
}

function generalRisks({ view, isCurrent, withoutControllerMs }: RiskSources): Risk[] {
  const risks: Risk[] = [];
  if (!isCurrent)
    risks.push(
      risk(
        "etcd-away",
        "critical",
        "This lookup server does not reach etcd, so what it tells may be old. Brokers whose followers are in sync go on; a broker that fails now is not replaced before etcd is back.",
      ),
    );
  else if (withoutControllerMs > CONTROLLER_MS)
    risks.push(
      risk(
        "no-controller",
        "warning",
        "No lookup server is the controller, so moves, removals and new replicas stand still. Publishing and consuming do not depend on it.",
        withoutControllerMs,
      ),
    );
  for (const [key, error] of view.unreadable)
    risks.push(risk("unreadable", "warning", `${key} in etcd cannot be read and counts as it was before: ${error.message}.`));
  return risks;
}

/** Groups partitions by what they have in common. */
class Troubles {
  readonly groups = new Map<string, Trouble>();

  add(reason: string, name: string, forMs: number): void {
    const group = this.groups.get(reason);
    if (group === undefined) this.groups.set(reason, { names: [name], forMs });
    else {
      group.names.push(name);
      group.forMs = Math.max(group.forMs, forMs);
    }
  }

  risks(make: (trouble: Trouble, reason: string) => Risk): Risk[] {
    return [...this.groups].map(([reason, trouble]) => make(trouble, reason));
  }
}

function partitionRisks(sources: RiskSources): Risk[] {
  const { view, names, sightings } = sources;
  const [leaderless, passing, closed, single, behind, crowded] = Array.from({ length: 6 }, () => new Troubles()) as [
    Troubles,
    Troubles,
    Troubles,
    Troubles,
    Troubles,
    Troubles,
  ];
  const list = (uids: readonly string[]) =>
    uids
      .map((uid) => names.label(uid))
      .sort()
      .join(", ");
  const zones = new Set([...view.brokers.values()].map(({ value }) => value.zone));
  for (const [name, { value }] of view.partitions) {
    const topic = view.topics.get(topicAndPartition(name).topic)?.value;
    if (topic === undefined || topic.uid !== value.uid || topic.change?.kind === "create" || topic.change?.kind === "delete") continue;
    const { replicas, inSync, leader } = value;
    const forMs = sightings.partitionMs(name);
    const alive = inSync.filter((uid) => names.isAlive(uid));
    const wanted = Math.max(topic.replicas, replicas.length);
    if (leader === "" || !names.isAlive(leader)) {
      if (alive.length > 0) passing.add("", name, forMs);
      else leaderless.add(list(inSync), name, forMs);
      continue;
    }
    if (inSync.length < topic.minInSync) closed.add(`${inSync.length} of at least ${topic.minInSync}`, name, forMs);
    else if (inSync.length === 1 && wanted > 1) single.add(list(inSync), name, forMs);
    else if (inSync.length < wanted) behind.add(whyBehind(sources, value, topic), name, forMs);
    else if (wanted > 1 && zones.size > 1 && isInOneZone(names, replicas)) crowded.add(names.record(leader)?.zone ?? "", name, forMs);
  }
  return [
    ...leaderless.risks((trouble, inSync) =>
      partitionRisk("no-leader", "critical", trouble, (which, isOne) => {
        const them = isOne ? "it" : "them";
        const last = inSync.includes(", ")
          ? "which are away: start one of them again. If their disks are"
          : "which is away: start it again. If its disk is";
        return `${capital(which)} ${isOne ? "has" : "have"} no leader: nothing can be published to ${them} or consumed from ${them}. All that was acknowledged is only at ${inSync}, ${last} lost for good, \`bunsq cluster recover\` goes on without what only that had.`;
      }),
    ),
    ...passing.risks((trouble) =>
      partitionRisk("no-leader", "critical", trouble, (which, isOne) => {
        const so = trouble.forMs > LEADING_MS ? ", which takes a second as a rule: see the logs of the brokers in sync" : "";
        return `${capital(which)} ${isOne ? "has" : "have"} no leader at this moment. A replica in sync is alive and takes over${so}.`;
      }),
    ),
    ...closed.risks((trouble, count) =>
      partitionRisk(
        "not-writable",
        "critical",
        trouble,
        (which, isOne) =>
          `${capital(which)} ${isOne ? "takes" : "take"} no publishes: ${count} replicas are in sync. Consumers go on. Start the brokers that are away, or lower the number with \`bunsq cluster min-in-sync\`.`,
      ),
    ),
    ...single.risks((trouble, broker) =>
      partitionRisk(
        "one-in-sync",
        "critical",
        trouble,
        (which, isOne) =>
          `Only one replica of ${which} is in sync, at ${broker}. If that disk is lost, so is what ${isOne ? "it has" : "they have"}.`,
      ),
    ),
    ...behind.risks((trouble, why) =>
      partitionRisk(
        "under-replicated",
        "warning",
        trouble,
        (which, isOne) => `${capital(which)} ${isOne ? "has" : "have"} fewer replicas in sync than wanted: ${why}.`,
      ),
    ),
    ...crowded.risks((trouble, zone) =>
      partitionRisk("one-zone", "warning", trouble, (which) => `All replicas of ${which} are in zone "${zone}" and fail with it.`),
    ),
  ];
}

function whyBehind({ view, names }: RiskSources, { replicas, inSync, prefix }: PartitionRecord, topic: TopicRecord): string {
  const missing = replicas.filter((uid) => !inSync.includes(uid));
  const away = missing.filter((uid) => !names.isAlive(uid));
  const copying = missing.filter((uid) => names.isAlive(uid));
  const reasons: string[] = [];
  if (away.length > 0) reasons.push(`${away.map((uid) => names.label(uid)).join(", ")} ${away.length === 1 ? "is" : "are"} away`);
  if (copying.length > 0)
    reasons.push(`${copying.map((uid) => names.label(uid)).join(", ")} ${copying.length === 1 ? "is" : "are"} catching up`);
  if (replicas.length < topic.replicas)
    reasons.push(view.moves.has(String(prefix)) ? "another replica is being added" : "another replica is to be added");
  return reasons.join("; ");
}

function isInOneZone(names: BrokerNames, replicas: readonly string[]): boolean {
  return new Set(replicas.map((uid) => names.record(uid)?.zone)).size === 1;
}

function brokerRisks({ view, names, sightings }: RiskSources): Risk[] {
  const risks: Risk[] = [];
  const held = new Map<string, number>();
  for (const { value } of view.partitions.values()) for (const uid of value.replicas) held.set(uid, (held.get(uid) ?? 0) + 1);
  for (const [uid, count] of held) {
    if (names.isAlive(uid) || view.removals.has(uid)) continue;
    const awayMs = sightings.awayMs(uid);
    const text = `Broker ${names.label(uid)} has been away for ${inWords(awayMs)} at least. It has a replica of ${count} partition${count === 1 ? "" : "s"}: start it again, or have others take its place with \`bunsq cluster remove-node ${names.record(uid)?.http || uid}\`.`;
    risks.push(risk("broker-away", "warning", text, awayMs));
  }
  for (const { value } of view.brokers.values()) {
    const { sizeBytes, freeBytes } = value.disk;
    if (sizeBytes === 0 || freeBytes >= LOW_BYTES || freeBytes >= sizeBytes * LOW_PART) continue;
    const left = `${(freeBytes / 2 ** 30).toFixed(1)} GiB (${Math.floor((100 * freeBytes) / sizeBytes)}%)`;
    const text = `The disk of broker ${names.label(value.uid)} has ${left} left. When it is full, the broker leaves the in-sync sets of its partitions.`;
    risks.push(risk("disk-low", "warning", text));
  }
  for (const [uid, { value }] of view.removals) {
    if (value.state === "drained") continue;
    const forMs = sightings.removalMs(uid);
    if (value.problem === "" && forMs < REMOVAL_MS) continue;
    const why = value.problem === "" ? `nothing has moved for ${inWords(forMs)}` : value.problem;
    const text = `The removal of broker ${names.label(uid)} stands still with ${value.left} of ${value.partitions} partitions left: ${why}.`;
    risks.push(risk("removal-stuck", "warning", text, forMs));
  }
  return risks;
}

function moveRisks({ view, names, sightings }: RiskSources): Risk[] {
  const risks: Risk[] = [];
  for (const [name, { value }] of view.moves) {
    const forMs = sightings.moveMs(name);
    const most = value.state === "leading" ? LEADING_MS : value.state === "copying" ? COPYING_MS : WAITING_MS;
    if (forMs < most) continue;
    const text = `${moveInWords(names, value)} has been ${STATES[value.state](names, value)} for ${inWords(forMs)}.`;
    risks.push({ ...risk("move-stuck", "warning", text, forMs), partitions: [`${value.topic}/${value.partition}`], partition_count: 1 });
  }
  return risks;
}

const STATES: Record<MoveRecord["state"], (names: BrokerNames, move: MoveRecord) => string> = {
  waiting: () => "waiting for other moves of its brokers",
  copying: (names, { to }) => `copying to ${names.label(to)}${names.isAlive(to) ? "" : ", which is away"}`,
  leading: () => "waiting for the leader to hand over",
};

/** `The move of orders/0 from A to B`. */
function moveInWords(names: BrokerNames, { what, topic, partition, from, to }: MoveRecord): string {
  const which = `${topic}/${partition}`;
  if (what === "replace") return `The move of ${which} from ${names.label(from)} to ${names.label(to)}`;
  if (what === "add") return `The new replica of ${which} at ${names.label(to)}`;
  if (what === "drop") return `The removal of the replica of ${which} from ${names.label(from)}`;
  return `The change of the leader of ${which} to ${names.label(to)}`;
}

function topicRisks({ view, names, sightings, minInSync }: RiskSources): Risk[] {
  const risks: Risk[] = [];
  // Those that are away may come back.
  const brokers = [...names.all()].filter((uid) => !view.removals.has(uid)).length;
  const tooMany: string[] = [];
  const capped: string[] = [];
  let most = 0;
  for (const [name, { value }] of view.topics as ReadonlyMap<string, Stored<TopicRecord>>) {
    const { change, replicas } = value;
    if (replicas < minInSync && value.minInSync === replicas) capped.push(name);
    if (replicas > brokers) {
      tooMany.push(name);
      most = Math.max(most, replicas);
    }
    const forMs = sightings.changeMs(name);
    if (change === undefined || forMs < CHANGE_MS) continue;
    const doing = { create: "is being made", expand: "is getting more partitions", delete: "is being deleted" }[change.kind];
    risks.push(risk("topic-unfinished", "warning", `Topic ${name} ${doing}, and that has not ended for ${inWords(forMs)}.`, forMs));
  }
  if (tooMany.length > 0) {
    const text = `${someTopics(tooMany)} ${tooMany.length === 1 ? "is" : "are"} to have ${most} replicas, and there are ${brokers} brokers for them.`;
    risks.push(risk("too-few-brokers", "warning", text));
  }
  if (capped.length > 0) {
    const text = `${someTopics(capped)} ${capped.length === 1 ? "has" : "have"} fewer replicas than the ${minInSync} that -min-in-sync has acknowledge a publish, so fewer do: give more with \`bunsq cluster replicas\`.`;
    risks.push(risk("fewer-than-min-in-sync", "warning", text));
  }
  return risks;
}

/** `Topic a`, `4 topics (a, b, c, …)`. */
function someTopics(names: readonly string[]): string {
  return names.length === 1
    ? `Topic ${names[0]}`
    : `${names.length} topics (${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""})`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
