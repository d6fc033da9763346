import { session } from "../state/session.ts";

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

/** Depth and messages of the last day, of all brokers together. */
export function graphiteUrl(
  base: string,
  { prefix, gauge_format: format }: { prefix: string; gauge_format: string },
  topic: string,
  channel?: string,
): string {
  const host = prefix.replaceAll("%s", "*").replace(/\.?$/, ".");
  // nsqadmin's rule: what is not a letter, digit or one of -_ is an underscore in statsd's keys.
  const key = (name: string) => name.replace(/[^a-zA-Z0-9\-_]/g, "_");
  const thing = channel === undefined ? `topic.${key(topic)}` : `topic.${key(topic)}.channel.${key(channel)}`;
  const url = new URL("render", base.endsWith("/") ? base : `${base}/`);
  url.searchParams.set("from", "-24hours");
  url.searchParams.set("width", "1000");
  url.searchParams.set("height", "400");
  url.searchParams.append("target", `sumSeries(${format.replace("%s", `${host}${thing}.depth`)})`);
  return url.href;
}
