import { body, channelName, numberText, randomBytes, sizeWord, topicName } from "../../support/mutation.ts";
import type { Random } from "../../support/random.ts";
import { line, sized } from "./command-line.ts";

const HEADERS = [
  "{}", '{"k":"v"}', '{"##trace_id":"9"}', '{"##trace_id":9}', '{"##trace_id":"18446744073709551616"}', '{"##client_dispatch_tag":"red"}',
  `{"##client_dispatch_tag":"${"t".repeat(101)}"}`, "[1,2]", "7",
  '{"##key":"a"}', '{"##key":"b","##client_dispatch_tag":"red"}', '{"##key":""}', '{"##key":7}', '{"##key":"\\ud800"}',
  `{"##key":"${"k".repeat(1024)}"}`, `{"##key":"${"k".repeat(1025)}"}`, "null", "{", "", '{"a":', "[".repeat(30_000), '"\\ud800"', "\0",
]; // biome-ignore format: a list
const OFFSETS = [
  "special:-1",
  "special:5",
  "msgcount:1",
  "msgcount:-1",
  "virtual_queue:7",
  "timestamp:0",
  "timestamp:x",
  "foo:1",
  "special",
  "",
];
const FILTERS: unknown[] = [
  { type: 1, filter_ext_key: "k", filter_data: "v" }, { type: 2, filter_ext_key: "k", filter_data: "(a+)+$" },
  { type: 2, filter_ext_key: "k", filter_data: "(" }, { type: 2, filter_ext_key: "k", filter_data: "((((a{9}){9}){9}){9}){9}" },
  { type: 3, filter_ext_key: "k", filter_data: "{a,b" }, { type: 4, filter_ext_key: "any", filter_data_list: [{}] },
  { type: 4, filter_ext_key: "all", filter_data_list: 5 }, { type: 99 }, 5, [], null, "x",
]; // biome-ignore format: a list

/** What one of Youzan's clients sends. */
export function youzanCommands(random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  if (random.chance(0.7)) pieces.push(identify(random));
  if (random.chance(0.3))
    pieces.push(line(random, "INTERNAL_CREATE_TOPIC", topicName(random), numberText(random, 0, 1), random.pick(["true", "false", "zz"])));
  for (let count = random.int(0, 5); count > 0; count--) pieces.push(publish(random));
  if (random.chance(0.5)) {
    pieces.push(subscribe(random), line(random, "RDY", numberText(random, 0, 50)));
    for (let count = random.int(0, 8); count > 0; count--) pieces.push(random.chance(0.3) ? publish(random) : answer(random));
  }
  return pieces;
}

/** One of Youzan's commands. */
export function youzanAnything(random: Random): Buffer {
  return random.pick([identify, publish, subscribe, answer])(random);
}

function identify(random: Random): Buffer {
  const settings: Record<string, unknown> = { feature_negotiation: random.chance(0.8) };
  if (random.chance(0.6)) settings.extend_support = random.chance(0.9) ? random.chance(0.7) : "yes";
  if (random.chance(0.4)) settings.multiplexing = true;
  if (random.chance(0.3)) settings.desired_tag = random.pick<unknown>(["red", "", "t".repeat(101), 5]);
  if (random.chance(0.3)) settings.ext_filter = random.pick(FILTERS);
  if (random.chance(0.3)) settings.message_headers = random.chance(0.9) ? true : "yes";
  if (random.chance(0.3)) settings.idempotency = true;
  if (random.chance(0.4)) settings.delivery_tokens = random.chance(0.9) ? true : 1;
  if (random.chance(0.4)) settings.channel_order = random.pick<unknown>(["none", "key", "partition", "topic", "", true]);
  return Buffer.concat([line(random, "IDENTIFY"), sized(random, Buffer.from(JSON.stringify(settings)))]);
}

function partition(random: Random): string[] {
  if (random.chance(0.4)) return [];
  const index = random.chance(0.7) ? "0" : numberText(random, -1, 5);
  return random.chance(0.2) ? [index, `key${random.int(0, 3)}`] : [index];
}

function publish(random: Random): Buffer {
  const form = random.pick(["", "_TRACE", "_EXT"]);
  const item = () =>
    Buffer.concat([form === "_TRACE" ? randomBytes(random, 8) : form === "_EXT" ? header(random) : Buffer.alloc(0), body(random)]);
  if (random.chance(0.6))
    return Buffer.concat([line(random, `PUB${form}`, topicName(random), ...partition(random)), sized(random, item())]);
  if (form === "_EXT" && random.chance(0.3))
    return Buffer.concat([
      line(random, "DPUB_EXT", topicName(random), numberText(random, 0, 5_000), ...partition(random)),
      sized(random, item()),
    ]);
  const items: Buffer[] = [];
  for (let count = random.int(0, 8); count > 0; count--) items.push(sized(random, item()));
  const batch = Buffer.concat([sizeWord(random, items.length), ...items]);
  return Buffer.concat([line(random, `MPUB${form}`, topicName(random), ...partition(random)), sized(random, batch)]);
}

function header(random: Random): Buffer {
  const text = Buffer.from(random.pick(HEADERS));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(random.chance(0.05) ? random.pick([0, 1, 0xffff, 0xfffe]) : text.length);
  return Buffer.concat([length, text]);
}

function subscribe(random: Random): Buffer {
  const verb = random.pick(["SUB", "SUB_ADVANCED", "SUB_ORDERED"]);
  const words = [verb, topicName(random), channelName(random), ...partition(random)];
  if (random.chance(0.3)) words.push(random.pick(OFFSETS));
  return line(random, ...words);
}

/** An answer to a message, with an id that is a guess. */
function answer(random: Random): Buffer {
  const id = Buffer.alloc(16);
  if (random.chance(0.8)) id[7] = random.pick([0, 1, 2, 10, 13, 32]);
  else randomBytes(random, 16).copy(id);
  if (random.chance(0.3)) id.fill(random.pick([0x0a, 0x20, 0x0d]), 8);
  const delay = random.chance(0.4) ? ` ${numberText(random, 0, 3_000)}` : "";
  const token = random.chance(0.3) ? ` ${random.pick(["1", "2", "", "x", numberText(random, 0, 70_000)])}` : "";
  return Buffer.concat([Buffer.from(`${random.pick(["FIN", "REQ", "TOUCH"])} `), id, Buffer.from(`${delay}${token}\n`)]);
}
