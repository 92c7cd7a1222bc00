/** What a viewer may do about a comment besides answering it, and how far each of these is. No DOM. */
import { DecisionError, type Comment, type Role, type StreamHandle } from "../sdk/index.js";
import { REASON_WORDS } from "./words.js";

/** What an action needs of the stream. */
type Stream = Pick<StreamHandle, "deleteComment" | "moderate">;

/** One kind of action: its button, who may, what it does, and the words for its failures. */
export interface CommentAction {
  /** `data-action` and class of its button. */
  name: string;
  symbol(comment: Comment): string;
  label(comment: Comment): string;
  /** What the first press asks, where a second one has to confirm it. */
  asks: { button: string; label: string; said: string } | null;
  may(comment: Comment, userId: string | null, role: Role): boolean;
  run(stream: Stream, comment: Comment): Promise<void>;
  /** That it failed, and that it may have. */
  failed: string;
  unconfirmed: string;
  /** Codes that mean something else here than for a post. */
  why: Record<string, string>;
}

const MODERATING: ReadonlySet<Role> = new Set<Role>(["moderator", "broadcaster", "admin"]);

/** `userId` is null for who only reads. */
const moderates = (userId: string | null, role: Role): boolean => userId !== null && MODERATING.has(role);

/** Why a decision failed, where other words fit than for a post. */
const WHY: Record<string, string> = {
  comment_not_found: "it is not there any more",
  unavailable: "the service is not available right now",
  rate_limited: "you are too fast",
  invalid: "the server could not read it",
};

/** In the order of their buttons. */
export const COMMENT_ACTIONS: readonly CommentAction[] = [
  {
    name: "delete",
    symbol: () => "✕",
    label: () => "Delete comment",
    asks: {
      button: "Delete?",
      label: "Delete? Press again to delete this comment",
      said: "Press again to delete this comment, Escape to keep it.",
    },
    may: (comment, userId, role) => moderates(userId, role) || (userId !== null && comment.user_id === userId),
    run: (stream, comment) => stream.deleteComment(comment.id),
    failed: "not deleted",
    unconfirmed: "not confirmed: it may or may not have been deleted",
    why: { ...WHY, forbidden: "only its author and the moderators may delete it" },
  },
  {
    name: "highlight",
    symbol: (comment) => (comment.highlighted ? "★" : "☆"),
    label: (comment) => (comment.highlighted ? "End the highlight" : "Highlight comment"),
    asks: null,
    may: (_, userId, role) => moderates(userId, role),
    run: (stream, comment) => stream.moderate(comment.highlighted ? "unhighlight" : "highlight", { comment_id: comment.id }),
    failed: "not changed",
    unconfirmed: "not confirmed: the highlight may or may not have changed",
    why: { ...WHY, forbidden: "only moderators highlight comments" },
  },
];

/** Why it failed, in words. */
export function failureWords(action: CommentAction, error: unknown): string {
  if (!(error instanceof DecisionError)) return `${action.failed}: ${String(error)}`;
  if (error.code === "unconfirmed") return action.unconfirmed;
  return `${action.failed}: ${action.why[error.code] ?? REASON_WORDS[error.code] ?? error.message}`;
}

/** `asked`: the next press does it. `waiting`: no answer yet. Else it failed, and this says why. */
export type Progress = "asked" | "waiting" | { failed: string };

/** Failures shown at once; at the bound the oldest goes. */
const FAILED_MAX = 20;

/** How far the actions are that were begun. */
export class CommentActions {
  /** The one action that waits for the second press. */
  private asked: string | null = null;
  private readonly waiting = new Set<string>();
  private readonly failed = new Map<string, string>();
  private readonly run: (action: CommentAction, comment: Comment) => Promise<void>;
  /** `failure`: the words that are new. */
  private readonly changed: (failure?: string) => void;

  constructor(run: (action: CommentAction, comment: Comment) => Promise<void>, changed: (failure?: string) => void) {
    this.run = run;
    this.changed = changed;
  }

  get asking(): boolean {
    return this.asked !== null;
  }

  of(action: CommentAction, commentId: string): Progress | null {
    const key = keyOf(action, commentId);
    if (this.asked === key) return "asked";
    if (this.waiting.has(key)) return "waiting";
    const failed = this.failed.get(key);
    return failed === undefined ? null : { failed };
  }

  /** Where the action asks, the first press asks and the second does it. None counts while that is under way. */
  press(action: CommentAction, comment: Comment): void {
    const key = keyOf(action, comment.id);
    if (this.waiting.has(key)) return;
    this.failed.delete(key);
    if (action.asks === null || this.asked === key) {
      this.asked = null;
      void this.start(action, comment, key);
    } else this.asked = key;
    this.changed();
  }

  /** False when nothing was asked. */
  cancel(): boolean {
    if (this.asked === null) return false;
    this.asked = null;
    this.changed();
    return true;
  }

  /** These comments are gone, by whomever: there is nothing left to ask or to say of them. */
  gone(commentIds: readonly string[]): void {
    for (const action of COMMENT_ACTIONS) {
      for (const id of commentIds) {
        const key = keyOf(action, id);
        if (this.asked === key) this.asked = null;
        this.waiting.delete(key);
        this.failed.delete(key);
      }
    }
  }

  private async start(action: CommentAction, comment: Comment, key: string): Promise<void> {
    this.waiting.add(key);
    let failure: string | undefined;
    try {
      await this.run(action, comment);
    } catch (error) {
      failure = failureWords(action, error);
    }
    // Gone meanwhile: then it does not matter what became of this try.
    if (!this.waiting.delete(key)) return;
    if (failure !== undefined) this.fail(key, failure);
    this.changed(failure);
  }

  private fail(key: string, failure: string): void {
    this.failed.set(key, failure);
    for (const oldest of this.failed.keys()) {
      if (this.failed.size <= FAILED_MAX) return;
      this.failed.delete(oldest);
    }
  }
}

const keyOf = (action: CommentAction, commentId: string): string => `${action.name} ${commentId}`;
