import { expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { until } from "../../support/server.ts";
import { type Peer, YouzanBroker } from "./support/youzan-broker.ts";

// Transcripts of Youzan's lookup server: the same registrations, the same questions, the same answers byte by byte, but for the ports of
// connections. Where ours differ on purpose, the test says what theirs was and why.

const BARE = { headers: { Accept: "application/vnd.nsq; version=1.0" } };
const NO_META =
  '"meta":{"disable_channel_auto_create":false,"extend_support":false,"multi_part":false,"ordered":false,"partition_num":0,"replica":0}';

async function ask(lookup: InProcessLookup, target: string, init: RequestInit = BARE): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${lookup.server.httpPort}${target}`, init);
  return `${response.status} ${await response.text()}`;
}

function json(peer: Peer): string {
  return JSON.stringify(peer);
}

test("an unknown topic is empty for consumers and unknown to producers", async () => {
  await using lookup = new InProcessLookup();
  expect(await ask(lookup, "/lookup?topic=nosuch&access=r")).toBe('200 {"channels":[],"partitions":{},"producers":[]}');
  expect(await ask(lookup, "/lookup?topic=nosuch&access=w")).toBe('404 {"message":"Key not found"}');
  expect(await ask(lookup, "/lookup?topic=nosuch&access=w&metainfo=true")).toBe('404 {"message":"Key not found"}');
  expect(await ask(lookup, "/lookup?topic=nosuch&access=r&metainfo=true")).toBe(
    `200 {"channels":[],${NO_META},"partitions":{},"producers":[]}`,
  );
  expect(await ask(lookup, "/lookup?topic=plain&access=x")).toBe('400 {"message":"INVALID_ACCESS_MODE"}');
  expect(await ask(lookup, "/lookup?access=r")).toBe('400 {"message":"MISSING_ARG_TOPIC"}');
});

test("without NSQ's content type answers are in an envelope", async () => {
  await using lookup = new InProcessLookup();
  const response = await fetch(`http://127.0.0.1:${lookup.server.httpPort}/lookup?topic=nosuch&access=r`);
  expect(response.headers.get("x-nsq-content-type")).toBeNull();
  expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
  expect(await response.text()).toBe('{"status_code":200,"status_txt":"OK","data":{"channels":[],"partitions":{},"producers":[]}}');
  // Theirs: 500 {"status_code":500,"status_txt":"Key not found","data":null}. That something is unknown is no error of the server.
  expect(await ask(lookup, "/lookup?topic=nosuch&access=w", {})).toBe('404 {"message":"Key not found"}');
});

test("who does not ask for partitions gets NSQ's answers", async () => {
  await using lookup = new InProcessLookup();
  const { peer } = await YouzanBroker.register(lookup, 1, ["plain 0 ch"]);
  const { id: _id, distributed_id: _distributedId, ...producer } = peer;
  for (const init of [BARE, {}]) {
    // Theirs: Youzan's document, empty for an unknown topic. NSQ's clients send the same Accept, and know 404.
    expect(await ask(lookup, "/lookup?topic=nosuch", init)).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
    expect(await ask(lookup, "/lookup?topic=plain", init)).toBe(`200 ${JSON.stringify({ channels: ["ch"], producers: [producer] })}`);
    expect(await ask(lookup, "/topics", init)).toBe('200 {"topics":["plain"]}');
    expect(await ask(lookup, "/channels?topic=plain", init)).toBe('200 {"channels":["ch"]}');
    expect(await ask(lookup, "/nodes", init)).toBe(
      `200 ${JSON.stringify({ producers: [{ ...producer, tombstones: [false], topics: ["plain"] }] })}`,
    );
  }
});

