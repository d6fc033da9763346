import { PageServer } from "../../../../src/admin/assets/page-server.ts";
import type { ActionRequest, ActionResult, Page, Session } from "../../../../src/admin/console-api.ts";
import type { MessagesRequest, MessagesResult } from "../../../../src/admin/message-api.ts";
import { type ClusterSize, FakeCluster } from "./fake-cluster.ts";
import { FakeMessages } from "./fake-messages.ts";
import { partitionRows } from "./fake-partitions.ts";
import { FakeReplication } from "./fake-replication.ts";

const SESSION: Session = {
  user: "",
  needs_login: false,
  can_login: true,
  roles: { "*": "admin" },
  version: "0.1.0",
  graphite_url: "https://graphite.example",
  statsd: { prefix: "nsq.%s", counter_format: "stats.counters.%s.count", gauge_format: "stats.gauges.%s", interval_s: 60 },
  cluster: false,
  poll_ms: 5000,
};

const refuse = (status: number, message: string) => Response.json({ message }, { status });

/** A console whose brokers are made up: answers the calls of console-api.ts, and serves the page. What it was asked to do is kept. */
export class FakeConsole {
  readonly actions: ActionRequest[] = [];
  readonly requests: MessagesRequest[] = [];
  /** The views of each stream that was opened. */
  readonly streams: string[][] = [];
  session: Session = { ...SESSION };
  /** Set, streams and calls are refused. */
  isDown = false;
  readonly cluster: FakeCluster;
  /** Undefined: the brokers are alone. */
  replication: FakeReplication | undefined;
  private readonly messages = new FakeMessages();
  private readonly open = new Set<ReadableStreamDefaultController<string>>();

  private constructor(
    private readonly page: PageServer,
    private readonly basePath: string,
    size: ClusterSize,
  ) {
    this.cluster = new FakeCluster(size);
    if (size.partitions === undefined) return;
    this.replicate(size.partitions);
  }

