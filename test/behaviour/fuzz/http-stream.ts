import {
  body,
  channelName,
  ending,
  type FuzzStream,
  mutated,
  numberText,
  randomBytes,
  sizeWord,
  split,
  topicName,
} from "../../support/mutation.ts";
import { Random } from "../../support/random.ts";

/** HTTP stream `index` of the run with this seed: one to four requests on a connection, right, odd, or broken. */
export function httpStream(seed: number, index: number): FuzzStream {
  const random = Random.forPart(seed ^ 0x48545450, index);
  const requests: Buffer[] = [];
  for (let count = random.chance(0.7) ? 1 : random.int(2, 4); count > 0; count--) requests.push(request(random));
  let bytes = random.chance(0.02) ? randomBytes(random, random.int(0, 1_000)) : Buffer.concat(requests);
  if (random.chance(0.4)) for (let count = random.int(1, 3); count > 0; count--) bytes = Buffer.from(mutated(random, bytes));
  return { chunks: split(random, bytes), ending: ending(random), answersMessages: false, isReadable: true, hasRawIds: false };
}

const PATHS: [method: string, path: string, parameters: string[]][] = [
  ["GET", "/ping", []],
  ["GET", "/info", []],
  ["GET", "/stats", ["format", "topic", "channel", "include_clients", "include_mem"]],
  ["GET", "/openapi.json", []],
  ["GET", "/docs", []],
  ["POST", "/pub", ["topic", "defer"]],
  ["POST", "/pub", ["topic"]],
  ["POST", "/mpub", ["topic", "binary"]],
  ["POST", "/mpub", ["topic"]],
  ["POST", "/topic/create", ["topic"]],
  ["POST", "/topic/create", ["topic", "partition_num"]],
  ["POST", "/topic/partition/expand", ["topic", "partition_num"]],
  ["POST", "/pub", ["topic", "key", "ext", "partition"]],
  ["POST", "/mpub", ["topic", "key", "ext", "binary"]],
  ["POST", "/topic/create", ["topic", "extend", "orderedmulti", "channel_order"]],
  ["POST", "/topic/meta/update", ["topic", "upgradeext", "channel_order"]],
  ["POST", "/topic/delete", ["topic"]],
  ["POST", "/topic/empty", ["topic"]],
  ["POST", "/topic/pause", ["topic"]],
  ["POST", "/topic/unpause", ["topic"]],
  ["POST", "/channel/create", ["topic", "channel"]],
  ["POST", "/channel/create", ["topic", "channel", "ordered", "filter", "max_attempts", "dead_letter_topic"]],
  ["POST", "/channel/setorder", ["topic", "channel", "order"]],
  ["POST", "/channel/delete", ["topic", "channel"]],
  ["POST", "/channel/empty", ["topic", "channel"]],
  ["POST", "/channel/pause", ["topic", "channel"]],
  ["POST", "/channel/unpause", ["topic", "channel"]],
  ["POST", "/channel/skip", ["topic", "channel", "partition"]],
  ["POST", "/channel/skipZanTest", ["topic", "channel", "partition"]],
  ["POST", "/channel/unskip", ["topic", "channel"]],
  ["POST", "/channel/setclientlimit", ["topic", "channel", "ready", "client_prefix"]],
  ["POST", "/channel/ratelimit", ["topic", "channel", "ratekilobytes", "ratemessages"]],
  ["POST", "/channel/emptydelayed", ["topic", "channel", "partition"]],
  ["POST", "/channel/requeuedelayed", ["topic", "channel", "offset"]],
  ["GET", "/message/get", ["topic", "partition", "search_mode", "search_pos", "needext", "delayed_queue", "channel"]],
  ["GET", "/message/stats", ["topic", "channel", "partition"]],
  ["GET", "/message/historystats", ["topic", "partition"]],
  ["GET", "/serverstats", []],
  ["GET", "/stats", ["format", "topic", "needClients", "leaderOnly", "partition"]],
  ["POST", "/message/finish", ["topic", "channel", "msgid"]],
  ["GET", "/config/log_level", []],
  // Only values that change nothing for the rest of the run.
  ["PUT", "/config/log_level", []],
  ["GET", "/config/nsqlookupd_tcp_addresses", []],
  ["GET", "/config/unknown", []],
  ["GET", "/", []],
  ["GET", "/stats/../ping", []],
  ["GET", "//ping", []],
  ["GET", "/%70ing", []],
];

function request(random: Random): Buffer {
  const [method, path, parameters] = random.pick(PATHS);
  const verb = random.chance(0.06)
    ? random.pick(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "", "BREW"])
    : method;
  const hasBody = verb === "POST" || verb === "PUT" || random.chance(0.03);
  const content = !hasBody
    ? Buffer.alloc(0)
    : path === "/mpub"
      ? batch(random)
      : path === "/config/log_level"
        ? Buffer.from(level(random))
        : body(random);
  const isChunked = hasBody && random.chance(0.08);
  const version = random.chance(0.03) ? random.pick(["HTTP/1.0", "HTTP/2.0", "HTTP/9", "", "http/1.1"]) : "HTTP/1.1";
  const head = [`${verb} ${path}${query(random, parameters)} ${version}`, ...headers(random, content.length, hasBody, isChunked)];
  const lineEnd = random.chance(0.02) ? "\n" : "\r\n";
  return Buffer.concat([Buffer.from(head.join(lineEnd) + lineEnd + lineEnd), isChunked ? chunked(random, content) : content]);
}

