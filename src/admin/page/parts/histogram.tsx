import type { LatencyRow } from "../../console-api.ts";
import { bytes, count, exact, UNKNOWN } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { filledBuckets } from "./filled-buckets.ts";

const TITLES: Record<LatencyRow["name"], string> = {
  publish_to_ok: "Publish to OK",
  publish_to_delivery: "Publish to delivery",
  delivery_to_finish: "Delivery to finish",
  end_to_end: "Publish to finish",
  message_size: "Message size",
};

/** What brokers have measured, one table of bars each. */
export function Histograms({ rows }: { rows: readonly LatencyRow[] }) {
  return (
    <section class="panel" aria-labelledby="latency-title">
      <header class="panel-head">
        <h2 id="latency-title">Latency and size</h2>
      </header>
      {rows.length === 0 ? (
        <p class="empty">Nothing was measured yet. Go's nsqd measures neither.</p>
      ) : (
        <div class="histograms">
          {rows.map((row) => (
            <Histogram key={row.name} row={row} />
          ))}
        </div>
      )}
    </section>
  );
}

function Histogram({ row }: { row: LatencyRow }) {
  const { first, end } = filledBuckets(row.counts);
  const largest = Math.max(1, ...row.counts);
  return (
    <table class="histogram">
      <caption>
        <strong>{TITLES[row.name]}</strong>
        <span>
          p50 {bound(row, row.p50)} · p99 {bound(row, row.p99)} · {count(row.count)} messages
        </span>
      </caption>
      <thead class="hidden">
        <tr>
          <th scope="col">up to</th>
          <th scope="col">share</th>
          <th scope="col">messages</th>
        </tr>
      </thead>
      <tbody>
        {row.counts.slice(first, end).map((value, index) => {
          const at = first + index;
          const isLast = at === row.bounds.length;
          return (
            <tr key={at}>
              <th scope="row">
                {isLast ? "> " : "≤ "}
                {bound(row, row.bounds[isLast ? at - 1 : at] ?? null)}
              </th>
              <td class="bar">
                <div style={{ width: `${(value / largest) * 100}%` }} />
              </td>
              <td class="number" title={exact(value)}>
                {count(value)}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function bound({ unit }: LatencyRow, value: number | null): string {
  if (value === null) return UNKNOWN;
  return unit === "ms" ? duration(value) : bytes(value);
}
