/** What the SDK tells an app. One event, one payload. */
import type { OwnPost } from "./outbox.js";
import type { Comment, Counts, Millis, ProtocolError, Receipt, ServerPayloads, Settings } from "./protocol.js";

/** `idle` before the start; `waiting` for the next attempt; `suspended` by the app; `closed` for good. */
export type Phase = "idle" | "connecting" | "open" | "waiting" | "suspended" | "closed";

export interface ConnectionState {
  phase: Phase;
  /** Attempts since the last connection that held. */
  attempt: number;
  retryAtMs: Millis | null;
  /** The close code of the connection before, when there was one. */
  code: number | null;
  reason: string;
}

export interface ChorusEvents {
  connection: ConnectionState;
  /** The stream is (again) complete up to now, or `gap` says that it is not. */
  joined: { streamId: string; gap: boolean; resumed: boolean; added: Comment[] };
  comments: { streamId: string; added: Comment[] };
  removed: { streamId: string; commentIds: string[]; reason: string | null };
  updated: { streamId: string; commentId: string };
  /** One of this viewer's own posts changed its state. */
  post: { streamId: string; post: OwnPost };
  /** `growth` holds only the types that changed, and by how much. */
  reactions: { streamId: string; totals: Counts; growth: Counts; commentIds: string[] };
  viewers: { streamId: string; count: number };
  stream: { streamId: string; settings: Settings; status: string | null };
  notice: ServerPayloads["notice"];
  mention: ServerPayloads["mention"];
  /** A receipt for something else than a post: a moderation. */
  receipt: Receipt;
  error: ProtocolError;
  /** Reading goes on; writing waits for a token. `refreshing` says whether one is on its way. */
  token_expired: { refreshing: boolean };
}

export type ChorusEvent = { [T in keyof ChorusEvents]: { type: T; payload: ChorusEvents[T] } }[keyof ChorusEvents];