function level(random: Random): string {
  return random.pick(["fatal", "loud", "", "FATAL ", "\0", "x".repeat(3_000)]);
}

const FILTERS = [
  { type: 1, filter_ext_key: "k", filter_data: "v" },
  { type: 2, filter_ext_key: "k", filter_data: "(a+)+$" },
  { type: 3, filter_ext_key: "k", filter_data: "{a,b" },
  { type: 4, filter_ext_key: "any", filter_data_list: [{}] },
  {},
].map((filter) => encodeURIComponent(JSON.stringify(filter)));

function query(random: Random, parameters: string[]): string {
  const pairs = parameters.filter(() => !random.chance(0.1)).map((name) => `${name}=${value(random, name)}`);
  if (random.chance(0.04))
    pairs.push(random.pick(["topic", "=", "&&", "topic=a&topic=b", "%zz=1", "a=%", "__proto__=1", "x".repeat(3_000)]));
  if (pairs.length === 0) return "";
  return `?${pairs.join(random.chance(0.02) ? ";" : "&")}`;
}

function value(random: Random, name: string): string {
  if (random.chance(0.03)) return random.pick(["", "%", "%00", "%zz", "%ff%fe", "+", "%0d%0aX: y", "\u0001"]);
  if (name === "topic") return encodeURIComponent(topicName(random));
  if (name === "channel") return encodeURIComponent(channelName(random));
  if (name === "defer") return encodeURIComponent(numberText(random, 0, 5_000));
  if (name === "partition") return encodeURIComponent(numberText(random, 0, 1));
  if (name === "ready" || name === "offset" || name.startsWith("rate")) return encodeURIComponent(numberText(random, 0, 5_000));
  if (name === "search_pos" || name === "msgid") return encodeURIComponent(numberText(random, 0, 100));
  if (name === "search_mode") return random.pick(["id", "count", "virtual_offset", "age"]);
  if (name === "partition_num") return random.pick(["1", "2", "3", "4", "0", "-1", "1025", "9".repeat(20), "x"]);
  if (name === "key") return random.pick(["a", "b", "%ff", "k".repeat(1_024), "k".repeat(1_025)]);
  if (name === "ext") return random.pick(["%7B%7D", "%7B%22k%22:%22v%22%7D", "%7B%22%23%23key%22:%22a%22%7D", "%7B", "7", "x"]);
  if (name === "filter") return random.pick(FILTERS);
  if (name === "max_attempts") return encodeURIComponent(numberText(random, 0, 3));
  if (name === "dead_letter_topic") return encodeURIComponent(topicName(random));
  if (name === "channel_order" || name === "ordered" || name === "order") return random.pick(["none", "key", "partition", "other"]);
  if (name === "format") return random.pick(["json", "text", "xml"]);
  return random.pick(["true", "false", "1", "0", "maybe"]);
}

function headers(random: Random, length: number, hasBody: boolean, isChunked: boolean): string[] {
  const lines: string[] = [];
  if (!random.chance(0.03)) lines.push("Host: broker");
  if (isChunked)
    lines.push(`Transfer-Encoding: ${random.chance(0.1) ? random.pick(["gzip", "chunked, chunked", "xchunked", "chunked "]) : "chunked"}`);
  if (hasBody && (!isChunked || random.chance(0.05))) {
    const wrong = [
      "-1",
      "0",
      String(length + 1),
      String(length + 5_000),
      "6000000",
      "99999999999",
      "99999999999999999999",
      "1x",
      "",
      "+3",
      "0x10",
      "1, 1",
    ];
    if (!random.chance(0.03)) lines.push(`Content-Length: ${random.chance(0.06) ? random.pick(wrong) : length}`);
    if (random.chance(0.01)) lines.push(`Content-Length: ${length}`);
  }
  if (random.chance(0.1)) lines.push(`Connection: ${random.pick(["close", "keep-alive", "upgrade"])}`);
  if (random.chance(0.01)) lines.push("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13");
  if (random.chance(0.02)) lines.push("Expect: 100-continue");
  if (random.chance(0.01)) lines.push(`X-Long: ${"v".repeat(random.int(1, 30_000))}`);
  if (random.chance(0.01)) for (let i = 0; i < 300; i++) lines.push(`X-Many-${i}: ${i}`);
  if (random.chance(0.02)) lines.push(random.pick(["no colon", ": no name", "Bad Name: x", "X:\u0000", " folded: line", "Host: second"]));
  return lines;
}

function batch(random: Random): Buffer {
  const count = random.int(0, 10);
  const bodies = Array.from({ length: count }, () => body(random));
  if (random.chance(0.5)) return Buffer.concat(bodies.flatMap((one) => [one, Buffer.from("\n")]));
  return Buffer.concat([sizeWord(random, count), ...bodies.flatMap((one) => [sizeWord(random, one.length), one])]);
}

function chunked(random: Random, content: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < content.length; ) {
    const size = Math.min(content.length - at, random.int(1, 2_000));
    const told = random.chance(0.03) ? random.pick(["-1", "zz", "ffffffffffffffff", "", `${size.toString(16)};ext=1`]) : size.toString(16);
    parts.push(Buffer.from(`${told}\r\n`), content.subarray(at, at + size), Buffer.from("\r\n"));
    at += size;
  }
  if (!random.chance(0.05)) parts.push(Buffer.from("0\r\n\r\n"));
  return Buffer.concat(parts);
}
