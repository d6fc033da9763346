import { useState } from "preact/hooks";
import type { ClusterBroker, ReplicaRow } from "../../cluster-api.ts";
import { plural } from "../format/numbers.ts";
import { ActionDialog, askAction } from "./action-dialog.tsx";
import { showDialog } from "./dialog.tsx";

/** No partition has more. */
const MOST_REPLICAS = 16;

interface ChoiceProps {
  label: string;
  value: string;
  /** Uids of brokers and what they are called. */
  options: readonly { uid: string; name: string; note?: string }[];
  onChange(uid: string): void;
}

/** One of several brokers. */
function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <select required value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(({ uid, name, note }) => (
          <option key={uid} value={uid}>
            {note === undefined ? name : `${name} · ${note}`}
          </option>
        ))}
      </select>
    </label>
  );
}

const NOTES = { leader: "leads", in_sync: "in sync", behind: "not in sync", away: "away" };

function MoveDialog({ row, brokers }: { row: ReplicaRow; brokers: readonly ClusterBroker[] }) {
  const { topic, partition, key, replicas } = row;
  const has = new Set(replicas.map(({ uid }) => uid));
  const targets = brokers.filter(({ uid, state }) => state === "alive" && !has.has(uid));
  const [from, setFrom] = useState((replicas.find(({ role }) => role === "away") ?? replicas.at(-1))?.uid ?? "");
  const [to, setTo] = useState(targets[0]?.uid ?? "");
  return (
    <ActionDialog
      title={`Move a replica of ${key}`}
      verb="Move"
      request={() => (from === "" || to === "" ? undefined : { action: "move", topic, value: { partition, from, to } })}
    >
      {targets.length === 0 ? (
        <p class="failure">Each broker that is alive and stays has a replica of it already: there is none to move one to.</p>
      ) : (
        <>
          <p>
            The broker that gets it copies the partition first. Only when it is in sync the other one gives its replica up, so at no time
            there are fewer than now. Publishing goes on; if the leader is moved, publishes wait for a moment.
          </p>
          <Choice
            label="From"
            value={from}
            options={replicas.map(({ uid, name, role }) => ({ uid, name, note: NOTES[role] }))}
            onChange={setFrom}
          />
          <Choice
            label="To"
            value={to}
            options={targets.map(({ uid, name, zone }) => ({ uid, name, ...(zone === "" ? {} : { note: `zone ${zone}` }) }))}
            onChange={setTo}
          />
        </>
      )}
    </ActionDialog>
  );
}

/** Has a replica moved from one broker to another. */
export function askMove(row: ReplicaRow, brokers: readonly ClusterBroker[]): void {
  showDialog(<MoveDialog row={row} brokers={brokers} />);
}

function LeadDialog({ row }: { row: ReplicaRow }) {
  const { topic, partition, key, replicas, leader } = row;
  const candidates = replicas.filter(({ role }) => role === "in_sync");
  const [to, setTo] = useState(candidates[0]?.uid ?? "");
  return (
    <ActionDialog
      title={`Leader of ${key}`}
      verb="Hand over"
      request={() => (to === "" ? undefined : { action: "lead", topic, value: { partition, to } })}
    >
      {candidates.length === 0 ? (
        <p class="failure">No other replica is in sync, and only one that is may lead.</p>
      ) : (
        <>
          <p>
            {leader === "" ? "Nobody leads it now." : `${leader} leads it now.`} Publishes wait for a fraction of a second, and consumers
            connect to the new leader. Nothing is lost.
          </p>
          <Choice label="New leader" value={to} options={candidates} onChange={setTo} />
        </>
      )}
    </ActionDialog>
  );
}

/** Has another replica lead a partition. */
export function askLead(row: ReplicaRow): void {
  showDialog(<LeadDialog row={row} />);
}

/** What a lookup server is told that a broker is: two data paths may have been at one address. */
function idOf({ uid, name }: ClusterBroker, brokers: readonly ClusterBroker[]): string {
  return brokers.filter((broker) => broker.name === name).length > 1 ? uid : name;
}

/** Has all partitions of a broker moved to others. */
export function askRemove(broker: ClusterBroker, brokers: readonly ClusterBroker[]): void {
  const id = idOf(broker, brokers);
  const { replicas, state } = broker;
  askAction({
    title: `Remove ${broker.name}`,
    verb: "Remove",
    isDanger: true,
    confirm: id,
    request: () => ({ action: "remove_node", broker: id }),
    children: (
      <p>
        {replicas === 0
          ? "It has no replicas, and gets none any more."
          : `Its ${plural(replicas, "replica")} ${replicas === 1 ? "is" : "are"} copied to other brokers, one after the other${
              state === "away" ? " from those that have them, too" : ""
            }, and it gets no new ones.`}{" "}
        This page says how far that is, and when the broker may be stopped. It can be called off; what was moved then stays where it is.
      </p>
    ),
  });
}

/** Calls the removal of a broker off. */
export function askKeep(broker: ClusterBroker, brokers: readonly ClusterBroker[]): void {
  const id = idOf(broker, brokers);
  const request = () => ({ action: "keep_node", broker: id }) as const;
  if (broker.state === "removed") {
    const children = <p>It is not shown here any more. If it comes back it is as any other broker, and may get replicas.</p>;
    askAction({ title: `Forget ${broker.name}`, verb: "Forget", request, children });
    return;
  }
  askAction({
    title: `Keep ${broker.name}`,
    verb: "Keep",
    request,
    children: <p>The broker stays, and may get replicas again. What was moved stays where it is now.</p>,
  });
}

/** Has leaders and replicas spread evenly now. */
export function askBalance(): void {
  askAction({
    title: "Balance the cluster",
    verb: "Balance",
    request: () => ({ action: "balance" }),
    children: (
      <p>
        Leaders are spread evenly over the brokers at once: publishes to each partition that is handed over wait for a fraction of a second.
        Then replicas are moved, one after the other. The cluster does that by itself, too, if slower and only where it is uneven.
      </p>
    ),
  });
}

function ReplicasDialog({ topic, replicas, brokers }: { topic: string; replicas: number; brokers: number }) {
  const [next, setNext] = useState(String(replicas));
  return (
    <ActionDialog
      title={`Replicas of ${topic}`}
      verb="Set"
      request={() => ({ action: "replicas", topic, value: { replicas: Number(next) } })}
    >
      <p>
        Each of its partitions is to be on this many brokers; there are {brokers} now. New replicas are copied in the background; of those
        that are too many, one goes only while enough others are in sync.
      </p>
      <label class="field">
        <span>Replicas</span>
        <input
          type="number"
          min="1"
          max={MOST_REPLICAS}
          step="1"
          required
          value={next}
          onInput={(event) => setNext(event.currentTarget.value)}
        />
      </label>
    </ActionDialog>
  );
}

/** Gives a topic another number of replicas. @param brokers how many could have one */
export function askReplicas(topic: string, replicas: number, brokers: number): void {
  showDialog(<ReplicasDialog topic={topic} replicas={replicas} brokers={brokers} />);
}
