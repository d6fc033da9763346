import { lines } from "./follower.ts";

/**
 * The clients' place: a process that publishes all the time and makes HTTP requests for the test, possibly in another
 * network. It is this file run as a program, which the test controls over standard input and output.
 */

/** The pause between two publishes to the same broker. */
const PUBLISH_INTERVAL_MS = 5;
/** The pause after a publish that failed. */
const RETRY_MS = 50;
const REQUEST_TIMEOUT_MS = 1000;

/** The test's requests. */
type Order = { publishTo: string[]; topic: string } | { stop: true } | { ask: number; method: string; url: string };
/** The answers to the test. */
type Report = { acknowledged: string } | { stopped: true } | { answer: number; status: number; text: string };

export interface Answer {
  /** 0: no answer came. */
  status: number;
  text: string;
}

/** The test's side of it. */
export class Site {
  /** The bodies of acknowledged messages, by the index of their broker. */
  readonly acknowledged: string[][] = [];
  private readonly child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  private readonly asked = new Map<number, (answer: Answer) => void>();
  private nextAsk = 0;
  private readonly stopped = Promise.withResolvers<void>();

  /** @param prefix a command that runs a program elsewhere */
  constructor(prefix: string[] = []) {
    this.child = Bun.spawn([...prefix, process.execPath, import.meta.path], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    void this.listen();
  }

  /** Starts to publish bodies `<index of the broker>-<number>` to brokers, given by the `host:port` of their HTTP sides. */
  publish(brokers: string[], topic: string): void {
    for (const _ of brokers) this.acknowledged.push([]);
    this.order({ publishTo: brokers, topic });
  }

  get(url: string): Promise<Answer> {
    return this.request("GET", url);
  }

  request(method: string, url: string): Promise<Answer> {
    const number = this.nextAsk++;
    this.order({ ask: number, method, url });
    return new Promise((resolve) => this.asked.set(number, resolve));
  }

  /** Stops publishing. Resolves once every publish under way has succeeded or failed. */
  async stopPublishing(): Promise<void> {
    this.order({ stop: true });
    await this.stopped.promise;
  }

  async end(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }

  private order(order: Order): void {
    this.child.stdin.write(`${JSON.stringify(order)}\n`);
    this.child.stdin.flush();
  }

  private async listen(): Promise<void> {
    for await (const line of lines(this.child.stdout)) {
      const report = JSON.parse(line) as Report;
      if ("acknowledged" in report) this.acknowledged[Number.parseInt(report.acknowledged, 10)].push(report.acknowledged);
      else if ("stopped" in report) this.stopped.resolve();
      else this.asked.get(report.answer)?.(report);
    }
  }
}

function report(what: Report): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/** Publishes one message after the other. One that is not acknowledged is not repeated. */
async function publishUntil(stopped: () => boolean, broker: string, place: number, topic: string): Promise<void> {
  for (let number = 0; !stopped(); number++) {
    const body = `${place}-${number}`;
    const { status } = await ask("POST", `http://${broker}/pub?topic=${topic}`, body);
    if (status === 200) report({ acknowledged: body });
    await Bun.sleep(status === 200 ? PUBLISH_INTERVAL_MS : RETRY_MS);
  }
}

async function ask(method: string, url: string, body?: string): Promise<Answer> {
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  try {
    const response = await fetch(url, body === undefined ? { method, signal } : { method, signal, body });
    return { status: response.status, text: await response.text() };
  } catch {
    return { status: 0, text: "" };
  }
}

async function run(): Promise<void> {
  let stopping = false;
  let publishing: Promise<void>[] = [];
  for await (const line of lines(Bun.stdin.stream())) {
    const order = JSON.parse(line) as Order;
    if ("publishTo" in order) {
      publishing = order.publishTo.map((broker, place) => publishUntil(() => stopping, broker, place, order.topic));
    } else if ("stop" in order) {
      stopping = true;
      void Promise.all(publishing).then(() => report({ stopped: true }));
    } else {
      const { ask: number, method, url } = order;
      void ask(method, url).then((answer) => report({ answer: number, ...answer }));
    }
  }
}

if (import.meta.main) await run();