test("a topic of one partition", async () => {
  await using lookup = new InProcessLookup();
  const { peer } = await YouzanBroker.register(lookup, 1, ["plain 0"]);
  const places = `"partitions":{"0":${json(peer)}},"producers":[${json(peer)}]`;
  // Theirs: extend_support false, replica 2: it was made so. A broker that says nothing of a topic takes headers in all of its messages here.
  const meta =
    '"meta":{"disable_channel_auto_create":false,"extend_support":true,"multi_part":false,"ordered":false,"partition_num":1,"replica":1}';
  expect(await ask(lookup, "/lookup?topic=plain&access=r")).toBe(`200 {"channels":[],${places}}`);
  expect(await ask(lookup, "/lookup?topic=plain&access=r&metainfo=true")).toBe(`200 {"channels":[],${meta},${places}}`);
  // Theirs: 404 "Topic has no channel, should init at least one for the new topic", since their channels begin at the end. Here the first
  // channel of a topic gets what was published before, so producers need not wait.
  expect(await ask(lookup, "/lookup?topic=plain&access=w")).toBe(`200 {"channels":[],${places}}`);
  expect(await ask(lookup, "/lookup?topic=plain&access=w&metainfo=true")).toBe(`200 {"channels":[],${meta},${places}}`);
});

test("a topic of four partitions at three brokers", async () => {
  await using lookup = new InProcessLookup();
  const two = await YouzanBroker.register(lookup, 2, ["ord 2"]);
  const one = await YouzanBroker.register(lookup, 1, ["ord 1"]);
  const three = await YouzanBroker.register(lookup, 3, ["ord 3", "ord 0"]);
  const [a, b, c] = [one, two, three].map(({ peer }) => json(peer));
  expect(await ask(lookup, "/lookup?topic=ord&access=r")).toBe(
    `200 {"channels":[],"partitions":{"0":${c},"1":${a},"2":${b},"3":${c}},"producers":[${b},${a},${c}]}`,
  );
  const meta = JSON.parse((await ask(lookup, "/lookup?topic=ord&access=r&metainfo=true")).slice(4)).meta;
  expect(meta).toMatchObject({ partition_num: 4 });
  expect(await ask(lookup, "/lookup?topic=ord&access=r&partition=2")).toBe(
    `200 {"channels":[],"partitions":{"2":${b}},"producers":[${b}]}`,
  );
  expect(await ask(lookup, "/lookup?topic=ord&access=r&partition=4")).toBe('200 {"channels":[],"partitions":{},"producers":[]}');
  for (const bad of ["x", "-1", "1024", ""]) {
    expect(await ask(lookup, `/lookup?topic=ord&partition=${bad}`)).toBe('400 {"message":"INVALID_ARG_TOPIC_PARTITION"}');
  }
  // A broker that has gone takes its partitions with it, while their number stays known as far as others know it.
  two.client.close();
  await until("its partition has gone", async () => !(await ask(lookup, "/lookup?topic=ord&access=w")).includes('"2":'));
  expect(await ask(lookup, "/lookup?topic=ord&access=w")).toBe(
    `200 {"channels":[],"partitions":{"0":${c},"1":${a},"3":${c}},"producers":[${a},${c}]}`,
  );
});

