import { certificate, clientTls, type Holder, TLS_FLAGS } from "../../support/certs/certs.ts";
import { until } from "../../support/server.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import type { Session } from "./support/session.ts";

/** Where a broker listens for HTTPS, as its log says a moment after the rest. */
async function httpsPort(s: Session): Promise<string> {
  const port = () => /HTTPS: listening on \S*:(\d+)/.exec(s.server.log())?.[1];
  await until("HTTPS is served", () => port() !== undefined);
  return port() as string;
}

/** One call over HTTPS; status, headers and body go into the transcript. */
async function call(s: Session, method: string, path: string, body?: string, holder?: Holder): Promise<void> {
  s.note(`https> ${method} ${path}${holder === undefined ? "" : ` as ${holder}`}`);
  const tls = clientTls(holder);
  const port = await httpsPort(s);
  try {
    const response = await fetch(`https://127.0.0.1:${port}${path}`, { method, tls, ...(body === undefined ? {} : { body }) });
    const type = response.headers.get("content-type");
    s.note(`https< ${response.status} ${type} ${response.headers.get("x-nsq-content-type")} ${described(s, await response.text(), port)}`);
  } catch {
    s.note("https< (no connection)");
  }
}

/** A body with what cannot be equal twice put out of sight. */
function described(s: Session, body: string, port: string): string {
  return body
    .replace(/"version":"[^"]+"/, '"version":"<version>"')
    .replace(/,"bunsq_version":"[^"]+"(?=\}$)/, "")
    .replace(/"start_time":\d+/, '"start_time":"<now>"')
    .replaceAll(String(s.server.httpPort), "<http port>")
    .replaceAll(String(s.server.tcpPort), "<tcp port>")
    .replaceAll(port, "<https port>");
}

const HTTPS = [...TLS_FLAGS, "--https-address=127.0.0.1:0", "--broadcast-address=broadcast.test"];

function calls(scenario: DefineScenario, holder?: Holder): void {
  scenario("the HTTP API is the same over HTTPS", async (s) => {
    await call(s, "GET", "/ping", undefined, holder);
    await call(s, "GET", "/info", undefined, holder);
    await call(s, "POST", `/pub?topic=${s.topic}`, "x", holder);
    await call(s, "POST", `/mpub?topic=${s.topic}`, "y\nz", holder);
    await call(s, "POST", `/channel/create?topic=${s.topic}&channel=ch`, undefined, holder);
    await call(s, "GET", `/stats?format=json&include_mem=false&topic=${s.topic}`, undefined, holder);
    await call(s, "POST", "/pub", "x", holder);
    await call(s, "GET", "/pub?topic=t", undefined, holder);
    await call(s, "GET", "/nothing", undefined, holder);
    await call(s, "GET", "/config/tls_required", undefined, holder);
  });
}

describeAgainstNsqd("HTTPS", { args: HTTPS }, (scenario) => {
  calls(scenario);
  scenario("plain HTTP is served as well", async (s) => {
    await s.http("POST", `/pub?topic=${s.topic}`, "x");
  });
});

describeAgainstNsqd("HTTPS where TLS is required", { args: [...HTTPS, "--tls-required"] }, (scenario) => {
  calls(scenario);
  for (const [method, path] of [
    ["GET", "/ping"],
    ["POST", "/pub?topic=t"],
    ["GET", "/nothing"],
  ] as const) {
    scenario(`${method} ${path} over plain HTTP is told where to go`, async (s) => {
      const port = await httpsPort(s);
      const response = await s.server.http(method, path);
      const type = response.headers.get("content-type");
      s.note(`${response.status} ${type} ${response.headers.get("x-nsq-content-type")} ${described(s, await response.text(), port)}`);
    });
  }
});

describeAgainstNsqd("HTTPS where all but HTTP must speak TLS", { args: [...HTTPS, "--tls-required=tcp-https"] }, (scenario) => {
  calls(scenario);
  scenario("plain HTTP is served as well", async (s) => {
    await s.http("POST", `/pub?topic=${s.topic}`, "x");
  });
});

describeAgainstNsqd(
  "HTTPS where clients must show a certificate",
  { args: [...HTTPS, "--tls-client-auth-policy=require-verify", `--tls-root-ca-file=${certificate("ca.pem")}`] },
  (scenario) => {
    calls(scenario, "client");
    for (const holder of [undefined, "foreign", "expired"] as const) {
      scenario(`a client with ${holder === undefined ? "no" : `a certificate that is ${holder}`} is not served`, async (s) => {
        await call(s, "GET", "/ping", undefined, holder);
      });
    }
  },
);
