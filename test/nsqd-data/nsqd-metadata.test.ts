import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatNsqdMetadata, parseNsqdMetadata, readNsqdMetadata, writeNsqdMetadata } from "../../src/nsqd-data/nsqd-metadata.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

const SAMPLE =
  '{"topics":[{"name":"a","paused":false,"channels":[{"name":"x","paused":true},{"name":"y","paused":false}]},' +
  '{"name":"b","paused":true,"channels":null}],"version":"1.3.0"}';
const SAMPLE_TOPICS = [
  {
    name: "a",
    paused: false,
    channels: [
      { name: "x", paused: true },
      { name: "y", paused: false },
    ],
  },
  { name: "b", paused: true, channels: [] },
];

function parse(text: string) {
  return parseNsqdMetadata(text, "nsqd.dat");
}

/** Parses a text that must be valid. */
function read(text: string) {
  const metadata = parse(text);
  if (metadata instanceof Error) throw metadata;
  return metadata;
}

test("topics and channels are read as nsqd 1.3.0 writes them", () => {
  expect(parse(SAMPLE)).toEqual({ file: "nsqd.dat", version: "1.3.0", release: "same", topics: SAMPLE_TOPICS, leftOut: [] });
});

test.each([
  ["of a new nsqd", '{"topics":null,"version":"1.3.0"}'],
  ["null", "null"],
  ["an empty object", "{}"],
])("a document without topics (%s) is read", (_, text) => {
  expect(read(text).topics).toEqual([]);
});

test("keys in another case and unknown keys are read as Go reads them", () => {
  const { topics } = read('{"TOPICS":[{"Name":"a","PAUSED":true,"Channels":[{"NAME":"x","mode":7}],"partitions":2}],"extra":{}}');
  expect(topics).toEqual([{ name: "a", paused: true, channels: [{ name: "x", paused: false }] }]);
});

test("a topic or channel that is listed twice appears once, and paused if one entry is", () => {
  const { topics } = read(
    '{"topics":[{"name":"a","channels":[{"name":"x"},{"name":"x","paused":true}]},{"name":"b"},{"name":"a","paused":true,"channels":[{"name":"y"}]}]}',
  );
  expect(topics).toEqual([
    {
      name: "a",
      paused: true,
      channels: [
        { name: "x", paused: true },
        { name: "y", paused: false },
      ],
    },
    { name: "b", paused: false, channels: [] },
  ]);
});

test("invalid and ephemeral names are left out and listed", () => {
  const { topics, leftOut } = read(
    '{"topics":[{"name":"a b","channels":[{"name":"x"}]},{"name":"t#ephemeral"},null,{"name":"a","channels":[{"name":"x#ephemeral"},{"name":""},{"name":"ok"}]},{"name":"__proto__"}]}',
  );
  expect(topics.map(({ name, channels }) => [name, ...channels.map((channel) => channel.name)])).toEqual([["a", "ok"], ["__proto__"]]);
  expect(leftOut).toEqual([
    { topic: "a b", channel: undefined, reason: "invalid" },
    { topic: "t#ephemeral", channel: undefined, reason: "ephemeral" },
    { topic: "", channel: undefined, reason: "invalid" },
    { topic: "a", channel: "x#ephemeral", reason: "ephemeral" },
    { topic: "a", channel: "", reason: "invalid" },
  ]);
});

test.each([
  ["empty", "", "nsqd.dat is not valid JSON"],
  ["cut", SAMPLE.slice(0, -1), "nsqd.dat is not valid JSON"],
  ["text behind it", `${SAMPLE}x`, "nsqd.dat is not valid JSON"],
  ["a list", "[]", 'nsqd.dat must be an object with a string "version" and a list "topics"'],
  ["topics that are no list", '{"topics":{}}', 'nsqd.dat must be an object with a string "version" and a list "topics"'],
  ["a version that is no text", '{"version":1}', 'nsqd.dat must be an object with a string "version" and a list "topics"'],
  ["a topic that is a name", '{"topics":["a"]}', 'nsqd.dat has an invalid topic: "a"'],
  ["a pause that is a number", '{"topics":[{"name":"a","paused":1}]}', "nsqd.dat has an invalid topic"],
  ["channels that are no list", '{"topics":[{"name":"a","channels":"x"}]}', "nsqd.dat has an invalid topic"],
  ["a channel that is a name", '{"topics":[{"name":"a","channels":["x"]}]}', 'nsqd.dat has an invalid channel: "x"'],
])("a document that nsqd refuses (%s) is an error", (_, text, message) => {
  const metadata = parse(text);
  expect(metadata).toBeInstanceOf(Error);
  expect((metadata as Error).message).toStartWith(message);
});

