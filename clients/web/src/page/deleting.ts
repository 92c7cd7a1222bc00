/** Which comments the viewer may take away, and how far each of these removals is. No DOM. */
import type { Comment, Role } from "../sdk/index.js";

/** `asked`: the next press does it. `waiting`: no answer yet. Else it failed, and this says why. */
export type Deleting = "asked" | "waiting" | { failed: string };

/** Failures shown at once; at the bound the oldest goes. */
const FAILED_MAX = 20;

const MODERATING: ReadonlySet<Role> = new Set<Role>(["moderator", "broadcaster", "admin"]);

/** The author may, and who moderates here. `userId` is null for who only reads. */
export function mayDelete(comment: Comment, userId: string | null, role: Role): boolean {
  return userId !== null && (comment.user_id === userId || MODERATING.has(role));
}

export class Deletions {
  /** The one comment whose removal waits for the second press. */
  private asked: string | null = null;
  private readonly waiting = new Set<string>();
  private readonly failed = new Map<string, string>();
  private readonly remove: (commentId: string) => Promise<void>;
  /** Why it failed, in words. */
  private readonly words: (error: unknown) => string;
  /** `failure`: the words that are new. */
  private readonly changed: (failure?: string) => void;

  constructor(remove: (commentId: string) => Promise<void>, words: (error: unknown) => string, changed: (failure?: string) => void) {
    this.remove = remove;
    this.words = words;
    this.changed = changed;
  }

  get askedId(): string | null {
    return this.asked;
  }

  of(commentId: string): Deleting | null {
    if (this.asked === commentId) return "asked";
    if (this.waiting.has(commentId)) return "waiting";
    const failed = this.failed.get(commentId);
    return failed === undefined ? null : { failed };
  }

  /** The first press asks, the second takes the comment away; none counts while that is under way. */
  press(commentId: string): void {
    if (this.waiting.has(commentId)) return;
    this.failed.delete(commentId);
    if (this.asked === commentId) {
      this.asked = null;
      void this.start(commentId);
    } else this.asked = commentId;
    this.changed();
  }

  /** False when nothing was asked. */
  cancel(): boolean {
    if (this.asked === null) return false;
    this.asked = null;
    this.changed();
    return true;
  }

  /** These are gone, by whomever: there is nothing left to ask or to say of them. */
  gone(commentIds: readonly string[]): void {
    for (const id of commentIds) {
      if (this.asked === id) this.asked = null;
      this.waiting.delete(id);
      this.failed.delete(id);
    }
  }

  private async start(commentId: string): Promise<void> {
    this.waiting.add(commentId);
    let failure: string | undefined;
    try {
      await this.remove(commentId);
    } catch (error) {
      failure = this.words(error);
    }
    // Gone meanwhile: then it does not matter what became of this try.
    if (!this.waiting.delete(commentId)) return;
    if (failure !== undefined) this.fail(commentId, failure);
    this.changed(failure);
  }

  private fail(commentId: string, failure: string): void {
    this.failed.set(commentId, failure);
    for (const oldest of this.failed.keys()) {
      if (this.failed.size <= FAILED_MAX) return;
      this.failed.delete(oldest);
    }
  }
}
