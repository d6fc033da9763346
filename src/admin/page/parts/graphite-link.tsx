import { session } from "../state/session.ts";
import { graphiteUrl } from "./graphite-url.ts";

/** A link to graphite's own graph of a topic or channel, where the console knows of one. */
export function GraphiteLink({ topic, channel }: { topic: string; channel?: string }) {
  const value = session.value;
  if (value === undefined || value.graphite_url === "") return null;
  return (
    <a href={graphiteUrl(value.graphite_url, value.statsd, topic, channel)} target="_blank" rel="noreferrer">
      Graphite ↗
    </a>
  );
}
