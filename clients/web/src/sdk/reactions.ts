/** Clicks on a reaction, gathered: one message per type and window, not one per click. */
import { REACTION_COUNT_MAX, type ClientPayloads, type Millis } from "./protocol.js";

export const REACTION_WINDOW_MS = 250;
/** Clicks of one type that may wait; what is beyond them is dropped, since a server would refuse it too. */
const WAITING_MAX = 100;

interface Waiting {
  streamId: string;
  type: string;
  count: number;
  dueMs: Millis;
}

export class ReactionBuffer {
  private readonly waiting = new Map<string, Waiting>();

  add(streamId: string, type: string, count: number, nowMs: Millis): void {
    const key = `${streamId}\n${type}`;
    const entry = this.waiting.get(key) ?? { streamId, type, count: 0, dueMs: nowMs + REACTION_WINDOW_MS };
    entry.count = Math.min(WAITING_MAX, entry.count + count);
    this.waiting.set(key, entry);
  }

  nextDeadlineMs(): Millis | null {
    let next: Millis | null = null;
    for (const { dueMs } of this.waiting.values()) if (next === null || dueMs < next) next = dueMs;
    return next;
  }

  /** What is due, at most 20 of a type per window; the rest waits for the next one. */
  takeDue(nowMs: Millis): ClientPayloads["react"][] {
    const due: ClientPayloads["react"][] = [];
    for (const [key, entry] of this.waiting) {
      if (entry.dueMs > nowMs) continue;
      const count = Math.min(REACTION_COUNT_MAX, entry.count);
      due.push({ stream_id: entry.streamId, reaction_type: entry.type, count });
      entry.count -= count;
      entry.dueMs = nowMs + REACTION_WINDOW_MS;
      if (entry.count <= 0) this.waiting.delete(key);
    }
    return due;
  }

  /** An increment has no key and is never repeated, so what a lost connection held is let go. */
  clear(streamId?: string): void {
    for (const [key, entry] of this.waiting) {
      if (streamId === undefined || entry.streamId === streamId) this.waiting.delete(key);
    }
  }
}
