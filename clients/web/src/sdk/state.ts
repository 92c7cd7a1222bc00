/**
 * The client's decisions, without a socket or a clock: inputs with the time go in, effects come out. The
 * same inputs always give the same effects, so every reconnect can be tested in microseconds.
 */
import { CLOSE, closeAction, errorAction, reasonAction } from "./actions.js";
import { Auth, type AuthStep } from "./auth.js";
import type { ErrorCode } from "./codes.js";
import { Connection, type ConnectionStep } from "./connection.js";
import { Decisions, isRemoval, type DecisionOutcome } from "./decisions.js";
import type { ChorusEvent } from "./events.js";
import type { CoreConfig, Effect, Input } from "./inputs.js";
import { Outbox, type OwnPost } from "./outbox.js";
import type { Pops } from "./pops.js";
import type { ClientMessage, Comment, Millis, ProtocolError, Receipt, ServerMessage } from "./protocol.js";
import { ReactionBuffer } from "./reactions.js";
import { cleanContent } from "./text.js";
import { StreamView } from "./view.js";

export class Core {
  readonly views = new Map<string, StreamView>();
  readonly outbox: Outbox;
  readonly decisions: Decisions;
  readonly connection: Connection;
  readonly auth: Auth;
  readonly pops: Pops | null;
  private readonly reactions = new ReactionBuffer();
  private readonly config: CoreConfig;
  private readonly resumed = new Set<string>();
  private started = false;
  /** The present or last connection has had something to say. A server ends one that has not. */
  private spoke = false;
  private authTold = "";
  private nowMs: Millis = 0;
  /** There was a connection when the present input came. */
  private wasOpen = false;
  private effects: Effect[] = [];

  /** `pops`: none for a client that stays at the address it was given. */
  constructor(config: CoreConfig, pops: Pops | null = null) {
    this.config = config;
    this.pops = pops;
    this.outbox = new Outbox(config.unconfirmedAfterMs);
    this.decisions = new Decisions(config.unconfirmedAfterMs);
    this.connection = new Connection(config.connection, config.random);
    this.auth = new Auth(config.auth, config.canRefresh, config.random);
    this.authTold = JSON.stringify(this.auth.state);
  }

