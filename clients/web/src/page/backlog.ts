/**
 * The comments the page holds of its stream, and the part of them that is drawn. No DOM and no clock.
 *
 * While the newest are followed, both are short and lose their oldest. While earlier ones are read, nothing
 * that is drawn is dropped: the drawn part stays where it is until the reader moves it, and what arrives is held
 * behind it. At `readHeld` the newest are counted and no longer held; `follow` takes them up from the client again.
 */
import { compareIds, type Comment } from "../sdk/index.js";
import { RemovedIds } from "../sdk/removed.js";

export interface BacklogLimits {
  /** Comments drawn while the newest are followed. */
  followDrawn: number;
  /** Comments drawn at the most while earlier ones are read. */
  readDrawn: number;
  /** By how many comments the drawn part moves at once. */
  step: number;
  /** Comments held while the newest are followed; what is older is fetched again when it is wanted. */
  followHeld: number;
  /** Comments held while earlier ones are read; at it the newest are counted in `skipped` instead. */
  readHeld: number;
}

export const BACKLOG_DEFAULT: BacklogLimits = {
  followDrawn: 80,
  readDrawn: 300,
  step: 80,
  followHeld: 500,
  readHeld: 5_000,
};

/** Marked holes; the oldest mark goes first. */
const GAPS_MAX = 100;

/** What is drawn: `comments` oldest first, and whether it reaches the ends of what is held. */
export interface Drawn {
  comments: readonly Comment[];
  atStart: boolean;
  atEnd: boolean;
}

export class Backlog {
  following = true;
  /** Comments that came and are not held, because `readHeld` was reached. */
  skipped = 0;
  /** Holes that could not be replayed: each after the comment of this id. */
  readonly gaps: string[] = [];
  /** Whether older comments were held and let go. */
  trimmed = false;

  private held: Comment[] = [];
  private readonly byId = new Map<string, Comment>();
  /** A page of history or a late batch may still bring them. */
  private readonly removed = new RemovedIds();
  /** The drawn part while reading, by the ids at its two ends. */
  private firstId = "";
  private lastId = "";
  private readonly limits: BacklogLimits;

  constructor(limits: BacklogLimits = BACKLOG_DEFAULT) {
    this.limits = limits;
  }

  get size(): number {
    return this.held.length;
  }

  get oldestId(): string | undefined {
    return this.held[0]?.id;
  }

  get newestId(): string | undefined {
    return this.held.at(-1)?.id;
  }

  get(id: string): Comment | undefined {
    return this.byId.get(id);
  }

  /** Takes comments from the live stream. */
  arrived(comments: readonly Comment[]): void {
    for (const comment of comments) {
      const full = !this.following && this.held.length >= this.limits.readHeld;
      // Once one is skipped, all that follow are: what is held has no hole.
      if ((full || this.skipped > 0) && compareIds(comment.id, this.newestId ?? "") > 0) this.skipped += 1;
      else this.insert(comment);
    }
    if (this.following) this.trimOldest();
    else this.cutNewest();
  }

  /** Takes a page of older comments, in any order; repeats are dropped. Returns how many are new. */
  earlier(comments: readonly Comment[]): number {
    const fresh = comments.filter((comment) => this.insert(comment)).length;
    if (!this.following) this.cutNewest();
    return fresh;
  }

  remove(ids: readonly string[]): void {
    for (const id of ids) {
      this.removed.add(id);
      if (!this.byId.delete(id)) continue;
      this.held.splice(this.lowerBound(id), 1);
    }
  }

  isRemoved(id: string): boolean {
    return this.removed.has(id);
  }

  gapAfter(id: string): void {
    if (this.gaps.includes(id)) return;
    this.gaps.push(id);
    if (this.gaps.length > GAPS_MAX) this.gaps.shift();
  }

  /** From here on nothing drawn is dropped. `lastId`: the newest that is drawn, when later ones have come since. */
  read(lastId = this.newestId): void {
    if (!this.following || lastId === undefined) return;
    this.lastId = lastId;
    this.firstId = this.idAt(this.upperBound(lastId) - this.limits.followDrawn);
    this.following = false;
  }

