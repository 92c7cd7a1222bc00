/** The Chorus client for browsers and other JavaScript runtimes. */
export { closeAction, errorAction, reasonAction, type CloseAction, type ErrorAction, type ReasonAction } from "./actions.js";
export { AUTH_DEFAULT, type AuthConfig, type AuthState, type AuthStatus } from "./auth.js";
export { BACKOFF_DEFAULT, backoffMs, type BackoffConfig } from "./backoff.js";
export { Chorus, StreamHandle, type ChorusOptions } from "./client.js";
export { systemClock, type Clock } from "./clock.js";
export { jsonCodec, type Codec, type Frame } from "./codec.js";
export * from "./codes.js";
export { CONNECTION_DEFAULT, type ConnectionConfig } from "./connection.js";
export type { ChorusEvent, ChorusEvents, ConnectionState, Phase } from "./events.js";
export { compareIds } from "./ids.js";
export { CORE_DEFAULT, type CoreConfig, type Effect, type Input, type PostOptions } from "./inputs.js";
export type { OwnPost, PostStatus } from "./outbox.js";
export * from "./protocol.js";
export { devToken, history, RestError } from "./rest.js";
export { Core } from "./state.js";
export { cleanContent, scalarCount } from "./text.js";
export type { TimelineItem } from "./timeline.js";
export type { StreamView } from "./view.js";
