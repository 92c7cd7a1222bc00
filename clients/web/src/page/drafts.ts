/** What is being written, and what was put away for it: editing a refused comment loses no draft. No DOM. */
import type { OwnPost } from "../sdk/index.js";

export interface Draft {
  text: string;
  parentId: string | null;
  /** The refused post that this text comes from. */
  editing: string | null;
}

export const EMPTY: Draft = { text: "", parentId: null, editing: null };

export class Drafts {
  /** Put away, the latest last; at most one per refused post and the draft before them. */
  private readonly kept: Draft[] = [];

  /** The draft that comes back when the present one is posted or given up; null when that is an empty one. */
  get next(): Draft | null {
    return this.kept.at(-1) ?? null;
  }

  /** Puts `present` away for a refused post; returns what is written now. */
  edit(present: Draft, post: OwnPost): Draft {
    if (present.editing === post.clientId) return present;
    const before = this.kept.findIndex((draft) => draft.editing === post.clientId);
    const [again] = before < 0 ? [] : this.kept.splice(before, 1);
    if (present.text.trim() !== "" || present.editing !== null) this.kept.push(present);
    return again ?? { text: post.content, parentId: post.parentId, editing: post.clientId };
  }

  /** The present draft is posted or given up; returns the one to go back to. */
  done(): Draft {
    return this.kept.pop() ?? EMPTY;
  }
}
