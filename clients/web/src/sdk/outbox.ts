/**
 * What this viewer has written and what became of it. A message stays here under its `client_id` until
 * a receipt ends the matter; until then every new connection sends it again, which the server
 * stores once. Nothing here reads a clock.
 */
import type { Comment, Millis, PostComment, ProtocolError, Receipt } from "./protocol.js";

export type PostStatus =
  | "sending"
  | "accepted"
  | "durable"
  | "sampled_out"
  | "held"
  | "rejected"
  | "unconfirmed";

export interface OwnPost {
  readonly clientId: string;
  readonly streamId: string;
  readonly content: string;
  readonly parentId: string | null;
  readonly postedAtMs: Millis;
  status: PostStatus;
  /** Known from the receipt, or from the comment itself when that comes first. */
  commentId: string | null;
  reason: string | null;
  message: string | null;
  /** When waiting helps: the time from which the same text may be tried again. */
  retryAtMs: Millis | null;
  /** How often it was handed to a socket; 0 with `unconfirmed` means that it never left. */
  attempts: number;
  /** The newest comment when it was written: where it is shown when it never gets an id. */
  readonly anchorId: string;
  /** Taken away after it was stored. */
  removed: boolean;
}

interface Entry {
  post: OwnPost;
  wire: PostComment;
  deadlineMs: Millis;
  /** Sent on the present connection. */
  sent: boolean;
}

/** Finished posts kept for display and for late receipts. */
const POSTS_MAX = 200;

export class Outbox {
  private readonly entries = new Map<string, Entry>();
  private readonly unconfirmedAfterMs: Millis;

  constructor(unconfirmedAfterMs: Millis) {
    this.unconfirmedAfterMs = unconfirmedAfterMs;
  }

  add(wire: PostComment, nowMs: Millis, anchorId: string): OwnPost {
    const post: OwnPost = {
      clientId: wire.client_id,
      streamId: wire.stream_id,
      content: wire.content,
      parentId: wire.parent_id ?? null,
      postedAtMs: nowMs,
      status: "sending",
      commentId: null,
      reason: null,
      message: null,
      retryAtMs: null,
      attempts: 0,
      anchorId,
      removed: false,
    };
    this.entries.set(wire.client_id, { post, wire, deadlineMs: nowMs + this.unconfirmedAfterMs, sent: false });
    this.bound();
    return post;
  }

  get(clientId: string): OwnPost | undefined {
    return this.entries.get(clientId)?.post;
  }

  /** In the order they were written. */
  posts(streamId: string): OwnPost[] {
    return [...this.entries.values()].map((entry) => entry.post).filter((post) => post.streamId === streamId);
  }

  /** Takes a finished post out of sight. One still under way stays: its outcome is owed. */
  forget(clientId: string): boolean {
    const entry = this.entries.get(clientId);
    return entry !== undefined && !isOpen(entry.post) && this.entries.delete(clientId);
  }

  /** Starts an unconfirmed post again under its own `client_id`, so it cannot be stored twice. */
  retry(clientId: string, nowMs: Millis): OwnPost | null {
    const entry = this.entries.get(clientId);
    if (entry?.post.status !== "unconfirmed") return null;
    entry.post.status = "sending";
    entry.deadlineMs = nowMs + this.unconfirmedAfterMs;
    entry.sent = false;
    return entry.post;
  }

  connectionLost(): void {
    for (const entry of this.entries.values()) entry.sent = false;
  }

  /** The open posts of a stream not yet sent on this connection; they count as sent from here on. */
  takeUnsent(streamId: string): PostComment[] {
    const wires: PostComment[] = [];
    for (const entry of this.entries.values()) {
      if (entry.sent || !isOpen(entry.post) || entry.wire.stream_id !== streamId) continue;
      entry.sent = true;
      entry.post.attempts += 1;
      wires.push(entry.wire);
    }
    return wires;
  }

  /** Null when the receipt is for nothing here (a moderation, or a post of long ago). */
  applyReceipt(receipt: Receipt, nowMs: Millis): OwnPost | null {
    const post = this.get(receipt.client_id);
    if (!post || receipt.status === "applied") return null;
    if (receipt.comment_id) post.commentId = receipt.comment_id;
    // A post sent again is accepted again: that must not hide what is already known.
    if (receipt.status === "accepted" && post.status !== "sending") return post;
    if (receipt.status === "durable" && isVerdict(post)) return post;
    post.status = receipt.status;
    post.reason = receipt.reason ?? null;
    post.retryAtMs = receipt.retry_after_ms === undefined ? null : nowMs + receipt.retry_after_ms;
    return post;
  }

  applyError(error: ProtocolError, nowMs: Millis): OwnPost | null {
    const post = error.client_id === undefined ? undefined : this.get(error.client_id);
    if (!post || !isOpen(post)) return null;
    post.status = error.code === "unconfirmed" ? "unconfirmed" : "rejected";
    post.reason = error.code;
    post.message = error.message;
    post.retryAtMs = error.retry_after_ms === undefined ? null : nowMs + error.retry_after_ms;
    return post;
  }

  /** Lets open posts be sent again on this connection, after a refusal for want of a good token. */
  releaseForResend(): void {
    for (const entry of this.entries.values()) if (entry.post.status === "sending") entry.sent = false;
  }

  /** A comment of this user may arrive before its receipt: it must not be shown beside its own post. */
  adopt(comment: Comment): OwnPost | null {
    for (const { post } of this.entries.values()) {
      if (post.commentId === comment.id) return post;
    }
    for (const { post } of this.entries.values()) {
      const same = post.streamId === comment.stream_id && post.content === comment.content;
      if (same && post.commentId === null && isOpen(post)) {
        post.commentId = comment.id;
        return post;
      }
    }
    return null;
  }

  markRemoved(commentIds: string[]): OwnPost[] {
    const ids = new Set(commentIds);
    const hit = [...this.entries.values()].map((entry) => entry.post).filter((post) => ids.has(post.commentId ?? ""));
    for (const post of hit) post.removed = true;
    return hit;
  }

  nextDeadlineMs(): Millis | null {
    let next: Millis | null = null;
    for (const { post, deadlineMs } of this.entries.values()) {
      if (isOpen(post) && (next === null || deadlineMs < next)) next = deadlineMs;
    }
    return next;
  }

  /** The posts whose time is up: what became of them is not known, and that is said. */
  expire(nowMs: Millis): OwnPost[] {
    const expired: OwnPost[] = [];
    for (const { post, deadlineMs } of this.entries.values()) {
      if (!isOpen(post) || deadlineMs > nowMs) continue;
      post.status = "unconfirmed";
      expired.push(post);
    }
    return expired;
  }

  /** The oldest finished posts go first; open ones are bounded by their deadline. */
  private bound(): void {
    for (const [clientId, entry] of this.entries) {
      if (this.entries.size <= POSTS_MAX) return;
      if (!isOpen(entry.post)) this.entries.delete(clientId);
    }
  }
}

/** Still waiting for the word that it is stored or refused. */
export function isOpen(post: OwnPost): boolean {
  return post.status === "sending" || post.status === "accepted";
}

/** The last word, which a repeated `durable` does not take back. */
function isVerdict(post: OwnPost): boolean {
  return post.status === "sampled_out" || post.status === "held" || post.status === "rejected";
}
