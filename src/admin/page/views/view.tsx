import { later } from "../parts/later.tsx";
import { href, route } from "../state/location.ts";
import type { ViewName } from "../state/routes.ts";
import { ActivityView } from "./activity.tsx";
import { BrokerView } from "./broker.tsx";
import { BrokersView } from "./brokers.tsx";
import { ChannelView } from "./channel.tsx";
import { ClientsView } from "./clients.tsx";
import { CounterView } from "./counter.tsx";
import { LookupsView } from "./lookups.tsx";
import { MessagesView } from "./messages.tsx";
import { OverviewView } from "./overview.tsx";
import { ProducersView } from "./producers.tsx";
import { TopicView } from "./topic.tsx";
import { TopicsView } from "./topics.tsx";

/** Most brokers are in no cluster. */
const ClusterView = later(async () => (await import("./cluster.tsx")).ClusterView);

export const TITLES: Record<ViewName, string> = {
  overview: "Overview",
  topics: "Topics",
  topic: "Topic",
  channel: "Channel",
  brokers: "Brokers",
  broker: "Broker",
  clients: "Clients",
  producers: "Producers",
  lookups: "Lookup servers",
  cluster: "Cluster",
  messages: "Messages",
  activity: "Activity",
  counter: "Counter",
  login: "Log in",
  unknown: "Not found",
};

/** The view that the address names. */
export function View() {
  const { view, topic, channel, broker, path } = route.value;
  switch (view) {
    case "overview":
      return <OverviewView />;
    case "topics":
      return <TopicsView />;
    case "topic":
      return <TopicView topic={topic} />;
    case "channel":
      return <ChannelView topic={topic} channel={channel} />;
    case "brokers":
      return <BrokersView />;
    case "broker":
      return <BrokerView address={broker} />;
    case "clients":
      return <ClientsView />;
    case "producers":
      return <ProducersView />;
    case "lookups":
      return <LookupsView />;
    case "cluster":
      return <ClusterView />;
    case "messages":
      return <MessagesView />;
    case "activity":
      return <ActivityView />;
    case "counter":
      return <CounterView />;
    case "login":
    case "unknown":
      return (
        <>
          <h1>Not found</h1>
          <p>
            There is no page {path}. <a href={href("/")}>To the overview</a>
          </p>
        </>
      );
  }
}