  static async start(
    size: ClusterSize = { topics: 120, clients: 400 },
    basePath = "/",
  ): Promise<FakeConsole & { url: string; stop(): Promise<void> }> {
    const fake = new FakeConsole(await PageServer.open(basePath), basePath, size);
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 0, fetch: (request) => fake.answer(request) });
    return Object.assign(fake, {
      url: `http://127.0.0.1:${server.port}${basePath === "/" ? "" : basePath}`,
      stop: () => {
        fake.cutStreams();
        return server.stop(true);
      },
    });
  }

  /** Makes its brokers those of a cluster. @param isWell nothing is wrong with it */
  replicate(partitions: number, isWell = false): void {
    const topics = this.cluster.topics.map(({ topic }) => topic);
    this.replication = new FakeReplication(partitions, topics, isWell);
    this.session = { ...this.session, cluster: true };
  }

  /** Sends an event to all pages. */
  send(event: string, data: unknown): void {
    for (const stream of this.open) stream.enqueue(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** Ends all streams, as a console that ends does. */
  cutStreams(): void {
    for (const stream of this.open) stream.close();
    this.open.clear();
  }

  private async answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const path = this.basePath === "/" ? pathname : pathname.slice(this.basePath.length);
    if (!path.startsWith("/api/")) return this.page.respond(request, path);
    if (this.isDown) return refuse(502, "UPSTREAM_ERROR");
    if (path === "/api/counter") return Response.json({ stats: { "orders:billing:nsq-a": { message_count: 48_211_904 } }, message: "" });
    if (path === "/api/topics")
      return Response.json({ topics: { "old.imports": ["loader", "archive"], "sessions#ephemeral": [] }, message: "" });
    const call = path.slice("/api/v1".length);
    if (request.method === "POST") return this.change(call, await request.json());
    if (call === "/tail") return this.tail(searchParams);
    if (call === "/stream") return this.stream(searchParams.getAll("view"));
    const value = this.read(call, searchParams);
    return value === undefined ? refuse(404, "NOT_FOUND") : Response.json(value);
  }

  private read(call: string, query: URLSearchParams): unknown {
    const { cluster } = this;
    const [, name = "", topic, channel] = call.split("/").map(decodeURIComponent);
    if (topic !== undefined) return channel === undefined ? this.topic(topic) : cluster.channel(topic, channel);
    switch (name) {
      case "session":
        return this.session;
      case "overview":
        return { ...cluster.overview(), ...(this.replication === undefined ? {} : { at_risk: { critical: 2, warning: 2 } }) };
      case "topics":
        return page(cluster.topics, query);
      case "channels":
        return page(
          cluster.channels.filter((row) => fits(row.topic, query.get("topic"))),
          query,
        );
      case "partitions":
        return page(partitionRows(query.get("topic") ?? "", query.get("channel") ?? ""), query);
      case "cluster":
        return this.replication?.detail();
      case "replicas":
        return page(
          (this.replication?.rows ?? []).filter((row) => fits(row.topic, query.get("topic"))),
          query,
        );
      case "brokers":
        return page(cluster.brokers, query);
      case "lookups":
        return page(cluster.lookups, query);
      case "producers":
        return page(cluster.producers, query);
      case "clients":
        return page(
          cluster.clients.filter((row) => fits(row.topic, query.get("topic")) && fits(row.channel, query.get("channel"))),
          query,
        );
      case "history":
        return cluster.history(query.get("range") ?? "1h");
      case "activity":
        return { activity: cluster.activity };
      case "messages":
        return this.messages.find(query);
      case "message":
        return this.messages.detail(query.get("topic") ?? "", query.get("id") ?? "");
      default:
        return undefined;
    }
  }

  private topic(name: string): object | undefined {
    const detail = this.cluster.topic(name);
    const replication = this.replication?.topic(name);
    return detail === undefined || replication === undefined ? detail : { ...detail, replication };
  }

  private stream(views: string[]): Response {
    this.streams.push(views);
    let own: ReadableStreamDefaultController<string> | undefined;
    const body = new ReadableStream<string>({
      start: (controller) => {
        own = controller;
        this.open.add(controller);
        for (const view of views) {
          const [call = "", query = ""] = view.split("?");
          const data = this.read(call, new URLSearchParams(query));
          const event = data === undefined ? "error" : "full";
          controller.enqueue(`event: ${event}\ndata: ${JSON.stringify({ view, data: data ?? { status: 404, message: "NOT_FOUND" } })}\n\n`);
        }
      },
      cancel: () => {
        if (own !== undefined) this.open.delete(own);
      },
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), {
      headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store" },
    });
  }

  /** A tail that gets two messages at once, and then none. */
  private tail(query: URLSearchParams): Response {
    query.set("from", "end");
    const atEnd = this.messages.find(query);
    query.set("from", atEnd.next ?? "");
    const pages = [atEnd, this.messages.find(query)];
    const body = new ReadableStream<string>({
      start: (stream) => {
        for (const { messages, scanned } of pages)
          stream.enqueue(`event: messages\ndata: ${JSON.stringify({ messages, scanned, skipped: 0 })}\n\n`);
      },
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), { headers: { "Content-Type": "text/event-stream" } });
  }

  private change(call: string, body: unknown): Response {
    if (call === "/session") {
      const { password } = body as { password?: string };
      if (password !== "right") return refuse(401, "WRONG_CREDENTIALS");
      this.session = { ...this.session, user: "ada", needs_login: true };
      return Response.json(this.session);
    }
    return call === "/actions" ? this.act(body as ActionRequest) : this.actOnMessages(body as MessagesRequest);
  }

  private act(request: ActionRequest): Response {
    this.actions.push(request);
    const result: ActionResult = {
      ok: request.action !== "tombstone",
      results: [{ server: "nsq-a:4151", ok: request.action !== "tombstone", message: "TOPIC_NOT_FOUND" }],
    };
    if (request.preview) result.preview = [{ broker: "nsq-a:4151", from: 104_200, to: 98_000, depth: 8122, new_depth: 14_322 }];
    return Response.json(result);
  }

  private actOnMessages(request: MessagesRequest): Response {
    this.requests.push(request);
    const count = request.ids?.length ?? 1234;
    const result: MessagesResult = { count, more: false, done: request.preview ? 0 : count, failed: [] };
    return Response.json(result);
  }
}

const fits = (value: string, wanted: string | null) => wanted === null || wanted === "" || value === wanted;

function page(rows: readonly object[], query: URLSearchParams): Page<object> {
  const filter = query.get("filter") ?? "";
  const sort = query.get("sort") ?? "";
  const isDown = sort.startsWith("-");
  const name = isDown ? sort.slice(1) : sort;
  const offset = Number(query.get("offset") ?? 0);
  const found = rows.filter((row) => filter === "" || JSON.stringify(row).includes(filter));
  const of = (row: object): unknown => (row as Record<string, unknown>)[name];
  const compare = (a: unknown, b: unknown) => (typeof a === "string" && typeof b === "string" ? a.localeCompare(b) : Number(a) - Number(b));
  const sorted = name === "" ? found : found.toSorted((a, b) => compare(of(a), of(b)) * (isDown ? -1 : 1));
  return { rows: sorted.slice(offset, offset + Number(query.get("limit") ?? 100)), total: found.length, offset };
}
