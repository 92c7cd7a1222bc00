/** The messages of client protocol 1, as they travel. The reference is `clients/protocol.md`. */
import type { ErrorCode, NoticeKind, Reason, ReceiptStatus, RemovalReason } from "./codes.js";

/** Milliseconds since 1970. */
export type Millis = number;
/** Running totals by reaction type. */
export type Counts = Record<string, number>;

export const REACTION_TYPES = ["like", "love", "haha", "wow", "sad", "angry"] as const;
export const CONTENT_SCALARS_MAX = 500;
export const REACTION_COUNT_MAX = 20;

export interface Comment {
  /** Decimal string. Sort with `compareIds`: numbers lose its low bits. */
  id: string;
  stream_id: string;
  user_id: string;
  username: string;
  content: string;
  created_at_ms: Millis;
  parent_id?: string;
  mentions?: string[];
  media_ms?: Millis;
  highlighted?: boolean;
  pinned?: boolean;
  likes?: number;
  badges?: string[];
}

export type Role = "anonymous" | "user" | "moderator" | "admin" | "broadcaster" | (string & {});
export type Settings = Record<string, unknown>;
export type StreamStatus = "scheduled" | "live" | "ended" | (string & {});

export interface PostComment {
  stream_id: string;
  client_id: string;
  content: string;
  parent_id?: string;
  media_ms?: Millis;
}

export interface DeleteComment {
  stream_id: string;
  comment_id: string;
  client_id: string;
}

export interface Moderate {
  stream_id: string;
  client_id: string;
  action: string;
  [field: string]: unknown;
}

export interface ClientPayloads {
  authenticate: { token: string };
  join_stream: { stream_id: string; resume?: string };
  leave_stream: { stream_id: string };
  post_comment: PostComment;
  react: { stream_id: string; reaction_type: string; comment_id?: string; count?: number };
  unreact: { stream_id: string; comment_id: string; reaction_type: string };
  delete_comment: DeleteComment;
  moderate: Moderate;
  report: { stream_id: string; comment_id: string; reason: string };
  ping: unknown;
}

export interface Joined {
  stream_id: string;
  title?: string;
  status?: StreamStatus;
  resume: string;
  gap: boolean;
  comments: Comment[];
  /** Ids taken away since `resume`. */
  removed?: string[];
  /** A comment's id. */
  pinned?: string | null;
  reactions?: Counts;
  viewer_count?: number;
  comment_count?: number;
  settings?: Settings;
  role?: Role;
}

export interface Receipt {
  client_id: string;
  comment_id?: string;
  status: ReceiptStatus;
  /** A newer server may know more reasons. */
  reason?: Reason | (string & {});
  retry_after_ms?: Millis;
}

export interface ProtocolError {
  code: ErrorCode | (string & {});
  message: string;
  client_id?: string;
  stream_id?: string;
  retry_after_ms?: Millis;
}

export interface ServerPayloads {
  joined: Joined;
  comments_batch: { stream_id: string; comments: Comment[]; resume?: string };
  /** A newer server may know more reasons. */
  comments_removed: { stream_id: string; comment_ids: string[]; reason?: RemovalReason | (string & {}) };
  comment_updated: { stream_id: string; comment_id: string } & Partial<Comment>;
  receipt: Receipt;
  reactions_batch: {
    stream_id: string;
    counts?: Counts;
    comments?: Record<string, Counts>;
  };
  viewer_count: { stream_id: string; count: number };
  stream_updated: { stream_id: string; settings?: Settings; status?: StreamStatus; title?: string };
  notice: { stream_id?: string; kind: NoticeKind | (string & {}); [field: string]: unknown };
  mention: { stream_id: string; comment_id: string; from: string };
  error: ProtocolError;
  pong: unknown;
}

type Message<Payloads> = { [T in keyof Payloads]: { type: T; payload: Payloads[T] } }[keyof Payloads];
export type ClientMessage = Message<ClientPayloads>;
export type ServerMessage = Message<ServerPayloads>;