  /** Back to the newest. `newest` is what the client holds, oldest first: it closes the hole of what was skipped. */
  follow(newest: readonly Comment[]): void {
    if (this.following) return;
    this.following = true;
    if (this.skipped > 0) {
      this.drop(this.held.splice(0), "oldest");
      this.skipped = 0;
      for (const comment of newest) this.insert(comment);
    }
    this.trimOldest();
  }

  drawn(): Drawn {
    const size = this.held.length;
    const from = this.following ? Math.max(0, size - this.limits.followDrawn) : this.lowerBound(this.firstId);
    const to = this.following ? size : this.upperBound(this.lastId);
    return { comments: this.held.slice(from, to), atStart: from === 0, atEnd: to === size && this.skipped === 0 };
  }

  /** Draws older comments, and fewer new ones at the bound. False when none are held. */
  moveUp(): boolean {
    this.read();
    return this.move(this.lowerBound(this.firstId) - this.limits.step, "first");
  }

  /** Draws newer comments, and fewer old ones at the bound. False when none are held. */
  moveDown(): boolean {
    if (this.following) return false;
    return this.move(this.upperBound(this.lastId) - 1 + this.limits.step, "last");
  }

  /** Draws the surroundings of one comment. False when it is not held. */
  show(id: string): boolean {
    if (!this.byId.has(id)) return false;
    this.read();
    const at = this.lowerBound(id);
    if (at >= this.lowerBound(this.firstId) && at < this.upperBound(this.lastId)) return true;
    this.firstId = this.idAt(at - this.limits.step);
    this.lastId = this.idAt(at + this.limits.step);
    return true;
  }

  /** Comments newer than this one, held or skipped. */
  newerThan(id: string): number {
    return this.held.length - this.upperBound(id) + this.skipped;
  }

  private move(wanted: number, end: "first" | "last"): boolean {
    const before = end === "first" ? this.firstId : this.lastId;
    const id = this.idAt(wanted);
    if (id === before) return false;
    if (end === "first") this.firstId = id;
    else this.lastId = id;
    const excess = this.upperBound(this.lastId) - this.lowerBound(this.firstId) - this.limits.readDrawn;
    if (excess > 0 && end === "first") this.lastId = this.idAt(this.upperBound(this.lastId) - 1 - excess);
    if (excess > 0 && end === "last") this.firstId = this.idAt(this.lowerBound(this.firstId) + excess);
    return true;
  }

  private insert(comment: Comment): boolean {
    if (this.byId.has(comment.id) || this.removed.has(comment.id)) return false;
    this.byId.set(comment.id, comment);
    const newest = this.newestId;
    if (newest === undefined || compareIds(newest, comment.id) < 0) this.held.push(comment);
    else this.held.splice(this.lowerBound(comment.id), 0, comment);
    return true;
  }

  private trimOldest(): void {
    const excess = this.held.length - this.limits.followHeld;
    if (excess > 0) this.drop(this.held.splice(0, excess), "oldest");
  }

  /** The end that is farthest from the reader goes, and what is drawn stays. */
  private cutNewest(): void {
    const keep = Math.max(this.limits.readHeld, this.upperBound(this.lastId));
    this.drop(this.held.splice(keep), "newest");
  }

  private drop(comments: readonly Comment[], end: "oldest" | "newest"): void {
    for (const comment of comments) this.byId.delete(comment.id);
    if (end === "newest") this.skipped += comments.length;
    else if (comments.length > 0) this.trimmed = true;
  }

  private idAt(index: number): string {
    return this.held[Math.min(Math.max(index, 0), this.held.length - 1)]?.id ?? "";
  }

  /** The index of the first comment whose id is `id` or greater. */
  private lowerBound(id: string): number {
    return partition(this.held, (comment) => compareIds(comment.id, id) < 0);
  }

  /** The index after the last comment whose id is `id` or less. */
  private upperBound(id: string): number {
    return partition(this.held, (comment) => compareIds(comment.id, id) <= 0);
  }
}

/** The first index at which `before` is false; `before` is true up to it. */
export function partition<T>(items: ArrayLike<T>, before: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(items[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low;
}