test("the version is compared with 1.3.0", () => {
  const releases = ["1.3.0", "1.2.1", "0.3.8", "1.3.1", "1.10.0", "2.0.0-alpha", "1.3.0-alpha", "", "master"].map(
    (version) => read(JSON.stringify({ version })).release,
  );
  expect(releases).toEqual(["same", "older", "older", "newer", "newer", "newer", "older", "unknown", "unknown"]);
});

test("nsqd.dat is written as nsqd writes it, and leaves no temporary file", () => {
  const ephemeral = { name: "c#ephemeral", paused: false, channels: [] };
  const topics = [{ ...SAMPLE_TOPICS[0]!, channels: [...SAMPLE_TOPICS[0]!.channels, { name: "z#ephemeral", paused: false }] }, ephemeral];
  writeFileSync(join(folder, "nsqd.dat"), "old");
  writeNsqdMetadata(folder, topics);
  expect(readFileSync(join(folder, "nsqd.dat"), "utf8")).toBe(
    '{"topics":[{"name":"a","paused":false,"channels":[{"name":"x","paused":true},{"name":"y","paused":false}]}],"version":"1.3.0"}',
  );
  expect(readdirSync(folder)).toEqual(["nsqd.dat"]);
  writeNsqdMetadata(join(folder), SAMPLE_TOPICS);
  expect(readNsqdMetadata(folder)).toMatchObject({ topics: SAMPLE_TOPICS, release: "same" });
});

test("only the owner may read a new file", () => {
  writeNsqdMetadata(folder, []);
  expect(statSync(join(folder, "nsqd.dat")).mode & 0o777).toBe(0o600);
});

test("an invalid name is refused, and nothing is written", () => {
  expect(() => formatNsqdMetadata([{ name: "a b", paused: false, channels: [] }])).toThrow(RangeError);
  expect(() => writeNsqdMetadata(folder, [{ name: "a", paused: false, channels: [{ name: "", paused: false }] }])).toThrow(RangeError);
  expect(readdirSync(folder)).toEqual([]);
});

test("a data path without metadata has none", () => {
  expect(readNsqdMetadata(folder)).toBeUndefined();
});

test("a file that cannot be read is the kernel's error", () => {
  symlinkSync("nsqd.dat", join(folder, "nsqd.dat"));
  expect(() => readNsqdMetadata(folder)).toThrow("ELOOP");
});

test("the file of an older nsqd is read if it is the only one", () => {
  writeFileSync(join(folder, "nsqd.512.dat"), SAMPLE.replace("1.3.0", "0.3.8"));
  expect(readNsqdMetadata(folder)).toMatchObject({ file: "nsqd.512.dat", version: "0.3.8", release: "older", topics: SAMPLE_TOPICS });
});

test("beside nsqd.dat an older name is ignored, neither the link that nsqd 1.0 makes nor a file", () => {
  writeFileSync(join(folder, "nsqd.dat"), SAMPLE);
  symlinkSync("nsqd.dat", join(folder, "nsqd.1.dat"));
  writeFileSync(join(folder, "nsqd.2.dat"), "rubbish");
  expect(readNsqdMetadata(folder)).toMatchObject({ file: "nsqd.dat", topics: SAMPLE_TOPICS });
});

test("a dangling link to nsqd.dat counts as no file", () => {
  symlinkSync("nsqd.dat", join(folder, "nsqd.1.dat"));
  expect(readNsqdMetadata(folder)).toBeUndefined();
});

test("several older files are an error", () => {
  writeFileSync(join(folder, "nsqd.1.dat"), SAMPLE);
  writeFileSync(join(folder, "nsqd.2.dat"), SAMPLE);
  const metadata = readNsqdMetadata(folder);
  expect((metadata as Error).message).toBe(`${folder} has no nsqd.dat, but nsqd.1.dat, nsqd.2.dat: rename the right one to nsqd.dat`);
});
