import type { Difference } from "./pair.ts";

/*
 * What bunsq does otherwise than nsqd on purpose, or because its HTTP server (Bun's) does. Each has a line with the
 * reason in docs/compatibility.md under the same name. A scenario names those that it meets.
 */

function replaceLines(name: string, replace: (line: string) => string | undefined): Difference {
  return { name, expected: (go) => go.map(replace).filter((line) => line !== undefined) };
}

/** Puts `lines` in the place of the only HTTP answer. */
function exchangeAnswer(name: string, lines: string[]): Difference {
  return {
    name,
    expected: (go) => {
      const from = go.findIndex((line) => line.startsWith("http< HTTP/"));
      const to = go.findLastIndex((line) => line.startsWith("http<"));
      return [...go.slice(0, from), ...lines, ...go.slice(to + 1)];
    },
  };
}

/** An error as nsqd answers it, in lines of a transcript. */
export function refusal(status: number, reason: string, code: string, headers: string[] = []): string[] {
  const body = JSON.stringify({ message: code });
  return [
    `http< HTTP/1.1 ${status} ${reason}`,
    ...headers,
    `http<   content-length: ${body.length}`,
    "http<   content-type: application/json; charset=utf-8",
    "http<   date: <now>",
    "http<   x-nsq-content-type: nsq; version=1.0",
    `http<   ${JSON.stringify(body)}`,
  ];
}

export const givenBackAtOnce: Difference = replaceLines("Consumers that disconnect", (line) =>
  line.replace('"timeout_count": 1', '"timeout_count": 0'),
);

export const refusedEndlessDefer: Difference = {
  name: "Delays beyond 292 years",
  expected: (go) =>
    exchangeAnswer("", refusal(400, "Bad Request", "INVALID_DEFER"))
      .expected(go)
      .map((line) => (line.startsWith("published 1") ? "published 0, depth 0, channels none" : line)),
};

export const retriesInTurn: Difference = {
  name: "Requeued messages take turns with waiting ones",
  expected: (go) => {
    const again = go.findIndex((line) => line.startsWith("a< message <id1> attempts 2"));
    const third = go.findIndex((line) => line.startsWith("a< message <id3> attempts 1"));
    return again < third ? go : [...go.slice(0, third), ...go.slice(again, again + 2), ...go.slice(third, again), ...go.slice(again + 2)];
  },
};

/** @param lost how many messages of the flood did not fit */
export function newestOfFlood(lost: number): Difference {
  return replaceLines("Ephemeral floods", (line) =>
    line.startsWith("a< message") ? line.replace(/"number (\d+)"/, (_, number) => `"number ${Number(number) + lost}"`) : line,
  );
}

export const refusedEndlessDelay: Difference = {
  name: "Delays beyond 292 years",
  expected: (go) => {
    const delay = /DPUB \S+ (\d+)/.exec(go[0] ?? "")?.[1];
    const at = go.indexOf('a< response "OK"');
    return at < 0 ? go : [...go.slice(0, at), `a< error "E_INVALID DPUB timeout ${delay} out of range 0-10000"`, "a< (closed)"];
  },
};

export const deferredOverRestart: Difference = replaceLines("Deferred messages over a restart", (line) =>
  line === "came before it was due" ? "came when it was due" : line,
);

export const reasonOf413: Difference = replaceLines("Reason phrase of 413", (line) =>
  line.replace("413 Request Entity Too Large", "413 Payload Too Large"),
);

export const noDateOnHead: Difference = replaceLines("HEAD without Date", (line) => (line === "http<   date: <now>" ? undefined : line));

export const lengthInsteadOfChunks: Difference = replaceLines("Large answers have a length", (line) =>
  line.replace("body framed by chunked", "body framed by length"),
);

export const bareBadRequest: Difference = exchangeAnswer("Requests that are no HTTP", [
  "http< HTTP/1.1 400 Bad Request",
  "http<   connection: close",
]);

export const badChunkIsBadRequest: Difference = {
  ...bareBadRequest,
  name: "Bad chunks are the client's fault",
};

export const noServerWideOptions: Difference = { ...bareBadRequest, name: "OPTIONS *" };

export const unknownMethodHangsUp: Difference = {
  name: "Unknown methods",
  expected: (go) => go.flatMap((line) => (line.startsWith("http>") ? [line, "http< (no response)"] : [])),
};

export const pipelineHangsUp: Difference = {
  name: "Pipelined requests",
  expected: (go) => (go.length > 1 ? ["closed: true"] : go),
};

export const answersHttp10As11: Difference = replaceLines("HTTP/1.0", (line) => line.replace("HTTP/1.0 200 OK", "HTTP/1.1 200 OK"));

export const closesWithoutSaying: Difference = replaceLines("Connection: close", (line) =>
  line === "http<   connection: close" ? undefined : line,
);

/** They are resolved before the path is looked at, so the call is taken at once where nsqd redirects or finds nothing. */
export const resolvedDots: Difference = {
  name: "Dot segments in paths",
  expected: (go) =>
    exchangeAnswer(
      "",
      go[0]?.startsWith("http> GET")
        ? [
            "http< HTTP/1.1 200 OK",
            "http<   content-length: 2",
            "http<   content-type: text/plain; charset=utf-8",
            "http<   date: <now>",
            'http<   "OK"',
          ]
        : refusal(405, "Method Not Allowed", "METHOD_NOT_ALLOWED", ["http<   allow: GET, OPTIONS"]),
    ).expected(go),
};

export const emptyListStaysList: Difference = {
  name: "An empty list is a list",
  expected: (go) => {
    const isNull = (line: string | undefined) => line === 'http<   "null"';
    return go.map((line, i) => {
      if (isNull(line)) return 'http<   "[]"';
      return line === "http<   content-length: 4" && isNull(go[i + 4]) ? "http<   content-length: 2" : line;
    });
  },
};

export const allTopicsOfProducer: Difference = replaceLines("All of a producer's topics", (line) =>
  line.replace("topics shown: 1", "topics shown: 3"),
);

export const debugCallsSucceed: Difference = replaceLines("Debug calls that succeed say so", (line) =>
  line.replace(/^status 500$/, "status 200"),
);
