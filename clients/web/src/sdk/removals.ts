/**
 * Comments that this viewer wants taken away, each under its `client_id` until its answer. Until then every new connection sends it
 * again, which is one removal to the server. Nothing here reads a clock. What ends a removal returns its outcome, once.
 */
import type { DeleteComment, Millis, ProtocolError, Receipt } from "./protocol.js";

/** What became of a removal. */
export interface RemovalOutcome {
  streamId: string;
  commentId: string;
  clientId: string;
  /** Null when it is applied, else why not: `forbidden`, `comment_not_found`, `unconfirmed`, …. */
  code: string | null;
  message: string | null;
  /** When waiting helps: the time from which it may be tried again, on the clock of `Chorus.nowMs`. */
  retryAtMs: Millis | null;
}

interface Entry {
  wire: DeleteComment;
  deadlineMs: Millis;
  /** Sent on the present connection, and not refused there for want of a token. */
  sent: boolean;
  /** Sent on a connection that was lost before its answer: it may be applied. */
  doubtful: boolean;
}

export class Removals {
  /** Those without an outcome; each leaves at its deadline at the latest. */
  private readonly entries = new Map<string, Entry>();
  private readonly unconfirmedAfterMs: Millis;

  constructor(unconfirmedAfterMs: Millis) {
    this.unconfirmedAfterMs = unconfirmedAfterMs;
  }

  add(wire: DeleteComment, nowMs: Millis): void {
    this.entries.set(wire.client_id, { wire, deadlineMs: nowMs + this.unconfirmedAfterMs, sent: false, doubtful: false });
  }

  /** The key under which this comment's removal is under way. */
  underWay(streamId: string, commentId: string): string | null {
    for (const { wire } of this.entries.values()) {
      if (wire.stream_id === streamId && wire.comment_id === commentId) return wire.client_id;
    }
    return null;
  }

  connectionLost(): void {
    for (const entry of this.entries.values()) {
      entry.doubtful ||= entry.sent;
      entry.sent = false;
    }
  }

  /** The machine slept: what is under way is given its time anew, since nobody could answer. */
  woke(nowMs: Millis): void {
    for (const entry of this.entries.values()) entry.deadlineMs = Math.max(entry.deadlineMs, nowMs + this.unconfirmedAfterMs);
  }

  /** Those of a stream not yet sent on this connection; they count as sent from here on. */
  takeUnsent(streamId: string): DeleteComment[] {
    const unsent = [...this.entries.values()].filter((entry) => !entry.sent && entry.wire.stream_id === streamId);
    for (const entry of unsent) entry.sent = true;
    return unsent.map((entry) => entry.wire);
  }

  /** Refused for want of a good token: it goes out again under its key. False when it is not under way. */
  requeue(clientId: string): boolean {
    const entry = this.entries.get(clientId);
    if (entry) entry.sent = false;
    return entry !== undefined;
  }

  /** Null for a receipt of something else, or one that is no outcome. */
  applyReceipt(receipt: Receipt, nowMs: Millis): RemovalOutcome | null {
    if (receipt.status === "applied") return this.settle(receipt.client_id, null);
    if (receipt.status !== "rejected") return null;
    return this.settle(receipt.client_id, receipt.reason ?? "invalid", null, laterMs(receipt, nowMs));
  }

  applyError(error: ProtocolError, nowMs: Millis): RemovalOutcome | null {
    return this.settle(error.client_id ?? "", error.code, error.message, laterMs(error, nowMs));
  }

  /**
   * Ends those, of one stream or of all, that will not be sent (again): with the reason where they are certainly not applied, else as
   * unconfirmed. `alsoSent`: also those whose answer can still come on this connection.
   */
  end(reason: string, alsoSent: boolean, streamId?: string): RemovalOutcome[] {
    const ended = [...this.entries.values()].filter(
      ({ wire, sent }) => (streamId === undefined || wire.stream_id === streamId) && (alsoSent || !sent),
    );
    return this.settleAll(ended, ({ sent, doubtful }) => (sent || doubtful ? "unconfirmed" : reason));
  }

  nextDeadlineMs(): Millis | null {
    let next: Millis | null = null;
    for (const { deadlineMs } of this.entries.values()) if (next === null || deadlineMs < next) next = deadlineMs;
    return next;
  }

  /** Those whose time is up. */
  expire(nowMs: Millis): RemovalOutcome[] {
    return this.settleAll([...this.entries.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs), () => "unconfirmed");
  }

  private settleAll(entries: Entry[], code: (entry: Entry) => string): RemovalOutcome[] {
    return entries.map((entry) => this.settle(entry.wire.client_id, code(entry))).filter((outcome) => outcome !== null);
  }

  private settle(clientId: string, code: string | null, message: string | null = null, retryAtMs: Millis | null = null): RemovalOutcome | null {
    const wire = this.entries.get(clientId)?.wire;
    if (!wire) return null;
    this.entries.delete(clientId);
    return { streamId: wire.stream_id, commentId: wire.comment_id, clientId, code, message, retryAtMs };
  }
}

function laterMs(answer: { retry_after_ms?: Millis }, nowMs: Millis): Millis | null {
  return answer.retry_after_ms === undefined ? null : nowMs + answer.retry_after_ms;
}
