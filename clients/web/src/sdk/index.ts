/** The Chorus client for browsers and other JavaScript runtimes. */
export { Chorus, StreamHandle, type ChorusOptions } from "./client.js";
export { jsonCodec, type Codec, type Frame } from "./codec.js";
export { CONNECTION_DEFAULT, type ConnectionConfig } from "./connection.js";
export { BACKOFF_DEFAULT, backoffMs, shouldReconnect, type BackoffConfig } from "./backoff.js";
export type { ChorusEvent, ChorusEvents, ConnectionState, Phase } from "./events.js";
export { compareIds } from "./ids.js";
export type { OwnPost, PostStatus } from "./outbox.js";
export * from "./protocol.js";
export { devToken, history, RestError } from "./rest.js";
export { Core, CORE_DEFAULT, type CoreConfig, type Effect, type Input, type PostOptions } from "./state.js";
export { cleanContent, scalarCount } from "./text.js";
export type { TimelineItem } from "./timeline.js";
export type { StreamView } from "./view.js";
