/** One line of the feed: a comment, an own post under way, or the marker of a hole. */
import { compareIds, type Comment, type OwnPost, type TimelineItem } from "../sdk/index.js";
import { COMMENT_ACTIONS, type CommentAction, type Progress } from "./comment-actions.js";
import { bdi, el, isolated } from "./dom.js";
import { fate } from "./words.js";

/** What a line may ask for besides the actions about its comment: `data-action` of its buttons. */
export type ItemAction = "reply" | "parent" | "retry" | "edit" | "dismiss";

/** What a line needs to know beside its own item. */
export interface ItemContext {
  /** The viewer's own name and id; null while only reading. */
  me: { username: string; userId: string | null } | null;
  find(commentId: string): Comment | undefined;
  isRemoved(commentId: string): boolean;
  may(action: CommentAction, comment: Comment): boolean;
  /** How far an action is; null where none was begun. */
  progress(action: CommentAction, commentId: string): Progress | null;
  /** The oldest comment that is held. */
  oldestId: string | undefined;
  nowMs: number;
}

const clock = remembered({ hour: "2-digit", minute: "2-digit" });
const date = remembered({ dateStyle: "medium", timeStyle: "medium" });

/** Formats to the second. Formatting is slow, and hundreds of comments may have the same one. */
function remembered(options: Intl.DateTimeFormatOptions): (at: Date) => string {
  const format = new Intl.DateTimeFormat(undefined, options);
  let second = NaN;
  let text = "";
  return (at) => {
    const now = Math.floor(at.getTime() / 1000);
    if (now !== second) text = format.format(at);
    second = now;
    return text;
  };
}

/** Changes exactly when the line looks different. Called for every drawn line at every change, so it stays cheap. */
export function signature(item: TimelineItem, context: ItemContext): string {
  if (item.kind === "gap") return "gap";
  const comment = item.kind === "comment" ? item.comment : null;
  let text = comment ? `${comment.id}\n${comment.content}\n${comment.highlighted}${comment.pinned}` : "";
  const parentId = comment ? comment.parent_id : item.post?.parentId;
  if (parentId) text += `\n${quoteText(parentId, context).text}`;
  if (comment) {
    for (const action of COMMENT_ACTIONS) {
      const progress = context.progress(action, comment.id);
      text += `\n${context.may(action, comment)}${typeof progress === "string" ? progress : (progress?.failed ?? "")}`;
    }
  }
  if (item.post) text += `\n${item.post.status}\n${fate(item.post, context.nowMs).text}`;
  return text;
}

export function renderItem(line: HTMLLIElement, item: TimelineItem, context: ItemContext): void {
  line.tabIndex = -1;
  if (item.kind === "gap") {
    line.className = "gap";
    line.textContent = "Missed comments could not be replayed";
    return;
  }
  const held = line.contains(document.activeElement);
  const focused = held ? (document.activeElement as HTMLElement).dataset["action"] : undefined;
  const comment = item.kind === "comment" ? item.comment : null;
  const { me } = context;
  const actions = comment ? actionsOf(comment, context) : [];
  const username = comment?.username ?? me?.username ?? "";
  const parentId = comment ? comment.parent_id : item.post?.parentId;

  line.className = "comment";
  line.classList.toggle("own", item.post !== null || (comment !== null && comment.user_id === me?.userId));
  line.classList.toggle("pinned", comment?.pinned === true);
  line.classList.toggle("highlighted", comment?.highlighted === true);
  line.classList.toggle("mentions-me", me !== null && comment?.mentions?.some((name) => sameName(name, me.username)) === true);
  line.classList.toggle("pending", comment === null);
  line.classList.toggle("waiting", actions.some(({ progress }) => progress === "waiting"));
  line.dataset["id"] = comment?.id ?? item.post?.commentId ?? "";
  line.dataset["status"] = item.post?.status ?? "";
  line.style.setProperty("--hue", String(hue(comment?.user_id ?? me?.userId ?? username)));

  const avatar = el("span", { className: "avatar", text: [...username][0]?.toUpperCase() ?? "?" });
  avatar.setAttribute("aria-hidden", "true");
  const text = el("p", { className: "text", text: comment?.content ?? item.post?.content ?? "" });
  text.dir = "auto";
  line.replaceChildren(
    avatar,
    el(
      "div",
      { className: "body" },
      head(username, comment, item.post),
      parentId ? quote(parentId, context) : null,
      text,
      item.post ? fateLine(item.post, context.nowMs) : null,
      ...actions.map(({ progress }) => (typeof progress === "object" && progress ? statusLine("rejected", "✕", progress.failed) : null)),
    ),
    comment ? actionRow(comment, actions) : "",
  );
  if (held) reachable(line, true);
  if (focused) line.querySelector<HTMLElement>(`[data-action="${focused}"]`)?.focus();
}

