/** Pages back through the comments that were written before the page was opened. No DOM. */
import type { Comment } from "../sdk/index.js";
import type { Backlog } from "./backlog.js";

export type EarlierState = "idle" | "loading" | "failed" | "end";

/** Reads one page, newest first; `next` is null at the end. */
export type ReadPage = (before: string | undefined) => Promise<{ comments: Comment[]; next: string | null }>;

export class Earlier {
  problem = "";
  private phase: "idle" | "loading" | "failed" = "idle";
  /** The oldest comment at which a page ended, and where the next one starts: null when there is none. */
  private cursor: { oldestId: string | undefined; before: string | null } | null = null;
  private readonly backlog: Backlog;
  private readonly readPage: ReadPage;
  private readonly changed: () => void;

  constructor(backlog: Backlog, readPage: ReadPage, changed: () => void) {
    this.backlog = backlog;
    this.readPage = readPage;
    this.changed = changed;
  }

  get state(): EarlierState {
    return this.phase === "idle" && this.next() === null ? "end" : this.phase;
  }

  /** Loads the next page, unless one is under way or there is none. After a failure it is the new try. */
  async load(): Promise<void> {
    const before = this.next();
    if (this.phase === "loading" || before === null) return;
    const oldestId = this.backlog.oldestId;
    this.phase = "loading";
    this.changed();
    try {
      const page = await this.readPage(before);
      this.phase = "idle";
      // What was held may have been trimmed meanwhile: the page would then not join it.
      if (this.backlog.oldestId === oldestId) {
        this.backlog.earlier(page.comments);
        this.cursor = { oldestId: this.backlog.oldestId, before: page.next };
      }
    } catch (error) {
      this.phase = "failed";
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.changed();
  }

  /** Where the next page starts: undefined is the newest, null is past the end. */
  private next(): string | undefined | null {
    const oldestId = this.backlog.oldestId;
    return this.cursor !== null && this.cursor.oldestId === oldestId ? this.cursor.before : oldestId;
  }
}
