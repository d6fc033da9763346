import type { DatabaseCall } from "../../../support/failing-database.ts";
import type { DiskCall } from "../../../support/flaky-disk.ts";

/** What a client or operator asks of the broker, which may be refused while a file of some kind fails. */
export type Request = "publish" | "publish with a key" | "defer" | "make a topic" | "make a channel" | "delete a topic";

export type Call = DiskCall | `SQL ${DatabaseCall}`;

/** Topics whose own files fail have such names. All others must not notice. */
export const VICTIM = "(?:victim|victim@1|victim-\\d+|doomed-\\d+)";

/** A kind of file, and what may be seen of it when it fails. docs/file-formats.md lists them. */
export interface FileKind {
  readonly name: string;
  readonly path: RegExp;
  /** What may be refused while it fails. Where the files are a topic's own, only requests to that topic. */
  readonly refuses: readonly Request[];
  /** What may be refused while it fails since the start, if that is more: the broker does not know what it has. */
  readonly refusesAtStart?: readonly Request[];
  /** The files belong to a topic each. */
  readonly ofTopic?: true;
  /** The broker may refuse to start. */
  readonly refusesStart?: true;
  /** What was finished while it failed may be delivered again after a kill or a stop. */
  readonly repeats?: true;
}

const ALL: readonly Request[] = ["publish", "publish with a key", "defer", "make a topic", "make a channel", "delete a topic"];
const TOPIC_REQUESTS = ["publish", "publish with a key", "defer"] as const;
/** Beside a name, what a file is called before it is whole, while it is removed, or when it is set aside. */
const END = "(?:\\.new|\\.gone|\\.damaged.*)?$";

function inTopic(name: string): RegExp {
  return new RegExp(`/topics/\\d{5}-${VICTIM}/${name}`);
}

const OF_DISK: readonly FileKind[] = [
  {
    name: "log segment",
    path: inTopic(`[0-9a-f]{16}\\.log${END}`),
    ofTopic: true,
    refuses: [...TOPIC_REQUESTS, "make a topic"],
    refusesAtStart: ALL,
  },
  {
    name: "index",
    path: inTopic(`[0-9a-f]{16}\\.idx${END}`),
    ofTopic: true,
    refuses: [...TOPIC_REQUESTS, "make a topic"],
    refusesAtStart: ALL,
  },
  { name: "topic file", path: inTopic(`topic${END}`), ofTopic: true, refuses: ["make a topic"], refusesAtStart: ALL },
  {
    name: "folder of a topic",
    path: new RegExp(`/topics/\\d{5}-${VICTIM}$`),
    ofTopic: true,
    refuses: [...TOPIC_REQUESTS, "make a topic", "delete a topic"],
    refusesAtStart: ALL,
  },
  { name: "deleted topic", path: /\/topics\/deleted-\d+(?:\/.*)?$/, refuses: ["delete a topic"] },
  { name: "backup of the metadata store", path: new RegExp(`/topics/catalogue\\.copy${END}`), refuses: [] },
  { name: "folder of topics", path: /\/topics$/, refuses: ["make a topic", "delete a topic"], refusesAtStart: ALL, refusesStart: true },
  { name: "bucket", path: new RegExp(`/deferred/\\d+-\\d+\\.msg${END}`), refuses: ["defer"], repeats: true },
  { name: "status records", path: new RegExp(`/deferred/\\d+-\\d+\\.done${END}`), refuses: ["defer"], repeats: true },
  { name: "folder of buckets", path: /\/deferred$/, refuses: ["defer"], refusesStart: true, repeats: true },
  { name: "keys", path: new RegExp(`/keys/\\d+\\.keys${END}`), refuses: ["publish with a key"] },
  { name: "folder of keys", path: /\/keys$/, refuses: ["publish with a key"], refusesStart: true },
  { name: "journal", path: new RegExp(`/bunsq-data/journal${END}`), refuses: [], refusesAtStart: ALL },
  { name: "recycled segment", path: new RegExp(`/recycled/\\d+${END}`), refuses: [] },
  { name: "folder of recycled segments", path: /\/recycled$/, refuses: [] },
  { name: "traces of messages", path: new RegExp(`/trace/\\d+\\.trace${END}`), refuses: [] },
  { name: "folder of traces", path: /\/bunsq-data\/trace$/, refuses: [] },
  { name: "ballast", path: new RegExp(`/ballast${END}`), refuses: [] },
  { name: "broker's folder", path: /\/bunsq-data$/, refuses: [], refusesStart: true },
  { name: "data path", path: /\/bunsq-test-[^/]+$/, refuses: [], refusesStart: true },
];

/** SQLite opens its files by itself, so their calls are its statements. */
export const METADATA_STORE: FileKind = {
  name: "metadata store",
  path: /catalogue\.sqlite/,
  refuses: ["make a topic", "make a channel", "delete a topic"],
  refusesAtStart: ALL,
  refusesStart: true,
  repeats: true,
};

export const FILE_KINDS: readonly FileKind[] = [...OF_DISK, METADATA_STORE];

/** Files of topics that must not notice: each is of a kind, too. */
const OF_OTHERS = /\/topics\/\d{5}-[^/]+(?:\/.*)?$/;

/** @returns undefined for a file of a topic that nothing happens to @throws for a file that no kind has */
export function kindOf(path: string): FileKind | undefined {
  const kind = OF_DISK.find((one) => one.path.test(path));
  if (kind === undefined && !OF_OTHERS.test(path)) throw new Error(`${path} is of no kind that file-kinds.ts knows`);
  return kind;
}
