/** One list for the page: comments, the viewer's own posts that are not (yet) among them, and gap markers. */
import { compareIds } from "./ids.js";
import { isOpen, type OwnPost } from "./outbox.js";
import type { Comment } from "./protocol.js";

/** The comments to show, oldest first: a `StreamView`, or a part of what is known of a stream. */
export interface TimelineSource {
  readonly comments: readonly Comment[];
  readonly gaps: readonly string[];
  get(id: string): Comment | undefined;
  /** Whether what stands at this id is older than all that is to be shown. */
  isBeyond(id: string): boolean;
}

export type TimelineItem =
  | { kind: "comment"; key: string; comment: Comment; post: OwnPost | null }
  | { kind: "post"; key: string; post: OwnPost }
  | { kind: "gap"; key: string };

/** Oldest first. Keys are stable, and a post keeps its key when it becomes a comment. */
export function timeline(view: TimelineSource, posts: readonly OwnPost[]): TimelineItem[] {
  const byCommentId = new Map<string, OwnPost>();
  const placed: { afterId: string; item: TimelineItem }[] = [];
  const atEnd: TimelineItem[] = [];
  for (const post of posts) {
    if (post.commentId !== null) byCommentId.set(post.commentId, post);
    if (post.commentId !== null && view.get(post.commentId)) continue;
    if (post.removed && post.status !== "rejected" && post.status !== "held") continue;
    const item: TimelineItem = { kind: "post", key: `post ${post.clientId}`, post };
    const afterId = post.commentId ?? post.anchorId;
    if (isOpen(post) && post.commentId === null) atEnd.push(item);
    else if (!view.isBeyond(afterId)) placed.push({ afterId, item });
  }
  for (const id of view.gaps) placed.push({ afterId: id, item: { kind: "gap", key: `gap ${id}` } });
  placed.sort((a, b) => compareIds(a.afterId, b.afterId));

  const items: TimelineItem[] = [];
  let next = 0;
  for (const comment of view.comments) {
    while (next < placed.length && compareIds((placed[next] as { afterId: string }).afterId, comment.id) < 0) {
      items.push((placed[next] as { item: TimelineItem }).item);
      next += 1;
    }
    const post = byCommentId.get(comment.id) ?? null;
    items.push({ kind: "comment", key: post ? `post ${post.clientId}` : `comment ${comment.id}`, comment, post });
  }
  for (const { item } of placed.slice(next)) items.push(item);
  return items.concat(atEnd);
}
