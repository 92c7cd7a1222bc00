/**
 * The client's decisions, without a socket or a clock: inputs with the time go in, effects come out. The
 * same inputs always give the same effects, so every reconnect can be tested in microseconds.
 */
import { CONNECTION_DEFAULT, Connection, type ConnectionConfig, type ConnectionStep } from "./connection.js";
import type { ChorusEvent } from "./events.js";
import { readToken } from "./ids.js";
import { Outbox, type OwnPost } from "./outbox.js";
import type { ClientMessage, Comment, Millis, ServerMessage } from "./protocol.js";
import { ReactionBuffer } from "./reactions.js";
import { cleanContent } from "./text.js";
import { StreamView } from "./view.js";

export interface CoreConfig {
  connection: ConnectionConfig;
  /** Comments kept per stream. */
  commentsMax: number;
  /** When a post without an outcome is given up. */
  unconfirmedAfterMs: Millis;
  /** The least time between two calls for a new token. */
  refreshEveryMs: Millis;
  canRefresh: boolean;
  /** In [0, 1); the only source of chance. */
  random: () => number;
}

export const CORE_DEFAULT: Omit<CoreConfig, "random" | "canRefresh"> = {
  connection: CONNECTION_DEFAULT,
  commentsMax: 500,
  unconfirmedAfterMs: 30_000,
  refreshEveryMs: 5_000,
};

export interface PostOptions {
  parentId?: string | undefined;
  mediaMs?: Millis | undefined;
}

export type Input =
  | { type: "start" }
  | { type: "suspend" }
  | { type: "stop" }
  | { type: "opened" }
  | { type: "closed"; code: number; reason: string }
  | { type: "received"; message: ServerMessage }
  | { type: "join"; streamId: string; resume?: string | undefined }
  | { type: "leave"; streamId: string }
  | ({ type: "post"; streamId: string; clientId: string; content: string } & PostOptions)
  | { type: "retry"; clientId: string }
  | { type: "react"; streamId: string; reactionType: string; count: number }
  /** Anything else, sent when connected and dropped when not. */
  | { type: "send"; message: ClientMessage }
  | { type: "token"; token: string | null }
  | { type: "nudge" }
  | { type: "timer" };

export type Effect =
  | { type: "connect" }
  | { type: "drop" }
  | { type: "send"; message: ClientMessage }
  | { type: "refresh_token" }
  | { type: "emit"; event: ChorusEvent };

/** Refusals of a token, not of what was written. */
const TOKEN_ERRORS = new Set(["token_expired", "token_invalid", "bad_token", "unauthenticated"]);

export class Core {
  readonly views = new Map<string, StreamView>();
  readonly outbox: Outbox;
  readonly connection: Connection;
  userId: string | null = null;
  private readonly reactions = new ReactionBuffer();
  private readonly config: CoreConfig;
  private readonly resumed = new Set<string>();
  private token: string | null = null;
  private tokenGood = false;
  private refreshing = false;
  private refreshedAtMs: Millis | null = null;
  private effects: Effect[] = [];

  constructor(config: CoreConfig) {
    this.config = config;
    this.outbox = new Outbox(config.unconfirmedAfterMs);
    this.connection = new Connection(config.connection, config.random);
  }