/** A line and its buttons are tab stops only while the focus is in it: a feed of hundreds is one stop. */
export function reachable(line: HTMLElement, yes: boolean): void {
  line.tabIndex = yes ? 0 : -1;
  for (const button of line.querySelectorAll("button")) button.tabIndex = yes ? 0 : -1;
}

function head(username: string, comment: Comment | null, post: OwnPost | null): HTMLElement {
  const at = new Date(comment?.created_at_ms ?? post?.postedAtMs ?? 0);
  const time = el("time", { text: clock(at), title: date(at) });
  time.dateTime = at.toISOString();
  const name = bdi(username, "name");
  name.title = username;
  const line = el("div", { className: "head" }, name);
  for (const badge of comment?.badges ?? []) line.append(el("span", { className: "badge", text: badge }));
  for (const mark of ["pinned", "highlighted"] as const) {
    if (comment?.[mark]) line.append(el("span", { className: "badge", text: mark }));
  }
  line.append(time);
  return line;
}

function quoteText(parentId: string, context: ItemContext): { parent: Comment | null; text: string } {
  const parent = context.find(parentId);
  if (context.isRemoved(parentId)) return { parent: null, text: "In reply to a removed comment" };
  if (parent) return { parent, text: `${parent.username}: ${parent.content}` };
  const earlier = compareIds(parentId, context.oldestId ?? "") < 0;
  return { parent: null, text: earlier ? "In reply to an earlier comment" : "In reply to a removed comment" };
}

function quote(parentId: string, context: ItemContext): HTMLElement {
  const { parent, text } = quoteText(parentId, context);
  if (!parent) return el("span", { className: "quote", text });
  const button = lineButton("parent", "quote", "", `In reply to ${isolated(parent.username)}: ${isolated(parent.content)}`);
  button.append(bdi(parent.username), ": ", bdi(parent.content));
  button.dataset["parent"] = parentId;
  return button;
}

function fateLine(post: OwnPost, nowMs: number): HTMLElement {
  const { symbol, text } = fate(post, nowMs);
  const line = statusLine(post.status, symbol, text);
  if (post.status === "unconfirmed") line.append(lineButton("retry", "link", "Try again", "Try again to post this comment"));
  if (post.status === "rejected") line.append(lineButton("edit", "link", "Edit", "Edit this comment and post it anew"));
  if (post.status === "unconfirmed" || post.status === "rejected") {
    line.append(lineButton("dismiss", "link", "Dismiss", "Dismiss this comment"));
  }
  return line;
}

/** What became of something that the viewer did. */
function statusLine(status: string, symbol: string, text: string): HTMLElement {
  const mark = el("span", { className: "symbol", text: symbol });
  mark.setAttribute("aria-hidden", "true");
  const line = el("div", { className: "fate", data: { status } }, mark, el("span", { text }));
  // The outcome is said by the status of the feed, also while the feed itself is not read out.
  line.setAttribute("aria-live", "off");
  return line;
}

interface Offered {
  action: CommentAction;
  may: boolean;
  progress: Progress | null;
}

function actionsOf(comment: Comment, context: ItemContext): Offered[] {
  return COMMENT_ACTIONS.map((action) => ({ action, may: context.may(action, comment), progress: context.progress(action, comment.id) }));
}

function actionRow(comment: Comment, actions: Offered[]): HTMLElement {
  const reply = lineButton("reply", "reply", "↩", `Reply to ${isolated(comment.username)}`);
  const offered = actions.filter(({ may }) => may);
  return el("div", { className: "actions" }, reply, ...offered.map((it) => actionButton(comment, it)));
}

/** One button for both presses, so that the focus stays on it. */
function actionButton(comment: Comment, { action, progress }: Offered): HTMLButtonElement {
  const { name, asks } = action;
  if (progress === "asked" && asks) return lineButton(name, `${name} asked`, asks.button, asks.label);
  const button = lineButton(name, name, action.symbol(comment), action.label(comment));
  // Not `disabled`, which would take the focus away.
  if (progress === "waiting") button.setAttribute("aria-disabled", "true");
  return button;
}

function lineButton(action: ItemAction | (string & {}), className: string, text: string, label: string): HTMLButtonElement {
  const button = el("button", { className, text, title: label, data: { action } });
  button.setAttribute("aria-label", label);
  button.type = "button";
  button.tabIndex = -1;
  return button;
}

/** The same person has the same colour everywhere. */
function hue(text: string): number {
  let hash = 0;
  for (const char of text) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return hash % 360;
}

/** Whether two usernames are one, as the server compares them. */
function sameName(a: string, b: string): boolean {
  const key = (name: string): string => name.normalize("NFC").toLowerCase();
  return key(a) === key(b);
}
