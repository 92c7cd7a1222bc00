/**
 * The shell around the core: one WebSocket, one timer, one token hook. It carries out what the core says and
 * decides nothing.
 */
import { jsonCodec, type Codec } from "./codec.js";
import type { ChorusEvent, ChorusEvents, ConnectionState } from "./events.js";
import type { OwnPost } from "./outbox.js";
import type { ClientMessage, Millis } from "./protocol.js";
import { Core, CORE_DEFAULT, type CoreConfig, type Effect, type Input, type PostOptions } from "./state.js";
import { timeline, type TimelineItem } from "./timeline.js";
import type { StreamView } from "./view.js";

export interface ChorusOptions {
  /** `wss://host/v1/ws`. */
  url: string;
  /** Without one a viewer reads and does not write. */
  token?: string | null;
  /** Called when the server says that the token has expired; null or a throw leaves the viewer reading. */
  refreshToken?: () => Promise<string | null>;
  codec?: Codec;
  config?: Partial<Omit<CoreConfig, "canRefresh">>;
  /** For a runtime without a global one. */
  WebSocket?: typeof WebSocket;
  now?: () => Millis;
}

type Listener<T extends keyof ChorusEvents> = (payload: ChorusEvents[T]) => void;

export class Chorus {
  private readonly options: ChorusOptions;
  private readonly codec: Codec;
  private readonly core: Core;
  private readonly listeners = new Map<string, Set<Listener<never>>>();
  private readonly inputs: Input[] = [];
  private running = false;
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private readonly nudge = (): void => {
    if (typeof document === "undefined" || document.visibilityState === "visible") this.feed({ type: "nudge" });
  };

  constructor(options: ChorusOptions) {
    this.options = options;
    this.codec = options.codec ?? jsonCodec;
    this.core = new Core({
      ...CORE_DEFAULT,
      random: Math.random,
      ...options.config,
      canRefresh: options.refreshToken !== undefined,
    });
    if (options.token) this.setToken(options.token);
  }

  get connection(): ConnectionState {
    return this.core.connection.state;
  }

  /** The `sub` of the token, when there is one. */
  get userId(): string | null {
    return this.core.userId;
  }

  start(): void {
    if (typeof window !== "undefined") {
      window.addEventListener("online", this.nudge);
      document.addEventListener("visibilitychange", this.nudge);
    }
    this.feed({ type: "start" });
  }

  /** Lets the socket go and keeps everything else; `start` resumes where this left off. */
  suspend(): void {
    this.feed({ type: "suspend" });
  }

  stop(): void {
    if (typeof window !== "undefined") {
      window.removeEventListener("online", this.nudge);
      document.removeEventListener("visibilitychange", this.nudge);
    }
    this.feed({ type: "stop" });
  }

  /** Signs in, or replaces the token, on the connection there is. */
  setToken(token: string): void {
    this.feed({ type: "token", token });
  }

  /** Joins now and after every reconnect. Joining twice is joining once. */
  join(streamId: string, resume?: string): StreamHandle {
    this.feed({ type: "join", streamId, resume });
    return new StreamHandle(streamId, this.core, (input) => this.feed(input));
  }

  /** Returns the function that ends the subscription. */
  on<T extends keyof ChorusEvents>(type: T, listener: Listener<T>): () => void {
    const set = this.listeners.get(type) ?? new Set();
    this.listeners.set(type, set);
    set.add(listener);
    return () => set.delete(listener);
  }

  /** A listener may call back in (post, join): such inputs wait until the present one is carried out. */
  private feed(input: Input): void {
    this.inputs.push(input);
    if (this.running) return;
    this.running = true;
    try {
      for (let next = this.inputs.shift(); next; next = this.inputs.shift()) {
        for (const effect of this.core.handle(this.nowMs(), next)) this.carryOut(effect);
      }
    } finally {
      this.running = false;
    }
    this.schedule();
  }

  private carryOut(effect: Effect): void {
    switch (effect.type) {
      case "connect":
        return this.connect();
      case "drop":
        return this.drop();
      case "send":
        if (this.socket?.readyState === 1) this.socket.send(this.codec.encode(effect.message));
        return;
      case "refresh_token":
        return void this.refresh();
      case "emit":
        return this.emit(effect.event);
    }
  }

