/** What a viewer knows of one stream: a bounded, ordered, repeat-free model of it. No clock, no socket. */
import { compareIds } from "./ids.js";
import type { ErrorCode } from "./codes.js";
import type { Comment, Counts, Joined, Role, ServerPayloads, Settings, StreamStatus } from "./protocol.js";
import { RemovedIds } from "./removed.js";

export class StreamView {
  readonly streamId: string;
  /** Oldest first; the newest `commentsMax` only. */
  readonly comments: Comment[] = [];
  /** Holes that could not be replayed: each after the comment of this id ("" is before everything). */
  readonly gaps: string[] = [];
  /** Without a prototype, so that an emote may have any name. */
  readonly reactions: Counts = Object.create(null) as Counts;
  /** By comment id, for the comments held. */
  readonly commentReactions = new Map<string, Counts>();
  pinnedId: string | null = null;
  viewerCount = 0;
  commentCount = 0;
  settings: Settings = {};
  /** Null until the server has said it. */
  status: StreamStatus | null = null;
  title: string | null = null;
  /** Why the stream cannot be joined; null while it is not known that it cannot. */
  problem: ErrorCode | null = null;
  role: Role = "anonymous";
  /** Opaque; handed back on the next join. */
  resume: string | null = null;
  joined = false;

  private readonly byId = new Map<string, Comment>();
  private readonly removedIds = new RemovedIds();
  /** Removals counted before their comment came: the comment is to be counted when it comes. */
  private readonly overtaking = new RemovedIds();
  private readonly commentsMax: number;

  constructor(streamId: string, commentsMax: number) {
    this.streamId = streamId;
    this.commentsMax = commentsMax;
  }

  get(id: string): Comment | undefined {
    return this.byId.get(id);
  }

  newestId(): string {
    return this.comments.at(-1)?.id ?? "";
  }

  /** True when a comment of this id would be older than all that is kept. */
  isBeyond(id: string): boolean {
    const oldest = this.comments[0];
    return this.comments.length >= this.commentsMax && oldest !== undefined && compareIds(id, oldest.id) < 0;
  }

  /** `resumed`: whether the join asked for a replay, so whether a gap is a hole in what was shown. */
  applyJoined(joined: Joined, resumed: boolean): { added: Comment[]; removed: string[] } {
    const newestBefore = this.newestId();
    this.joined = true;
    this.problem = null;
    this.status = joined.status ?? this.status;
    this.title = joined.title ?? this.title;
    this.resume = joined.resume ?? null;
    // First what is gone: the comments may have been put together before it went.
    const removed = this.remove(joined.removed ?? []);
    const added = this.insert(joined.comments ?? []);
    if (joined.gap && resumed && !this.gaps.includes(newestBefore)) this.gaps.push(newestBefore);
    this.trim();
    this.pinnedId = this.isRemoved(joined.pinned ?? "") ? null : (joined.pinned ?? null);
    replaceCounts(this.reactions, joined.reactions ?? {});
    this.viewerCount = joined.viewer_count ?? this.viewerCount;
    this.commentCount = joined.comment_count ?? this.commentCount;
    this.settings = joined.settings ?? this.settings;
    this.role = joined.role ?? this.role;
    return { added, removed };
  }

  applyBatch(batch: ServerPayloads["comments_batch"]): Comment[] {
    if (batch.resume) this.resume = batch.resume;
    const added = this.insert(batch.comments ?? []);
    const overtaken = (batch.comments ?? []).filter((comment) => this.overtaking.delete(comment.id));
    this.commentCount += added.length + overtaken.length;
    return added;
  }

