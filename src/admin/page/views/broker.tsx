import type { BrokerRow, Page, TopicRow } from "../../console-api.ts";
import { askAction } from "../dialogs/action-dialog.tsx";
import { bytes, count, plural, rate } from "../format/numbers.ts";
import { clock, since } from "../format/time.ts";
import { channels, clients, depth, inFlight, inRate, messageCount, outRate } from "../parts/count-columns.tsx";
import { Failure } from "../parts/failure.tsx";
import { LiveTable } from "../parts/live-table.tsx";
import { Health } from "../parts/names.tsx";
import { PathHeading } from "../parts/path-heading.tsx";
import { Sparkline } from "../parts/sparkline.tsx";
import { Stat, Stats } from "../parts/stats.tsx";
import type { Column } from "../parts/table.tsx";
import { href } from "../state/location.ts";
import { now } from "../state/now.ts";
import { withQuery } from "../state/routes.ts";
import { may } from "../state/session.ts";
import { useView } from "../state/use-view.ts";
import { TOPIC_COLUMN } from "./topics.tsx";

const COLUMNS: readonly Column<TopicRow>[] = [TOPIC_COLUMN, depth, inFlight, inRate, outRate, messageCount, channels, clients];

export function BrokerView({ address }: { address: string }) {
  // Its address is looked for in others' names, too, so there may be more than one.
  const { data, error } = useView<Page<BrokerRow>>(withQuery("/brokers", { filter: address, limit: 100 }));
  const broker = data?.rows.find((row) => row.address === address);
  return (
    <>
      <PathHeading above={[{ text: "Brokers", path: "/nodes" }]} name={address}>
        {broker !== undefined && <Health server={broker} />}
      </PathHeading>
      <Failure error={error ?? (data !== undefined && broker === undefined ? "There is no broker of this address." : undefined)} />
      {broker?.down !== undefined && (
        <p class="failure" role="alert">
          It does not answer: {broker.down}
        </p>
      )}
      {broker?.unhealthy !== undefined && (
        <p class="failure" role="alert">
          It says of itself: {broker.unhealthy}
        </p>
      )}
      {broker?.draining && (
        <ul class="findings" aria-label="Drain">
          <li class="warn">
            It is draining: it takes no new consumers and publishes, and ends when what consumers have is answered
            {broker.in_flight > 0 && `, ${plural(broker.in_flight, "message")} now`}, or the time for it is over.
          </li>
        </ul>
      )}
      {broker !== undefined && <Detail broker={broker} />}
    </>
  );
}

function Detail({ broker }: { broker: BrokerRow }) {
  const { address } = broker;
  return (
    <>
      <div class="toolbar">
        {may("admin") && broker.product === "bunsq" && broker.down === undefined && !broker.draining && (
          <div class="actions">
            <button type="button" class="danger" onClick={() => askDrain(address)}>
              Drain …
            </button>
          </div>
        )}
        <nav class="related" aria-label="More about this broker">
          <a href={href(withQuery("/clients", { broker: address }))}>Clients</a>
          <a href={href(withQuery("/producers", { broker: address }))}>Producers</a>
        </nav>
      </div>
      <Stats>
        <Stat label="In" note={<Sparkline values={broker.spark.in_rate} series={2} wide />}>
          {rate(broker.in_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Out" note={<Sparkline values={broker.spark.out_rate} series={1} wide />}>
          {rate(broker.out_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Depth" note={<Sparkline values={broker.spark.depth} series={3} wide />}>
          {count(broker.depth)}
        </Stat>
        <Stat label="Log" note={broker.disk_free_bytes === null ? undefined : `${bytes(broker.disk_free_bytes)} free`}>
          {bytes(broker.log_bytes)}
        </Stat>
        <Stat label="Topics" note={plural(broker.channels, "channel")}>
          {count(broker.topics)}
        </Stat>
        <Stat label="Clients" note={broker.producers === null ? undefined : plural(broker.producers, "producer")}>
          {count(broker.clients)}
        </Stat>
      </Stats>
      <section class="panel" aria-labelledby="topics-title">
        <header class="panel-head">
          <h2 id="topics-title">Topics</h2>
        </header>
        <LiveTable
          label="Topics"
          path="/topics"
          fixed={{ broker: address }}
          columns={COLUMNS}
          sort="topic"
          noun="topic"
          empty="It has no topic."
        />
      </section>
      <section class="panel" aria-labelledby="about-title">
        <header class="panel-head">
          <h2 id="about-title">About</h2>
        </header>
        <dl class="pairs">
          <dt>Host</dt>
          <dd>{broker.hostname}</dd>
          <dt>For clients</dt>
          <dd>
            {broker.broadcast_address}, TCP {broker.tcp_port}, HTTP {broker.http_port}
          </dd>
          <dt>Version</dt>
          <dd>
            {broker.product} {broker.version}
          </dd>
          <dt>Started</dt>
          <dd>
            {clock(broker.start_time, now.value)} <span class="muted">({since(broker.start_time, now.value)})</span>
          </dd>
          {broker.region !== "" && (
            <>
              <dt>Region, zone</dt>
              <dd>
                {broker.region}, {broker.zone}
              </dd>
            </>
          )}
          <dt>Listed by</dt>
          <dd>{broker.lookups.length === 0 ? "no lookup server" : broker.lookups.join(", ")}</dd>
          {broker.tombstones.length > 0 && (
            <>
              <dt>Tombstoned for</dt>
              <dd>{broker.tombstones.join(", ")}</dd>
            </>
          )}
        </dl>
      </section>
    </>
  );
}

function askDrain(broker: string): void {
  askAction({
    title: `Drain ${broker}`,
    verb: "Drain",
    isDanger: true,
    confirm: broker,
    request: () => ({ action: "drain", broker }),
    children: (
      <p>
        It leaves the lookup servers, takes no new consumers and publishes, lets what is in flight finish, and then ends. Something else has
        to start it again.
      </p>
    ),
  });
}
