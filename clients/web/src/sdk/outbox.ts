/**
 * What this viewer has written and what became of it. A message stays here under its `client_id` until
 * a receipt ends the matter; until then every new connection sends it again, which the server
 * stores once. Nothing here reads a clock. What returns a post returns it only when it changed.
 */
import { reasonAction } from "./actions.js";
import type { ReceiptStatus } from "./codes.js";
import type { Comment, Millis, PostComment, ProtocolError, Receipt } from "./protocol.js";

/** Where a post is: before its first receipt, at one, or given up. */
export type PostStatus = "sending" | Exclude<ReceiptStatus, "applied"> | "unconfirmed";

export interface OwnPost {
  readonly clientId: string;
  readonly streamId: string;
  readonly content: string;
  readonly parentId: string | null;
  /** Time of day. */
  readonly postedAtMs: Millis;
  status: PostStatus;
  /** Known from the receipt, or from the comment itself when that comes first. */
  commentId: string | null;
  reason: string | null;
  message: string | null;
  /** When waiting helps: the time from which the same text may be tried again, on the clock of `Chorus.nowMs`. */
  retryAtMs: Millis | null;
  /** How often it was handed to a socket and not refused for want of a token; 0 with `unconfirmed`: certainly not stored. */
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
  /** Sent on the present connection, and not refused there for want of a token. */
  sent: boolean;
  /** Sent on a connection that was lost before its answer: it may be stored. */
  doubtful: boolean;
}

type News = Partial<Pick<OwnPost, "status" | "commentId" | "reason" | "message" | "retryAtMs" | "removed">>;

/** Finished posts kept for display and for late receipts. */
const POSTS_MAX = 200;

export class Outbox {
  private readonly entries = new Map<string, Entry>();
  private readonly unconfirmedAfterMs: Millis;

  constructor(unconfirmedAfterMs: Millis) {
    this.unconfirmedAfterMs = unconfirmedAfterMs;
  }

