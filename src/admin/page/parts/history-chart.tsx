import { useEffect, useState } from "preact/hooks";
import type { History } from "../../console-api.ts";
import { rate } from "../format/numbers.ts";
import { get } from "../state/api.ts";
import { route, setQuery } from "../state/location.ts";
import { withQuery } from "../state/routes.ts";
import { Chart } from "./chart.tsx";
import { Failure } from "./failure.tsx";
import { Segments } from "./segments.tsx";

const RANGES = [
  { value: "1h", label: "1 h" },
  { value: "24h", label: "24 h" },
];

/** The steps of a history. */
const STEP_MS = { "1h": 10_000, "24h": 60_000 };

/** How the figures of everything, a topic or a channel went, by the console's own memory. */
export function HistoryChart({ topic, channel }: { topic?: string; channel?: string }) {
  const range = route.value.query.get("range") === "24h" ? "24h" : "1h";
  const [history, setHistory] = useState<History | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const path = withQuery("/history", { topic, channel, range });

  useEffect(() => {
    const ended = new AbortController();
    const load = async () => {
      try {
        setHistory(await get<History>(path, ended.signal));
        setError(undefined);
      } catch (failure) {
        if (!ended.signal.aborted) setError(failure);
      }
    };
    void load();
    const timer = setInterval(() => {
      if (!document.hidden) void load();
    }, STEP_MS[range]);
    return () => {
      ended.abort();
      clearInterval(timer);
    };
  }, [path]);

  return (
    <section class="panel" aria-labelledby="history-title">
      <header class="panel-head">
        <h2 id="history-title">History</h2>
        <Segments
          label="Range"
          options={RANGES}
          value={range}
          onChange={(value) => setQuery({ range: value === "1h" ? undefined : value })}
        />
      </header>
      <Failure error={error} what="History" />
      <div class="charts">
        <figure>
          <figcaption>Messages per second</figcaption>
          {history !== undefined && (
            <Chart
              label="Messages per second"
              from={history.from}
              stepS={history.step_s}
              series={[
                { label: "in", values: history.series.in_rate, colour: 2, format: rate },
                { label: "out", values: history.series.out_rate, colour: 1, format: rate },
                { label: "requeued", values: history.series.requeue_rate, colour: 4, format: rate },
                { label: "timed out", values: history.series.timeout_rate, colour: 5, format: rate },
              ]}
            />
          )}
        </figure>
        <figure>
          <figcaption>Messages</figcaption>
          {history !== undefined && (
            <Chart
              label="Messages"
              from={history.from}
              stepS={history.step_s}
              series={[
                { label: "depth", values: history.series.depth, colour: 3 },
                { label: "in flight", values: history.series.in_flight, colour: 1 },
                { label: "deferred", values: history.series.deferred, colour: 4 },
              ]}
            />
          )}
        </figure>
      </div>
    </section>
  );
}