  /** When `timer` is wanted next; null when nothing waits. */
  nextDeadlineMs(): Millis | null {
    const due = [this.connection, this.outbox, this.reactions]
      .map((part) => part.nextDeadlineMs())
      .filter((at) => at !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  handle(nowMs: Millis, input: Input): Effect[] {
    this.effects = [];
    this.dispatch(nowMs, input);
    return this.effects;
  }

  private dispatch(nowMs: Millis, input: Input): void {
    switch (input.type) {
      case "start":
        return this.steps(this.connection.start(nowMs));
      case "suspend":
        return this.steps(this.connection.halt("suspended"));
      case "stop":
        return this.steps(this.connection.halt("closed"));
      case "opened":
        return this.opened(nowMs);
      case "closed":
        return this.steps(this.connection.closed(nowMs, input.code, input.reason));
      case "received":
        this.connection.received(nowMs);
        return this.received(nowMs, input.message);
      case "join":
        return this.join(input.streamId, input.resume);
      case "leave":
        return this.leave(input.streamId);
      case "post":
        return this.post(nowMs, input);
      case "retry": {
        const post = this.outbox.retry(input.clientId, nowMs);
        if (!post) return;
        this.emitPost(post);
        return this.flushPosts();
      }
      case "react":
        if (!this.canWrite(input.streamId) || input.count < 1) return;
        return this.reactions.add(input.streamId, input.reactionType, Math.floor(input.count), nowMs);
      case "send":
        if (this.connection.phase === "open") this.send(input.message);
        return;
      case "token":
        return this.setToken(input.token);
      case "nudge":
        return this.steps(this.connection.nudge(nowMs));
      case "timer":
        return this.timer(nowMs);
    }
  }

  private timer(nowMs: Millis): void {
    this.steps(this.connection.timer(nowMs));
    for (const post of this.outbox.expire(nowMs)) this.emitPost(post);
    for (const payload of this.reactions.takeDue(nowMs)) {
      if (this.canWrite(payload.stream_id)) this.send({ type: "react", payload });
    }
  }

  private steps(steps: ConnectionStep[]): void {
    for (const step of steps) {
      if (step === "connect" || step === "drop") this.effects.push({ type: step });
      else if (step === "ping") this.send({ type: "ping", payload: {} });
      else if (step === "changed") this.emit({ type: "connection", payload: this.connection.state });
      else this.lost();
    }
  }

  private opened(nowMs: Millis): void {
    const steps = this.connection.opened(nowMs);
    if (steps.length === 0) return;
    // The token first, so that what is joined is joined as this user.
    const expiresAtMs = this.token === null ? null : readToken(this.token).expiresAtMs;
    const stale = this.config.canRefresh && expiresAtMs !== null && expiresAtMs <= nowMs;
    if (this.token !== null && stale) this.refresh(nowMs);
    else this.authenticate();
    for (const view of this.views.values()) this.sendJoin(view);
    this.steps(steps);
  }

  private lost(): void {
    this.tokenGood = false;
    this.outbox.connectionLost();
    this.reactions.clear();
    this.resumed.clear();
    for (const view of this.views.values()) view.joined = false;
  }

  private join(streamId: string, resume: string | undefined): void {
    if (this.views.has(streamId)) return;
    const view = new StreamView(streamId, this.config.commentsMax);
    view.resume = resume ?? null;
    this.views.set(streamId, view);
    if (this.connection.phase === "open") this.sendJoin(view);
  }

  private sendJoin(view: StreamView): void {
    const payload = { stream_id: view.streamId, ...(view.resume === null ? {} : { resume: view.resume }) };
    if (view.resume !== null) this.resumed.add(view.streamId);
    this.send({ type: "join_stream", payload });
  }

  private leave(streamId: string): void {
    if (!this.views.delete(streamId)) return;
    this.reactions.clear(streamId);
    if (this.connection.phase === "open") this.send({ type: "leave_stream", payload: { stream_id: streamId } });
  }

  private post(nowMs: Millis, input: Extract<Input, { type: "post" }>): void {
    const wire = {
      stream_id: input.streamId,
      client_id: input.clientId,
      content: cleanContent(input.content),
      ...(input.parentId === undefined ? {} : { parent_id: input.parentId }),
      ...(input.mediaMs === undefined ? {} : { media_ms: input.mediaMs }),
    };
    const post = this.outbox.add(wire, nowMs, this.views.get(input.streamId)?.newestId() ?? "");
    this.emitPost(post);
    if (this.token !== null && !this.tokenGood && this.connection.phase === "open") this.refresh(nowMs);
    this.flushPosts();
  }

  private flushPosts(): void {
    for (const view of this.views.values()) {
      if (!this.canWrite(view.streamId)) continue;
      for (const payload of this.outbox.takeUnsent(view.streamId)) this.send({ type: "post_comment", payload });
    }
  }

  private canWrite(streamId: string): boolean {
    return this.tokenGood && this.views.get(streamId)?.joined === true;
  }

  private setToken(token: string | null): void {
    this.refreshing = false;
    // A refresh that brought nothing leaves what there is.
    if (token === null) return;
    this.token = token;
    this.userId = readToken(token).userId;
    if (this.connection.phase !== "open") return;
    this.authenticate();
    this.outbox.releaseForResend();
    this.flushPosts();
  }

  private authenticate(): void {
    if (this.token === null) return;
    this.tokenGood = true;
    this.send({ type: "authenticate", payload: { token: this.token } });
  }

  private refresh(nowMs: Millis): void {
    const tooSoon = this.refreshedAtMs !== null && nowMs - this.refreshedAtMs < this.config.refreshEveryMs;
    if (this.config.canRefresh && !this.refreshing && !tooSoon) {
      this.refreshing = true;
      this.refreshedAtMs = nowMs;
      this.effects.push({ type: "refresh_token" });
    }
    this.emit({ type: "token_expired", payload: { refreshing: this.refreshing } });
  }

  private received(nowMs: Millis, message: ServerMessage): void {
    switch (message.type) {
      case "receipt": {
        const post = this.outbox.applyReceipt(message.payload, nowMs);
        if (post) this.emitPost(post);
        else this.emit({ type: "receipt", payload: message.payload });
        return;
      }
      case "error": {
        if (TOKEN_ERRORS.has(message.payload.code) && this.token !== null) {
          this.tokenGood = false;
          this.refresh(nowMs);
        } else {
          const post = this.outbox.applyError(message.payload, nowMs);
          if (post) this.emitPost(post);
        }
        return this.emit({ type: "error", payload: message.payload });
      }
      case "mention":
        return this.emit({ type: "mention", payload: message.payload });
      case "notice":
        return this.emit({ type: "notice", payload: message.payload });
      case "pong":
        return;
      default: {
        const view = this.views.get(message.payload?.stream_id);
        // A stream just left may still speak, and a newer server may say what is not known here.
        if (view) this.receivedForStream(view, message);
      }
    }
  }

  private receivedForStream(view: StreamView, message: ServerMessage): void {
    const streamId = view.streamId;
    switch (message.type) {
      case "joined": {
        const resumed = this.resumed.delete(streamId);
        const { added, removed } = view.applyJoined(message.payload, resumed);
        this.adopt(added);
        if (removed.length > 0) this.emitRemoved(streamId, removed, null);
        this.emit({ type: "joined", payload: { streamId, gap: message.payload.gap === true, resumed, added } });
        return this.flushPosts();
      }
      case "comments_batch": {
        const added = view.applyBatch(message.payload);
        this.adopt(added);
        if (added.length > 0) this.emit({ type: "comments", payload: { streamId, added } });
        return;
      }
      case "comments_removed": {
        view.remove(message.payload.comment_ids ?? []);
        return this.emitRemoved(streamId, message.payload.comment_ids ?? [], message.payload.reason ?? null);
      }
      case "comment_updated":
        if (!view.update(message.payload)) return;
        return this.emit({ type: "updated", payload: { streamId, commentId: message.payload.comment_id } });
      case "reactions_batch": {
        const { growth, commentIds } = view.applyReactions(message.payload);
        return this.emit({ type: "reactions", payload: { streamId, totals: view.reactions, growth, commentIds } });
      }
      case "viewer_count":
        view.viewerCount = message.payload.count;
        return this.emit({ type: "viewers", payload: { streamId, count: view.viewerCount } });
      case "stream_updated":
        view.settings = { ...view.settings, ...message.payload.settings };
        view.status = message.payload.status ?? view.status;
        return this.emit({ type: "stream", payload: { streamId, settings: view.settings, status: view.status } });
      default:
        return;
    }
  }

  private adopt(added: Comment[]): void {
    for (const comment of added) {
      const post = comment.user_id === this.userId ? this.outbox.adopt(comment) : null;
      if (post) this.emitPost(post);
    }
  }

  private emitRemoved(streamId: string, commentIds: string[], reason: string | null): void {
    for (const post of this.outbox.markRemoved(commentIds)) this.emitPost(post);
    this.emit({ type: "removed", payload: { streamId, commentIds, reason } });
  }

  private emitPost(post: OwnPost): void {
    this.emit({ type: "post", payload: { streamId: post.streamId, post } });
  }

  private emit(event: ChorusEvent): void {
    this.effects.push({ type: "emit", event });
  }

  private send(message: ClientMessage): void {
    this.effects.push({ type: "send", message });
  }
}