  /** Inserts by id and drops repeats, also of what was trimmed or removed. Returns what is new and kept. */
  private insert(comments: Comment[]): Comment[] {
    const added: Comment[] = [];
    for (const comment of comments) {
      if (this.byId.has(comment.id) || this.isRemoved(comment.id) || this.isBeyond(comment.id)) continue;
      let at = this.comments.length;
      while (at > 0 && compareIds((this.comments[at - 1] as Comment).id, comment.id) > 0) at -= 1;
      this.comments.splice(at, 0, comment);
      this.byId.set(comment.id, comment);
      added.push(comment);
    }
    this.trim();
    return added.filter((comment) => this.byId.has(comment.id));
  }

  /** False when nothing of it is new. */
  applyUpdated(update: ServerPayloads["stream_updated"]): boolean {
    const before = JSON.stringify([this.settings, this.status, this.title]);
    this.settings = { ...this.settings, ...update.settings };
    this.status = update.status ?? this.status;
    this.title = update.title ?? this.title;
    return before !== JSON.stringify([this.settings, this.status, this.title]);
  }

  /** True when a comment of this id was taken away, so is not to be shown. */
  isRemoved(id: string): boolean {
    return this.removedIds.has(id);
  }

  /** What was taken away while this viewer watched. Returns the ids that are new. */
  applyRemoved(ids: string[]): string[] {
    const newest = this.newestId();
    const news = this.remove(ids);
    for (const id of news) if (compareIds(id, newest) > 0) this.overtaking.add(id);
    this.commentCount = Math.max(0, this.commentCount - news.length);
    return news;
  }

  /** Also remembers ids not seen yet: a removal may overtake its comment. Returns the ids that are new. */
  private remove(ids: string[]): string[] {
    const news = [...new Set(ids)].filter((id) => !this.removedIds.has(id));
    for (const id of news) {
      this.removedIds.add(id);
      if (this.pinnedId === id) this.pinnedId = null;
      if (!this.byId.delete(id)) continue;
      this.comments.splice(this.comments.findIndex((comment) => comment.id === id), 1);
      this.commentReactions.delete(id);
    }
    return news;
  }

  /** Merges the changed fields; false when the comment is not held, or nothing is new. */
  update(change: ServerPayloads["comment_updated"]): boolean {
    const comment = this.byId.get(change.comment_id);
    if (!comment) return false;
    const { comment_id: _commentId, stream_id: _streamId, id: _id, ...fields } = change;
    const before = JSON.stringify(comment);
    Object.assign(comment, fields);
    if (JSON.stringify(comment) === before) return false;
    if (fields.pinned === true) this.pinnedId = comment.id;
    if (fields.pinned === false && this.pinnedId === comment.id) this.pinnedId = null;
    return true;
  }

  /** Totals, not increments: a lost batch is made good by the next. Returns the growth by type. */
  applyReactions(batch: ServerPayloads["reactions_batch"]): { growth: Counts; commentIds: string[] } {
    const growth: Counts = {};
    for (const [type, total] of Object.entries(batch.counts ?? {})) {
      if (this.reactions[type] === total) continue;
      growth[type] = total - (this.reactions[type] ?? 0);
      this.reactions[type] = total;
    }
    const commentIds: string[] = [];
    for (const [id, counts] of Object.entries(batch.comments ?? {})) {
      if (!this.byId.has(id)) continue;
      const before = this.commentReactions.get(id) ?? {};
      if (Object.entries(counts).every(([type, total]) => before[type] === total)) continue;
      this.commentReactions.set(id, { ...before, ...counts });
      commentIds.push(id);
    }
    return { growth, commentIds };
  }

  private trim(): void {
    const excess = this.comments.length - this.commentsMax;
    if (excess <= 0) return;
    for (const comment of this.comments.splice(0, excess)) {
      this.byId.delete(comment.id);
      this.commentReactions.delete(comment.id);
    }
    const oldest = (this.comments[0] as Comment).id;
    const kept = this.gaps.filter((id) => compareIds(id, oldest) >= 0);
    this.gaps.splice(0, this.gaps.length, ...kept);
  }
}

function replaceCounts(target: Counts, source: Counts): void {
  for (const key of Object.keys(target)) delete target[key];
  Object.assign(target, source);
}