  add(wire: PostComment, nowMs: Millis, wallMs: Millis, anchorId: string): OwnPost {
    const post: OwnPost = {
      clientId: wire.client_id,
      streamId: wire.stream_id,
      content: wire.content,
      parentId: wire.parent_id ?? null,
      postedAtMs: wallMs,
      status: "sending",
      commentId: null,
      reason: null,
      message: null,
      retryAtMs: null,
      attempts: 0,
      anchorId,
      removed: false,
    };
    const deadlineMs = nowMs + this.unconfirmedAfterMs;
    this.entries.set(wire.client_id, { post, wire, deadlineMs, sent: false, doubtful: false });
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

  /** Starts an unconfirmed post again under its own `client_id`, so it cannot be stored twice. The same for one refused for want of a token. */
  retry(clientId: string, nowMs: Millis): OwnPost | null {
    const entry = this.entries.get(clientId);
    if (!entry || !(entry.post.status === "unconfirmed" || refusedForToken(entry.post))) return null;
    entry.deadlineMs = nowMs + this.unconfirmedAfterMs;
    entry.sent = false;
    return tell(entry.post, { status: "sending", reason: null, message: null, retryAtMs: null });
  }

  connectionLost(): void {
    for (const entry of this.entries.values()) {
      entry.doubtful ||= entry.sent && isOpen(entry.post);
      entry.sent = false;
    }
  }

  /** The machine slept: what was open is given its time anew, since nobody could answer. */
  woke(nowMs: Millis): void {
    for (const entry of this.entries.values()) {
      if (isOpen(entry.post)) entry.deadlineMs = Math.max(entry.deadlineMs, nowMs + this.unconfirmedAfterMs);
    }
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

  /** The post that a receipt speaks of, and whether that was news. Null when it is for nothing here: a moderation, or a post of long ago. */
  applyReceipt(receipt: Receipt, nowMs: Millis): { post: OwnPost; news: boolean } | null {
    const post = this.get(receipt.client_id);
    if (!post || receipt.status === "applied") return null;
    const news = newsOf(post, receipt.status, receipt, nowMs);
    if (receipt.comment_id) news.commentId = receipt.comment_id;
    return { post, news: tell(post, news) !== null };
  }

  /** An error with a `client_id` is the end of that post, also of one that had been given up. */
  applyError(error: ProtocolError, nowMs: Millis): OwnPost | null {
    const post = error.client_id === undefined ? undefined : this.get(error.client_id);
    if (!post || !(isOpen(post) || post.status === "unconfirmed")) return null;
    const status = error.code === "unconfirmed" ? "unconfirmed" : "rejected";
    return tell(post, { status, reason: error.code, message: error.message, retryAtMs: laterMs(error, nowMs) });
  }

  /** Refused for want of a good token, not for what it says: it goes out again under its key. False when it is not open. */
  requeue(clientId: string): boolean {
    const entry = this.entries.get(clientId);
    if (!entry || !isOpen(entry.post)) return false;
    entry.sent = false;
    entry.post.attempts -= 1;
    return true;
  }

  /**
   * Ends the open posts, of one stream or of all, that will not be sent (again). What is certainly not stored is `rejected` with the
   * reason, what may be stored is `unconfirmed`. `alsoSent`: also those whose answer can still come on this connection.
   */
  end(reason: string, alsoSent: boolean, streamId?: string): OwnPost[] {
    const ended: (OwnPost | null)[] = [];
    for (const { post, sent, doubtful } of this.entries.values()) {
      if (!isOpen(post) || (streamId !== undefined && post.streamId !== streamId) || (sent && !alsoSent)) continue;
      const status = sent || doubtful || post.status === "accepted" ? "unconfirmed" : "rejected";
      ended.push(tell(post, { status, reason }));
    }
    return ended.filter((post) => post !== null);
  }

  /** A comment of this user may arrive before its receipt: it must not be shown beside its own post. */
  adopt(comment: Comment): OwnPost | null {
    for (const { post } of this.entries.values()) if (post.commentId === comment.id) return null;
    for (const { post } of this.entries.values()) {
      const same = post.streamId === comment.stream_id && post.content === comment.content;
      if (same && post.commentId === null && isOpen(post)) return tell(post, { commentId: comment.id });
    }
    return null;
  }

  markRemoved(commentIds: string[]): OwnPost[] {
    const ids = new Set(commentIds);
    const hit = [...this.entries.values()].map((entry) => entry.post).filter((post) => ids.has(post.commentId ?? ""));
    return hit.filter((post) => tell(post, { removed: true }) !== null);
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

/** Refused before the server looked at what it says: nothing is stored under its key. */
function refusedForToken(post: OwnPost): boolean {
  return post.status === "rejected" && post.commentId === null && reasonAction(post.reason) === "token";
}

/** The last word, which a repeated `durable` does not take back. */
function isVerdict(post: Pick<OwnPost, "status">): boolean {
  return post.status === "sampled_out" || post.status === "held" || post.status === "rejected";
}

function newsOf(post: OwnPost, status: Exclude<ReceiptStatus, "applied">, receipt: Receipt, nowMs: Millis): News {
  // A post sent again is accepted again: that must not hide what is already known.
  if (status === "accepted") return post.status === "sending" ? { status } : {};
  if (status === "durable" ? isVerdict(post) : !isVerdict({ status })) return {};
  // The same word again brings nothing; the wait it speaks of began with the first.
  if (status === post.status) return {};
  return { status, reason: receipt.reason ?? null, message: null, retryAtMs: laterMs(receipt, nowMs) };
}

/** The post, when any of this is new to it. */
function tell(post: OwnPost, news: News): OwnPost | null {
  const changed = Object.entries(news).some(([field, value]) => post[field as keyof News] !== value);
  return changed ? Object.assign(post, news) : null;
}

function laterMs(answer: { retry_after_ms?: Millis }, nowMs: Millis): Millis | null {
  return answer.retry_after_ms === undefined ? null : nowMs + answer.retry_after_ms;
}
