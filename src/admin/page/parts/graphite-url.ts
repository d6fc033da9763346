/** The address of graphite's graph of the depth over the last day, of all brokers together. */
export function graphiteUrl(
  base: string,
  { prefix, gauge_format: format }: { prefix: string; gauge_format: string },
  topic: string,
  channel?: string,
): string {
  const host = prefix.replaceAll("%s", "*").replace(/\.?$/, ".");
  const thing = channel === undefined ? `topic.${topic}` : `topic.${topic}.channel.${channel}`;
  const url = new URL("render", base.endsWith("/") ? base : `${base}/`);
  url.searchParams.set("from", "-24hours");
  url.searchParams.set("width", "1000");
  url.searchParams.set("height", "400");
  url.searchParams.append("target", `sumSeries(${format.replace("%s", `${host}${thing}.depth`)})`);
  return url.href;
}
