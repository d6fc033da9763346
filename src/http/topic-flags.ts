/** Arguments of /topic/create that are true or false, as Youzan's servers name them, and the settings of a topic that they are. */
export const TOPIC_FLAGS = {
  orderedmulti: "ordered",
  multipart: "multiPart",
  extend: "extended",
  disable_channel_auto_create: "fixedChannels",
} as const;
