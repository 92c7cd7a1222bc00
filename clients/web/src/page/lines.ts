/** The lines that are drawn: the drawn part of the backlog, with the viewer's own posts and the gaps that belong in it. */
import { compareIds, type OwnPost, type TimelineItem } from "../sdk/index.js";
import { isOpen } from "../sdk/outbox.js";
import { timeline } from "../sdk/timeline.js";
import type { Backlog } from "./backlog.js";

export function lines(backlog: Backlog, posts: readonly OwnPost[]): TimelineItem[] {
  const { comments, atStart, atEnd } = backlog.drawn();
  const first = comments[0]?.id ?? "";
  const last = comments.at(-1)?.id ?? "";
  const cutBefore = !atStart || backlog.trimmed;
  const isBeyond = (id: string): boolean => cutBefore && compareIds(id, first) < 0;
  const within = (id: string): boolean => !isBeyond(id) && (atEnd || compareIds(id, last) < 0);
  const source = { comments, gaps: backlog.gaps.filter(within), get: (id: string) => backlog.get(id), isBeyond };
  // A post under way stands at the very end; one that never got an id, after the comment that was the newest when it was written.
  const drawn = posts.filter((post) => {
    if (atEnd) return true;
    if (post.commentId === null) return !isOpen(post) && within(post.anchorId);
    return backlog.get(post.commentId) !== undefined || within(post.commentId);
  });
  return timeline(source, drawn);
}