  private connect(): void {
    this.drop();
    const Socket = this.options.WebSocket ?? WebSocket;
    let socket: WebSocket;
    try {
      socket = new Socket(this.options.url, [this.codec.subprotocol]);
    } catch (error) {
      // An address no socket can be made for does not get better by waiting.
      this.feed({ type: "closed", code: 1002, reason: String(error) });
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    // A socket that was let go may still speak: only the present one is heard.
    const ifCurrent = (input: () => Input | null) => () => {
      const next = this.socket === socket ? input() : null;
      if (next) this.feed(next);
    };
    socket.onopen = ifCurrent(() => ({ type: "opened" }));
    socket.onclose = (event) =>
      ifCurrent(() => {
        this.socket = null;
        return { type: "closed", code: event.code, reason: event.reason };
      })();
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => ifCurrent(() => this.decode(event.data))();
  }

  private decode(data: string | ArrayBuffer): Input | null {
    try {
      return { type: "received", message: this.codec.decode(data) };
    } catch (error) {
      this.emit({ type: "error", payload: { code: "undecodable_frame", message: String(error) } });
      return null;
    }
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
  }

  private async refresh(): Promise<void> {
    let token: string | null = null;
    try {
      token = (await this.options.refreshToken?.()) ?? null;
    } catch {
      // The hook's own failure: the viewer goes on reading, and the next post asks again.
    }
    this.feed({ type: "token", token });
  }

  private schedule(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const dueMs = this.core.nextDeadlineMs();
    if (dueMs === null) return;
    this.timer = setTimeout(() => this.feed({ type: "timer" }), Math.max(0, dueMs - this.nowMs()));
  }

  private nowMs(): Millis {
    return (this.options.now ?? Date.now)();
  }

  private emit(event: ChorusEvent): void {
    for (const listener of this.listeners.get(event.type) ?? []) {
      try {
        (listener as Listener<typeof event.type>)(event.payload as never);
      } catch (error) {
        // One listener's fault must not stop the others, nor the connection.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** One joined stream: what is known of it, and what may be done in it. */
export class StreamHandle {
  readonly streamId: string;
  private readonly core: Core;
  private readonly feed: (input: Input) => void;

  constructor(streamId: string, core: Core, feed: (input: Input) => void) {
    this.streamId = streamId;
    this.core = core;
    this.feed = feed;
  }

  get view(): StreamView | undefined {
    return this.core.views.get(this.streamId);
  }

  get posts(): OwnPost[] {
    return this.core.outbox.posts(this.streamId);
  }

  /** Everything to show, oldest first. */
  timeline(): TimelineItem[] {
    return this.view ? timeline(this.view, this.posts) : [];
  }

  /** Returns the `client_id`; its fate comes as `post` events. */
  post(content: string, options: PostOptions = {}): string {
    const clientId = crypto.randomUUID();
    this.feed({ type: "post", streamId: this.streamId, clientId, content, ...options });
    return clientId;
  }

  /** Tries an unconfirmed post again; the same `client_id`, so it is stored at most once. */
  retry(clientId: string): void {
    this.feed({ type: "retry", clientId });
  }

  /** Takes a finished post out of sight. */
  dismiss(clientId: string): boolean {
    return this.core.outbox.forget(clientId);
  }

  /** Clicks are gathered for 250 ms; without a connection they are lost, as reactions may be. */
  react(reactionType: string, count = 1): void {
    this.feed({ type: "react", streamId: this.streamId, reactionType, count });
  }

  reactTo(commentId: string, reactionType: string): void {
    this.send("react", { comment_id: commentId, reaction_type: reactionType });
  }

  unreact(commentId: string, reactionType: string): void {
    this.send("unreact", { comment_id: commentId, reaction_type: reactionType });
  }

  delete(commentId: string): void {
    this.send("delete_comment", { comment_id: commentId });
  }

  report(commentId: string, reason: string): void {
    this.send("report", { comment_id: commentId, reason });
  }

  /** Returns the `client_id` of the `receipt` to wait for (`applied`). */
  moderate(action: string, fields: Record<string, unknown> = {}): string {
    const clientId = crypto.randomUUID();
    this.send("moderate", { ...fields, action, client_id: clientId });
    return clientId;
  }

  leave(): void {
    this.feed({ type: "leave", streamId: this.streamId });
  }

  private send(type: ClientMessage["type"], fields: Record<string, unknown>): void {
    const message = { type, payload: { ...fields, stream_id: this.streamId } } as ClientMessage;
    this.feed({ type: "send", message });
  }
}