test("partitions in the order of Go's maps", async () => {
  await using lookup = new InProcessLookup();
  await YouzanBroker.register(
    lookup,
    1,
    Array.from({ length: 12 }, (_, index) => `mp ${index}`),
  );
  const answer = await ask(lookup, "/lookup?topic=mp&access=r");
  const order = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"];
  expect([...answer.matchAll(/"(\d+)":\{/g)].map(([, index]) => index ?? "")).toEqual(order);
});

test("a broker of NSQ is told to consumers alone, without partitions", async () => {
  await using lookup = new InProcessLookup();
  const client = await lookup.client();
  const identity = {
    ...identityOf("fake"),
    hostname: "fake",
    broadcast_address: "127.0.0.9",
    tcp_port: 24_999,
    http_port: 24_998,
    version: "1.2.0",
  };
  await client.identify(identity);
  expect(await client.call("REGISTER orig oc")).toBe("OK");
  expect(await client.call("REGISTER orig")).toBe("OK");
  const peer = {
    id: client.address,
    remote_address: client.address,
    hostname: "fake",
    broadcast_address: "127.0.0.9",
    tcp_port: 24_999,
    http_port: 24_998,
    version: "1.2.0",
    distributed_id: "",
  };
  expect(await ask(lookup, "/lookup?topic=orig&access=r")).toBe(`200 {"channels":["oc"],"partitions":{},"producers":[${json(peer)}]}`);
  expect(await ask(lookup, "/lookup?topic=orig&access=w")).toBe('200 {"channels":["oc"],"partitions":{},"producers":[]}');
});

test("a tombstoned broker is left to consumers, and comes back with restore=true", async () => {
  await using lookup = new InProcessLookup();
  const { peer } = await YouzanBroker.register(lookup, 1, ["plain 0 ch"]);
  const post = (target: string) => ask(lookup, target, { ...BARE, method: "POST" });
  const whole = `200 {"channels":["ch"],"partitions":{"0":${json(peer)}},"producers":[${json(peer)}]}`;
  expect(await post("/topic/tombstone?topic=plain")).toBe('400 {"message":"MISSING_ARG_NODE"}');
  expect(await post("/topic/tombstone?topic=plain&node=127.0.0.1:24151")).toBe("200 ");
  expect(await ask(lookup, "/lookup?topic=plain&access=w")).toBe('200 {"channels":["ch"],"partitions":{},"producers":[]}');
  expect(await ask(lookup, "/lookup?topic=plain&access=r")).toBe(whole);
  expect(await post("/topic/tombstone?topic=plain&node=127.0.0.1:24151&restore=true")).toBe("200 ");
  expect(await ask(lookup, "/lookup?topic=plain&access=w")).toBe(whole);
});

test("lists of topics, channels and brokers", async () => {
  await using lookup = new InProcessLookup();
  const empty = await YouzanBroker.register(lookup, 2, []);
  const one = await YouzanBroker.register(lookup, 1, ["plain 0 ch"]);
  const three = await YouzanBroker.register(lookup, 3, ["mp 3", "mp 0"]);
  // Theirs: registered_channels null for topics whose channels anybody may make, and nothing else of these two is set.
  const meta = (topic_name: string) =>
    `{"topic_name":"${topic_name}","extend_support":true,"ordered":false,"multi_part":false,"disable_channel_auto_create":false,"registered_channels":null}`;
  expect(await ask(lookup, "/topics?metaInfo=true")).toBe(`200 {"meta_info":[${meta("plain")},${meta("mp")}],"topics":["plain","mp"]}`);
  expect(await ask(lookup, "/channels?topic=plain&partition=0")).toBe('200 {"channels":["ch"]}');
  expect(await ask(lookup, "/channels?topic=plain&partition=1")).toBe('200 {"channels":[]}');
  // Theirs, without being asked for metainfo. They list a broker's partitions in no order.
  expect(await ask(lookup, "/nodes?metainfo=true")).toBe(
    `200 ${JSON.stringify({
      producers: [empty.node([], {}), one.node([false], { plain: ["0"] }), three.node([false, false], { mp: ["0", "3"] })],
    })}`,
  );
});

test("/listlookup names the one that is asked", async () => {
  await using lookup = new InProcessLookup({ broadcastAddress: "127.0.0.1" });
  const { tcpPort, httpPort } = lookup.server;
  // Theirs: the RPC port, and all lookup servers of the cluster. There is neither here.
  const own = `{"ID":"127.0.0.1:0:${tcpPort}:nsqlookup","NodeIP":"127.0.0.1","TcpPort":"${tcpPort}","HttpPort":"${httpPort}","RpcPort":"0","Epoch":0}`;
  expect(await ask(lookup, "/listlookup")).toBe(`200 {"lookupdleader":${own},"lookupdnodes":[${own}]}`);
  expect(await ask(lookup, "/listlookup", {})).toStartWith('200 {"status_code":200,"status_txt":"OK","data":{"lookupdleader":');
});

test("/cluster/stats tells the part of the partitions that each broker has", async () => {
  await using lookup = new InProcessLookup();
  await YouzanBroker.register(lookup, 1, ["a 0"]);
  await YouzanBroker.register(lookup, 2, ["a 1", "a 2", "a 3"]);
  const load = (port: number, factor: number) => ({
    hostname: "vm",
    broadcast_address: "127.0.0.1",
    tcp_port: port,
    http_port: port + 1,
    leader_load_factor: factor,
    node_load_factor: factor,
  });
  const { stable: _stable, ...rest } = (await lookup.get("/cluster/stats")) as { stable: boolean };
  // Theirs: factors of their own making, which count traffic, too.
  expect(rest).toEqual({ node_stat_list: [load(24_150, 0.25), load(24_250, 0.75)], topn_topics: [] } as object);
});