  /** When `timer` is wanted next; null when nothing waits. */
  nextDeadlineMs(): Millis | null {
    const due = [this.connection, this.auth, this.outbox, this.decisions, this.reactions, this.pops]
      .map((part) => part?.nextDeadlineMs() ?? null)
      .filter((at) => at !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** `nowMs` never goes back and is never set: durations are measured with it. */
  handle(nowMs: Millis, input: Input): Effect[] {
    this.effects = [];
    this.nowMs = nowMs;
    this.wasOpen = this.connection.phase === "open";
    this.connection.hurried = this.pops?.hasOther === true;
    this.dispatch(nowMs, input);
    if (this.pops) this.atPop(nowMs, this.pops);
    return this.effects;
  }

  private dispatch(nowMs: Millis, input: Input): void {
    switch (input.type) {
      case "start":
        this.started = true;
        return this.begin(nowMs);
      case "suspend":
        this.started = false;
        return this.steps(this.connection.halt("suspended"));
      case "stop":
        this.started = false;
        return this.steps(this.connection.halt("closed"));
      case "opened":
        return this.opened(nowMs);
      case "closed":
        return this.closed(nowMs, input.code, input.reason);
      case "received":
        this.connection.received(nowMs);
        return this.received(nowMs, input.message);
      case "join":
        return this.join(nowMs, input.streamId, input.resume);
      case "leave":
        return this.leave(input.streamId);
      case "post":
        return this.post(nowMs, input);
      case "retry": {
        const post = this.outbox.retry(input.clientId, nowMs);
        if (!post) return;
        this.emitPost(post);
        return this.release(nowMs, post.streamId);
      }
      case "decide":
        this.decisions.add(input.decision, nowMs);
        return this.release(nowMs, input.decision.payload.stream_id);
      case "react":
        if (!this.canReact(input.streamId) || input.count < 1) return;
        return this.reactions.add(input.streamId, input.reactionType, Math.floor(input.count), nowMs);
      case "send":
        if (this.connection.phase === "open") this.send(input.message);
        return;
      case "token":
        this.authSteps(nowMs, this.auth.set(input.token));
        return this.startLate(nowMs);
      case "token_answer":
        return this.authSteps(nowMs, this.auth.answer(nowMs, input.round, input.token, input.failed));
      case "token_refused":
        if (input.token !== this.auth.token) return;
        return this.authSteps(nowMs, this.auth.refuse(nowMs, input.reason));
      case "network":
        return this.steps(this.connection.network(nowMs, input.online));
      case "nudge":
        return this.steps(this.connection.nudge(nowMs));
      case "wake":
        this.outbox.woke(nowMs);
        this.decisions.woke(nowMs);
        return this.steps(this.connection.wake(nowMs));
      case "freeze":
        return this.steps(this.connection.freeze());
      case "thaw":
        this.outbox.woke(nowMs);
        this.decisions.woke(nowMs);
        return this.steps(this.connection.thaw(nowMs));
      case "pops":
        if (!input.list || !this.pops?.heard(input.list.here, input.list.pops)) return;
        this.effects.push({ type: "probe_pops", pops: this.pops.toProbe() });
        return;
      case "probed":
        return this.pops?.probed(nowMs, input.rtts);
      case "look":
        if (this.pops && this.connection.phase === "open") this.look(nowMs, this.pops);
        return;
      case "move":
        if (this.pops?.choose(nowMs, input.pop)) this.moved(nowMs);
        return;
      case "timer":
        return this.timer(nowMs);
    }
  }

  /** Moves when that holds up and loses nothing that is under way, and tells what is new. */
  private atPop(nowMs: Millis, pops: Pops): void {
    const writing = [this.outbox, this.decisions, this.reactions].some((part) => part.nextDeadlineMs() !== null);
    if (pops.wanted !== null && this.connection.phase === "open" && !writing && pops.go()) this.moved(nowMs);
    const payload = pops.news();
    if (payload) this.emit({ type: "pop", payload });
  }

  private moved(nowMs: Millis): void {
    this.steps(this.connection.phase === "waiting" ? this.connection.start(nowMs) : this.connection.restart(nowMs));
  }

  private look(nowMs: Millis, pops: Pops): void {
    pops.look(nowMs);
    this.effects.push({ type: "ask_pops" });
  }

  private timer(nowMs: Millis): void {
    this.steps(this.connection.timer(nowMs));
    this.authSteps(nowMs, this.auth.timer(nowMs));
    if (this.pops?.isDue(nowMs)) this.look(nowMs, this.pops);
    for (const post of this.outbox.expire(nowMs)) this.emitPost(post);
    this.emitOutcomes(this.decisions.expire(nowMs));
    for (const payload of this.reactions.takeDue(nowMs)) {
      if (this.canReact(payload.stream_id)) this.send({ type: "react", payload });
    }
  }

  private begin(nowMs: Millis): void {
    // A connection with nothing to say is closed by the server, and not to come back.
    if (this.hasSomethingToSay()) this.steps(this.connection.start(nowMs));
  }

  /** What is to be said came after the start (see `begin`), or after the end of a connection that wanted a token. */
  private startLate(nowMs: Millis): void {
    const phase = this.connection.phase;
    const forThis = !this.spoke || this.connection.state.code === CLOSE.badToken;
    if (this.started && (phase === "idle" || (phase === "closed" && forThis))) this.begin(nowMs);
  }

  private hasSomethingToSay(): boolean {
    return this.views.size > 0 || this.auth.token !== null;
  }

  private steps(steps: ConnectionStep[]): void {
    for (const step of steps) {
      if (step === "connect") this.effects.push({ type: "connect", url: this.pops?.url ?? null });
      else if (step === "drop") this.effects.push({ type: "drop" });
      else if (step === "ping") this.send({ type: "ping", payload: {} });
      else if (step === "changed") this.emit({ type: "connection", payload: this.connection.state });
      else this.lost();
    }
  }

  private authSteps(nowMs: Millis, steps: AuthStep[]): void {
    for (const step of steps) {
      switch (step) {
        case "authenticate":
          this.authenticate();
          break;
        case "ask":
          this.effects.push({ type: "ask_token", round: this.auth.round });
          break;
        case "reconnect":
          this.steps(this.connection.restart(nowMs));
          break;
        case "end_posts":
          this.endWriting("unauthenticated", true);
          break;
        case "resend":
          this.flush();
          break;
        case "changed":
          this.tellAuth();
          break;
      }
    }
  }

  private tellAuth(): void {
    const told = JSON.stringify(this.auth.state);
    if (told === this.authTold) return;
    this.authTold = told;
    this.emit({ type: "auth", payload: this.auth.state });
  }

  private opened(nowMs: Millis): void {
    const steps = this.connection.opened(nowMs);
    if (steps.length === 0) return;
    this.spoke = this.hasSomethingToSay();
    this.pops?.opened(nowMs);
    // The token first, so that what is joined is joined as this user.
    this.authSteps(nowMs, this.auth.opened(nowMs));
    for (const view of this.views.values()) this.sendJoin(view);
    this.steps(steps);
  }

  private closed(nowMs: Millis, code: number, reason: string): void {
    const action = closeAction(code);
    // A refused token ends nothing as long as there is another one, or reading without one, to try.
    const end = action === "end" || (action === "token" && this.auth.status === "signed_out");
    this.steps(this.connection.closed(nowMs, code, reason, end));
    if (action === "token") this.authSteps(nowMs, this.auth.refuse(nowMs, "invalid_token"));
  }

  private lost(): void {
    const { phase, offline, code } = this.connection.state;
    this.pops?.rest();
    // A try without a network says nothing of the PoP.
    if (phase === "waiting" && !offline) this.pops?.lost(this.nowMs, code, this.wasOpen);
    this.auth.lost();
    this.outbox.connectionLost();
    this.decisions.connectionLost();
    this.reactions.clear();
    this.resumed.clear();
    for (const view of this.views.values()) view.joined = false;
  }

  /** Joining again is joining once, but for a stream that could not be joined: that is tried anew. */
  private join(nowMs: Millis, streamId: string, resume: string | undefined): void {
    let view = this.views.get(streamId);
    if (view && view.problem === null) return;
    if (!view) {
      view = new StreamView(streamId, this.config.commentsMax);
      view.resume = resume ?? null;
      this.views.set(streamId, view);
    }
    view.problem = null;
    if (this.connection.phase === "open") this.sendJoin(view);
    else this.startLate(nowMs);
  }

  private sendJoin(view: StreamView): void {
    const payload = { stream_id: view.streamId, ...(view.resume === null ? {} : { resume: view.resume }) };
    if (view.resume !== null) this.resumed.add(view.streamId);
    this.spoke = true;
    this.send({ type: "join_stream", payload });
  }

  private leave(streamId: string): void {
    if (!this.views.delete(streamId)) return;
    this.reactions.clear(streamId);
    this.endWriting("not_joined", false, streamId);
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
    const anchorId = this.views.get(input.streamId)?.newestId() ?? "";
    const post = this.outbox.add(wire, nowMs, input.wallMs ?? nowMs, anchorId);
    this.emitPost(post);
    this.release(nowMs, post.streamId);
  }

  /** Sends what is written in this stream, or lets it wait for what will come, or says at once that nothing will. */
  private release(nowMs: Millis, streamId: string): void {
    const view = this.views.get(streamId);
    if (!view || view.problem !== null) return this.endWriting(view?.problem ?? "not_joined", false, streamId);
    this.authSteps(nowMs, this.auth.wanted(nowMs));
    if (this.auth.status === "signed_out") return this.endWriting("unauthenticated", false, streamId);
    this.flush();
  }

  private flush(): void {
    if (!this.auth.confirmed) return;
    for (const view of this.views.values()) {
      if (!view.joined) continue;
      for (const payload of this.outbox.takeUnsent(view.streamId)) this.send({ type: "post_comment", payload });
      for (const decision of this.decisions.takeUnsent(view.streamId)) this.send(decision);
    }
  }

  /** Ends the posts and the decisions that will not be sent (again). */
  private endWriting(reason: string, alsoSent: boolean, streamId?: string): void {
    for (const post of this.outbox.end(reason, alsoSent, streamId)) this.emitPost(post);
    this.emitOutcomes(this.decisions.end(reason, alsoSent, streamId));
  }

  private canReact(streamId: string): boolean {
    return this.auth.status === "signed_in" && this.views.get(streamId)?.joined === true;
  }

  private authenticate(): void {
    if (this.auth.token === null) return;
    this.auth.sequence += 1;
    this.spoke = true;
    this.send({ type: "authenticate", payload: { token: this.auth.token } });
    this.send({ type: "ping", payload: { auth: this.auth.sequence } });
  }

  private received(nowMs: Millis, message: ServerMessage): void {
    switch (message.type) {
      case "receipt":
        return this.receipt(nowMs, message.payload);
      case "error":
        this.error(nowMs, message.payload);
        return this.emit({ type: "error", payload: message.payload });
      case "mention":
        return this.emit({ type: "mention", payload: message.payload });
      case "notice":
        return this.emit({ type: "notice", payload: message.payload });
      case "pong": {
        const sequence = (message.payload as { auth?: unknown } | null)?.auth;
        if (typeof sequence === "number") this.authSteps(nowMs, this.auth.pong(sequence));
        return;
      }
      default: {
        const view = this.views.get(message.payload?.stream_id);
        // A stream just left may still speak, and a newer server may say what is not known here.
        if (view) this.receivedForStream(view, message);
      }
    }
  }

  private receipt(nowMs: Millis, receipt: Receipt): void {
    const forToken = receipt.status === "rejected" && reasonAction(receipt.reason) === "token";
    const requeued = forToken && this.requeue(receipt.client_id);
    if (forToken) this.authSteps(nowMs, this.auth.refusedWrite(nowMs, receipt.reason as string));
    if (requeued) return;
    const outcome = this.decisions.applyReceipt(receipt, nowMs);
    if (outcome) {
      // What is applied is gone, also where `comments_removed` is still on its way.
      if (isRemoval(outcome) && outcome.commentId !== null) {
        this.removedLive(this.views.get(outcome.streamId), [outcome.commentId], null);
      }
      return this.emitOutcomes([outcome]);
    }
    const known = this.outbox.applyReceipt(receipt, nowMs);
    if (known?.news) this.emitPost(known.post);
    if (!known) this.emit({ type: "receipt", payload: receipt });
  }

  private error(nowMs: Millis, error: ProtocolError): void {
    const action = errorAction(error.code);
    if (action === "join" && error.client_id === undefined) return this.joinFailed(error);
    const ofToken = action === "write" || action === "expired" || action === "invalid" || action === "user";
    const requeued = ofToken && this.requeue(error.client_id ?? "");
    if (action === "write" || (requeued && action === "expired")) {
      this.authSteps(nowMs, this.auth.refusedWrite(nowMs, error.code));
    } else if (action === "invalid") this.authSteps(nowMs, this.auth.invalid(nowMs, error.code));
    else if (action === "expired") this.authSteps(nowMs, this.auth.expired(nowMs, error.code));
    else if (action === "user") this.authSteps(nowMs, this.auth.otherUser(nowMs, error.code));
    if (requeued) return;
    const post = this.outbox.applyError(error, nowMs);
    if (post) this.emitPost(post);
    const outcome = this.decisions.applyError(error, nowMs);
    if (outcome) this.emitOutcomes([outcome]);
  }

  /** What was refused for want of a good token waits for a better one. */
  private requeue(clientId: string): boolean {
    return this.auth.status !== "signed_out" && (this.outbox.requeue(clientId) || this.decisions.requeue(clientId));
  }

  /** The stream is not there (any more), or not for this connection: what waits for it will not be sent. */
  private joinFailed(error: ProtocolError): void {
    const view = this.views.get(error.stream_id ?? "");
    if (!view) return;
    view.joined = false;
    view.problem = error.code as ErrorCode;
    this.endWriting(error.code, false, view.streamId);
    this.emitStream(view);
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
        return this.flush();
      }
      case "comments_batch": {
        const added = view.applyBatch(message.payload);
        this.adopt(added);
        if (added.length > 0) this.emit({ type: "comments", payload: { streamId, added } });
        return;
      }
      case "comments_removed":
        return this.removedLive(view, message.payload.comment_ids ?? [], message.payload.reason ?? null);
      case "comment_updated":
        if (!view.update(message.payload)) return;
        return this.emit({ type: "updated", payload: { streamId, commentId: message.payload.comment_id } });
      case "reactions_batch": {
        const { growth, commentIds } = view.applyReactions(message.payload);
        if (Object.keys(growth).length === 0 && commentIds.length === 0) return;
        return this.emit({ type: "reactions", payload: { streamId, totals: view.reactions, growth, commentIds } });
      }
      case "viewer_count":
        if (view.viewerCount === message.payload.count) return;
        view.viewerCount = message.payload.count;
        return this.emit({ type: "viewers", payload: { streamId, count: view.viewerCount } });
      case "stream_updated":
        if (view.applyUpdated(message.payload)) this.emitStream(view);
        return;
      default:
        return;
    }
  }

  private adopt(added: Comment[]): void {
    for (const comment of added) {
      const post = comment.user_id === this.auth.userId ? this.outbox.adopt(comment) : null;
      if (post) this.emitPost(post);
    }
  }

  /** Also what is not on show here: an app may show more, and a removal may overtake its comment. */
  private removedLive(view: StreamView | undefined, commentIds: string[], reason: string | null): void {
    const news = view?.applyRemoved(commentIds) ?? [];
    if (view && news.length > 0) this.emitRemoved(view.streamId, news, reason);
  }

  private emitRemoved(streamId: string, commentIds: string[], reason: string | null): void {
    for (const post of this.outbox.markRemoved(commentIds)) this.emitPost(post);
    this.emit({ type: "removed", payload: { streamId, commentIds, reason } });
  }

  private emitOutcomes(outcomes: DecisionOutcome[]): void {
    for (const payload of outcomes) this.emit({ type: "decision", payload });
  }

  private emitStream(view: StreamView): void {
    const { streamId, settings, status, title, problem } = view;
    this.emit({ type: "stream", payload: { streamId, settings, status, title, problem } });
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
