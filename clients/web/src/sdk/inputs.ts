/** What the core is told, what it has done, and what may be set. */
import type { Decision } from "./decisions.js";
import { AUTH_DEFAULT, type AuthConfig } from "./auth.js";
import { CONNECTION_DEFAULT, type ConnectionConfig } from "./connection.js";
import type { ChorusEvent } from "./events.js";
import type { Pop } from "./pops.js";
import type { ClientMessage, Millis, ServerMessage } from "./protocol.js";

export interface CoreConfig {
  connection: ConnectionConfig;
  auth: AuthConfig;
  /** Comments kept per stream. */
  commentsMax: number;
  /** When a post or a decision without an outcome is given up. */
  unconfirmedAfterMs: Millis;
  canRefresh: boolean;
  /** In [0, 1); the only source of chance. */
  random: () => number;
}

export const CORE_DEFAULT: Omit<CoreConfig, "random" | "canRefresh"> = {
  connection: CONNECTION_DEFAULT,
  auth: AUTH_DEFAULT,
  commentsMax: 500,
  unconfirmedAfterMs: 30_000,
};

export interface PostOptions {
  parentId?: string | undefined;
  mediaMs?: Millis | undefined;
}

export type Input =
  | { type: "start" }
  | { type: "suspend" }
  | { type: "stop" }
  | { type: "opened" }
  | { type: "closed"; code: number; reason: string }
  | { type: "received"; message: ServerMessage }
  | { type: "join"; streamId: string; resume?: string | undefined }
  | { type: "leave"; streamId: string }
  /** `wallMs` is the time of day, for display. */
  | ({ type: "post"; streamId: string; clientId: string; content: string; wallMs?: Millis } & PostOptions)
  | { type: "retry"; clientId: string }
  | { type: "decide"; decision: Decision }
  | { type: "react"; streamId: string; reactionType: string; count: number }
  /** Anything else, sent when connected and dropped when not. */
  | { type: "send"; message: ClientMessage }
  /** The app signs in (again), or out. */
  | { type: "token"; token: string | null }
  /** The answer to `ask_token` of this round. `failed`: it threw, so there may be a token later. */
  | { type: "token_answer"; round: number; token: string | null; failed: boolean }
  /** An answer outside the socket (REST 401) says that this token will not do. */
  | { type: "token_refused"; token: string; reason: string }
  /** What the browser says of the network. */
  | { type: "network"; online: boolean }
  /** The page is looked at again. */
  | { type: "nudge" }
  /** The machine may have slept. */
  | { type: "wake" }
  /** The browser is about to stop the page, and has let it go on. */
  | { type: "freeze" }
  | { type: "thaw" }
  /** The answer to `ask_pops`; null when there was none. */
  | { type: "pops"; list: { here: string; pops: Pop[] } | null }
  /** The answer to `probe_pops`: round trips by name, without those that did not answer. */
  | { type: "probed"; rtts: ReadonlyMap<string, Millis> }
  /** The app wants the list and the round trips anew. */
  | { type: "look" }
  /** The user's choice of a PoP; null lets the measurements choose again. */
  | { type: "move"; pop: string | null }
  | { type: "timer" };

export type Effect =
  /** Null: the address that the client was given. */
  | { type: "connect"; url: string | null }
  | { type: "drop" }
  | { type: "send"; message: ClientMessage }
  | { type: "ask_token"; round: number }
  | { type: "ask_pops" }
  | { type: "probe_pops"; pops: readonly Pop[] }
  | { type: "emit"; event: ChorusEvent };
