/**
 * What this viewer decides about comments and the stream, each decision under its `client_id` until its answer. Until then every new
 * connection sends it again, which is one decision to the server. Nothing here reads a clock. What ends a decision returns its
 * outcome, once.
 */
import type { ClientMessage, Millis, ProtocolError, Receipt } from "./protocol.js";

/** The messages that are answered with `applied`. */
export type Decision = Extract<ClientMessage, { type: "delete_comment" | "moderate" }>;

/** What became of a decision. */
export interface DecisionOutcome {
  streamId: string;
  /** `delete` for `delete_comment`, else the `action` of `moderate`. */
  action: string;
  /** The comment it is about; null where it is about none. */
  commentId: string | null;
  clientId: string;
  /** Null when it is applied, else why not: `forbidden`, `comment_not_found`, `unconfirmed`, …. */
  code: string | null;
  message: string | null;
  /** When waiting helps: the time from which it may be tried again, on the clock of `Chorus.nowMs`. */
  retryAtMs: Millis | null;
}

interface Entry {
  decision: Decision;
  deadlineMs: Millis;
  /** Sent on the present connection, and not refused there for want of a token. */
  sent: boolean;
  /** Sent on a connection that was lost before its answer: it may be applied. */
  doubtful: boolean;
}

export class Decisions {
  /** Those without an outcome; each leaves at its deadline at the latest. */
  private readonly entries = new Map<string, Entry>();
  private readonly unconfirmedAfterMs: Millis;

  constructor(unconfirmedAfterMs: Millis) {
    this.unconfirmedAfterMs = unconfirmedAfterMs;
  }

  add(decision: Decision, nowMs: Millis): void {
    const deadlineMs = nowMs + this.unconfirmedAfterMs;
    this.entries.set(decision.payload.client_id, { decision, deadlineMs, sent: false, doubtful: false });
  }

  /** The key under which a comment's removal by `delete_comment` is under way. */
  removalUnderWay(streamId: string, commentId: string): string | null {
    for (const { decision } of this.entries.values()) {
      const { type, payload } = decision;
      if (type === "delete_comment" && payload.stream_id === streamId && payload.comment_id === commentId) return payload.client_id;
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
  takeUnsent(streamId: string): Decision[] {
    const unsent = [...this.entries.values()].filter((entry) => !entry.sent && entry.decision.payload.stream_id === streamId);
    for (const entry of unsent) entry.sent = true;
    return unsent.map((entry) => entry.decision);
  }

  /** Refused for want of a good token: it goes out again under its key. False when it is not under way. */
  requeue(clientId: string): boolean {
    const entry = this.entries.get(clientId);
    if (entry) entry.sent = false;
    return entry !== undefined;
  }

  /** Null for a receipt of something else, or one that is no outcome. */
  applyReceipt(receipt: Receipt, nowMs: Millis): DecisionOutcome | null {
    if (receipt.status === "applied") return this.settle(receipt.client_id, null);
    if (receipt.status !== "rejected") return null;
    return this.settle(receipt.client_id, receipt.reason ?? "invalid", null, laterMs(receipt, nowMs));
  }

  applyError(error: ProtocolError, nowMs: Millis): DecisionOutcome | null {
    return this.settle(error.client_id ?? "", error.code, error.message, laterMs(error, nowMs));
  }

  /**
   * Ends those, of one stream or of all, that will not be sent (again): with the reason where they are certainly not applied, else as
   * unconfirmed. `alsoSent`: also those whose answer can still come on this connection.
   */
  end(reason: string, alsoSent: boolean, streamId?: string): DecisionOutcome[] {
    const ended = [...this.entries.values()].filter(
      ({ decision, sent }) => (streamId === undefined || decision.payload.stream_id === streamId) && (alsoSent || !sent),
    );
    return this.settleAll(ended, ({ sent, doubtful }) => (sent || doubtful ? "unconfirmed" : reason));
  }

  nextDeadlineMs(): Millis | null {
    let next: Millis | null = null;
    for (const { deadlineMs } of this.entries.values()) if (next === null || deadlineMs < next) next = deadlineMs;
    return next;
  }

  /** Those whose time is up. */
  expire(nowMs: Millis): DecisionOutcome[] {
    return this.settleAll([...this.entries.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs), () => "unconfirmed");
  }

  private settleAll(entries: Entry[], code: (entry: Entry) => string): DecisionOutcome[] {
    return entries.map((entry) => this.settle(entry.decision.payload.client_id, code(entry))).filter((outcome) => outcome !== null);
  }

  private settle(clientId: string, code: string | null, message: string | null = null, retryAtMs: Millis | null = null): DecisionOutcome | null {
    const decision = this.entries.get(clientId)?.decision;
    if (!decision) return null;
    this.entries.delete(clientId);
    const { payload } = decision;
    const commentId = typeof payload.comment_id === "string" ? payload.comment_id : null;
    const action = decision.type === "moderate" ? decision.payload.action : "delete";
    return { streamId: payload.stream_id, action, commentId, clientId, code, message, retryAtMs };
  }
}

function laterMs(answer: { retry_after_ms?: Millis }, nowMs: Millis): Millis | null {
  return answer.retry_after_ms === undefined ? null : nowMs + answer.retry_after_ms;
}

/** Whether an outcome says that a comment is gone. */
export function isRemoval({ action, code }: DecisionOutcome): boolean {
  return code === null && (action === "delete" || action === "remove");
}
