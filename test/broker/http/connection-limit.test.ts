import { expect, test } from "bun:test";
import { DescriptorBudget } from "../../../src/base/descriptor-budget.ts";
import { ConnectionLimit, IDLE_AFTER_MS, type LimitedConnection } from "../../../src/http/server/connection-limit.ts";
import { requestBytes } from "../../behaviour/differential/support/http-wire.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

/** A limit, and connections that know when they were idle. */
function start(maxHttpConnections: number, descriptorLimit = Number.POSITIVE_INFINITY) {
  const descriptors = new DescriptorBudget(descriptorLimit);
  const share = descriptors.share();
  const turn = { steadyMs: 100_000 };
  const lines: string[] = [];
  const rateLimitedLog = { error: (line: string) => lines.push(line) };
  const limit = new ConnectionLimit({
    options: { maxHttpConnections },
    rateLimitedLog,
    descriptors,
    clientDescriptors: { http: share },
    turn,
  });
  const closed: number[] = [];
  const connect = (idleSinceMs: number, idleAfterMs = IDLE_AFTER_MS.answered): boolean => {
    if (!limit.makeRoom()) return false;
    const connection: LimitedConnection = {
      idleSinceMs,
      idleAfterMs,
      closeIdle: () => {
        closed.push(idleSinceMs);
        limit.remove(connection);
      },
    };
    limit.add(connection);
    return true;
  };
  return { limit, share, closed, connect, lines };
}

test("for one more connection the one that has been idle longest is closed", () => {
  const { limit, closed, connect } = start(3);
  for (const idleSinceMs of [30_000, 10_000, Number.POSITIVE_INFINITY]) expect(connect(idleSinceMs)).toBeTrue();
  expect(connect(20_000)).toBeTrue();
  expect(connect(99_500)).toBeTrue();
  expect(closed).toEqual([10_000, 20_000]);
  expect([limit.open, limit.closedIdle, limit.refused]).toEqual([3, 2, 0]);
});

test("when none is idle the new one is refused, and the log says why", () => {
  const { limit, share, connect, lines } = start(2);
  for (const idleSinceMs of [Number.POSITIVE_INFINITY, 99_500]) expect(connect(idleSinceMs)).toBeTrue();
  expect(connect(0)).toBeFalse();
  expect([limit.open, limit.closedIdle, limit.refused, share.used]).toEqual([2, 0, 1, 2]);
  expect(lines).toEqual(["HTTP: refusing clients: 2 are connected and not idle, see -max-http-connections"]);
});

test("a client that has sent nothing, or a part of a request, makes room at once", () => {
  const { closed, connect } = start(3);
  for (const idleSinceMs of [99_500, 99_990, 100_000]) expect(connect(idleSinceMs, IDLE_AFTER_MS.unfinished)).toBeTrue();
  for (let i = 0; i < 3; i++) expect(connect(Number.POSITIVE_INFINITY)).toBeTrue();
  expect(closed).toEqual([99_500, 99_990, 100_000]);
  expect(connect(Number.POSITIVE_INFINITY)).toBeFalse();
});

test("descriptors bound the connections where no flag does", () => {
  const { limit, share, connect, lines } = start(0, 64);
  for (let i = 0; i < 32; i++) expect(connect(Number.POSITIVE_INFINITY)).toBeTrue();
  expect(connect(0)).toBeFalse();
  expect(limit.takeDescriptors(2)).toBeFalse();
  expect(share.used).toBe(32);
  expect(lines[0]).toBe("HTTP: refusing clients: this process may have 64 open files, see ulimit -n");
});

test("a broker at its limit of HTTP connections serves new clients and tells of it in the log and in its statistics", async () => {
  await using http = WithHttp.start({ maxHttpConnections: 4 });
  const idle = await Promise.all(Array.from({ length: 4 }, () => http.socket()));
  idle[3].write(requestBytes("GET", "/ping"));
  await idle[3].until((bytes) => bytes.includes("OK"));
  // Nobody may be closed who was there a moment ago.
  await until("one has been idle for long enough", async () => {
    const socket = await http.socket();
    socket.write(requestBytes("POST", "/pub?topic=t", "m"));
    return (await socket.until((bytes) => bytes.length > 0)).toString().startsWith("HTTP/1.1 200");
  });
  await until("an idle one is closed", () => idle.some(({ ended }) => ended));
  await until("the statistics tell", async () => {
    const response = await http.fetch("GET", "/stats?format=json").catch(() => undefined);
    if (response?.status !== 200) return false;
    const { http_connections: told } = (await response.json()) as { http_connections: { open: number; closed_idle: number } };
    return told.open <= 4 && told.closed_idle > 0;
  });
  expect(http.log.matching(/HTTP: closing idle connections/).length).toBeGreaterThan(0);
});
