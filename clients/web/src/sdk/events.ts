/** What the SDK tells an app. One event, one payload. */
import type { AuthState } from "./auth.js";
import type { DecisionOutcome } from "./decisions.js";
import type { OwnPost } from "./outbox.js";
import type { ErrorCode } from "./codes.js";
import type { PopState } from "./pops.js";
import type { Comment, Counts, Millis, ProtocolError, Receipt, ServerPayloads, Settings, StreamStatus } from "./protocol.js";

/** `idle` before the start; `waiting` for the next attempt; `suspended` by the app; `closed` for good. */
export type Phase = "idle" | "connecting" | "open" | "waiting" | "suspended" | "closed";

export interface ConnectionState {
  phase: Phase;
  /** Attempts since the last connection that held. */
  attempt: number;
  /** The next attempt, on the clock of `Chorus.nowMs`. */
  retryAtMs: Millis | null;
  /** The close code of the connection before, when there was one. */
  code: number | null;
  reason: string;
  /** The browser says that there is no network, and no connection has proved it wrong. */
  offline: boolean;
}

export interface ChorusEvents {
  connection: ConnectionState;
  /** Another PoP, or what is known of them is new. Only with the option `pops`. */
  pop: PopState;
  /** Who the viewer is. `signed_out` with a `reason`: the token was refused and no better one was found; offer a way to sign in. */
  auth: AuthState;
  /** The stream is (again) complete up to now, or `gap` says that it is not. */
  joined: { streamId: string; gap: boolean; resumed: boolean; added: Comment[] };
  comments: { streamId: string; added: Comment[] };
  /** Comments taken away, by whomever: each id once, whether or not the comment was held here. */
  removed: { streamId: string; commentIds: string[]; reason: string | null };
  /** What became of a decision of this viewer: a removal or a moderator's action. */
  decision: DecisionOutcome;
  updated: { streamId: string; commentId: string };
  /** One of this viewer's own posts changed: once per change. */
  post: { streamId: string; post: OwnPost };
  /** `growth` holds only the types that changed, and by how much. */
  reactions: { streamId: string; totals: Counts; growth: Counts; commentIds: string[] };
  viewers: { streamId: string; count: number };
  /** What the stream is now. `problem`: why it cannot be joined, `stream_not_found` for one. */
  stream: { streamId: string; settings: Settings; status: StreamStatus | null; title: string | null; problem: ErrorCode | null };
  notice: ServerPayloads["notice"];
  mention: ServerPayloads["mention"];
  /** A receipt for what this client did not send. */
  receipt: Receipt;
  error: ProtocolError;
}

export type ChorusEvent = { [T in keyof ChorusEvents]: { type: T; payload: ChorusEvents[T] } }[keyof ChorusEvents];
