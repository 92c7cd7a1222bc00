/**
 * The shell around the core: one WebSocket, one timer, one question for a token. It carries out what the core says and
 * decides nothing.
 */
import type { AuthState } from "./auth.js";
import { SleepWatch, systemClock, type Clock } from "./clock.js";
import { jsonCodec, type Codec } from "./codec.js";
import type { Decision, DecisionOutcome } from "./decisions.js";
import type { ChorusEvent, ChorusEvents, ConnectionState } from "./events.js";
import { newClientId } from "./ids.js";
import { CORE_DEFAULT, type CoreConfig, type Effect, type Input, type PostOptions } from "./inputs.js";
import type { OwnPost } from "./outbox.js";
import { watchPage } from "./page-events.js";
import { Pops, POPS_DEFAULT, type Pop, type PopsConfig, type PopState } from "./pops.js";
import { defaultStorage, keep, measure, PROBE_DEFAULT, readPops, recall, restUrl, socketUrl, type PopStorage, type ProbeConfig } from "./probe.js";
import type { ClientMessage, Millis } from "./protocol.js";
import { Core } from "./state.js";
import { timeline, type TimelineItem } from "./timeline.js";
import type { StreamView } from "./view.js";

export interface ChorusOptions {
  /** `wss://host/v1/ws`. */
  url: string;
  /** Without one, and without `refreshToken`, a viewer reads and does not write. */
  token?: string | null;
  /**
   * Called for a token: when there is none yet, and when any answer says that the present one will not do, whatever the clock here says.
   * One call at a time, a few in a minute at most. Null: there is none, the viewer is signed out and goes on reading. A throw is tried
   * again, a few times.
   */
  refreshToken?: () => Promise<string | null>;
  codec?: Codec;
  config?: Partial<Omit<CoreConfig, "canRefresh">>;
  /**
   * `auto`: `url` is where to begin; the nearest PoP is found by measuring, and another one when it dies. False, the default: always `url`.
   * A record sets what differs from the defaults; `storage` is where the choice is remembered, `localStorage` unless null.
   */
  pops?: "auto" | false | PopsOptions;
  /** For a runtime without a global one. */
  WebSocket?: typeof WebSocket;
  clock?: Clock;
}

export type PopsOptions = Partial<PopsConfig & ProbeConfig> & { storage?: PopStorage | null };

/** The timer runs at least so often while there is a connection: how soon the end of a sleep is noticed. */
const TICK_MS = 5_000;

/** Why a removal or a moderator's action is not in force, or is not known to be. */
export class DecisionError extends Error {
  /** `forbidden`, `comment_not_found`, `unconfirmed`, …. */
  readonly code: string;
  /** When waiting helps: the time from which it may be tried again, on the clock of `Chorus.nowMs`. */
  readonly retryAtMs: Millis | null;

  constructor({ code, message, retryAtMs }: DecisionOutcome & { code: string }) {
    super(message ?? code);
    this.name = "DecisionError";
    this.code = code;
    this.retryAtMs = retryAtMs;
  }
}

/** Promises of decisions under way, by their `client_id`. */
class DecisionPromises {
  private readonly open = new Map<string, { promise: Promise<void>; settle: (outcome: DecisionOutcome) => void }>();

  of(clientId: string): Promise<void> | undefined {
    return this.open.get(clientId)?.promise;
  }

  make(clientId: string): Promise<void> {
    let settle: (outcome: DecisionOutcome) => void = () => {};
    const promise = new Promise<void>((done, failed) => {
      settle = ({ code, ...rest }) => (code === null ? done() : failed(new DecisionError({ code, ...rest })));
    });
    this.open.set(clientId, { promise, settle });
    return promise;
  }

  settle(outcome: DecisionOutcome): void {
    this.open.get(outcome.clientId)?.settle(outcome);
    this.open.delete(outcome.clientId);
  }
}

type Listener<T extends keyof ChorusEvents> = (payload: ChorusEvents[T]) => void;

export class Chorus {
  private readonly options: ChorusOptions;
  private readonly codec: Codec;
  private readonly core: Core;
  private readonly listeners = new Map<string, Set<Listener<never>>>();
  private readonly inputs: Input[] = [];
  private readonly decisions = new DecisionPromises();
  private readonly clock: Clock;
  private readonly sleep: SleepWatch;
  private readonly popsConfig: PopsConfig & ProbeConfig;
  private readonly storage: PopStorage | null;
  /** Of the present connection, or the last one. */
  private url: string;
  private probing = false;
  private running = false;
  private socket: WebSocket | null = null;
  private cancelTimer: (() => void) | null = null;
  private unwatch: (() => void) | null = null;

  constructor(options: ChorusOptions) {
    this.options = options;
    this.codec = options.codec ?? jsonCodec;
    this.clock = options.clock ?? systemClock;
    this.sleep = new SleepWatch(this.clock);
    this.url = options.url;
    const { storage, ...set } = typeof options.pops === "object" ? options.pops : {};
    this.popsConfig = { ...POPS_DEFAULT, ...PROBE_DEFAULT, ...set };
    this.storage = storage === undefined && options.pops ? defaultStorage() : (storage ?? null);
    const config = { ...CORE_DEFAULT, random: Math.random, ...options.config, canRefresh: options.refreshToken !== undefined };
    this.core = new Core(config, options.pops ? this.newPops(config.random) : null);
    if (options.token) this.setToken(options.token);
  }

  get connection(): ConnectionState {
    return this.core.connection.state;
  }

  get auth(): AuthState {
    return this.core.auth.state;
  }

  /** The `sub` of the token, when there is one. */
  get userId(): string | null {
    return this.core.auth.userId;
  }

  /** Where the viewer is; null before that is known, and without the option `pops`. */
  get pop(): PopState | null {
    return this.core.pops?.state ?? null;
  }

  /** Of the PoP of the present connection, or the last one: `https://host`. REST is below it. */
  get restUrl(): string {
    return restUrl(this.url);
  }

  /** Moves to this PoP and stays there as long as it lives; null goes to the nearest, now and later. Nothing is missed on the way. */
  moveTo(pop: string | null): void {
    this.feed({ type: "move", pop });
  }

  /** Measures the PoPs anew; the event `pop` brings what is found. */
  measurePops(): void {
    this.feed({ type: "look" });
  }

  /** The clock of `retryAtMs`: near the time of day, but never set. */
  nowMs(): Millis {
    return this.clock.nowMs();
  }

  start(): void {
    this.unwatch ??= watchPage((input) => this.feed(input));
    this.feed({ type: "start" });
  }

  /** Lets the socket go and keeps everything else; `start` resumes where this left off. */
  suspend(): void {
    this.feed({ type: "suspend" });
  }

  stop(): void {
    this.unwatch?.();
    this.unwatch = null;
    this.feed({ type: "stop" });
  }

  /** Signs in, as whomever the token names; null signs out and goes on reading. Another user gets a connection of its own. */
  setToken(token: string | null): void {
    this.feed({ type: "token", token });
  }

  /**
   * `fetch` with the viewer's token, for the REST face. A 401 counts as every other refusal of a token: a new one is asked for, and the
   * request goes out once more with it.
   */
  async fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const token = await this.settledToken();
    const response = await fetchAs(url, init, token);
    if (response.status !== 401 || token === null) return response;
    this.feed({ type: "token_refused", token, reason: "unauthenticated" });
    const better = await this.settledToken();
    return better === null || better === token ? response : fetchAs(url, init, better);
  }

  /** Joins now and after every reconnect. Joining twice is joining once; a stream that could not be joined is tried anew. */
  join(streamId: string, resume?: string): StreamHandle {
    this.feed({ type: "join", streamId, resume });
    return new StreamHandle(streamId, this.core, this.clock, this.decisions, (input) => this.feed(input));
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
        for (const effect of this.core.handle(this.clock.nowMs(), next)) this.carryOut(effect);
      }
    } finally {
      this.running = false;
    }
    this.schedule();
  }

  private carryOut(effect: Effect): void {
    switch (effect.type) {
      case "connect":
        this.url = effect.url === null ? this.options.url : socketUrl(effect.url, this.options.url);
        return this.connect();
      case "drop":
        return this.drop();
      case "send":
        if (this.socket?.readyState === 1) this.socket.send(this.codec.encode(effect.message));
        return;
      case "ask_token":
        return void this.ask(effect.round);
      case "ask_pops":
        return void readPops(this.restUrl, this.clock, this.popsConfig.timeoutMs).then((list) => this.feed({ type: "pops", list }));
      case "probe_pops":
        return void this.probe(effect.pops);
      case "emit":
        if (effect.event.type === "decision") this.decisions.settle(effect.event.payload);
        if (effect.event.type === "pop") keep(this.storage, this.core.pops?.remembered(this.options.url, this.clock.wallMs()) ?? null);
        return this.emit(effect.event);
    }
  }

  private newPops(random: () => number): Pops {
    const { options, popsConfig } = this;
    return new Pops(popsConfig, random, recall(this.storage, options.url, this.clock.wallMs(), popsConfig.rememberMs));
  }

  private async probe(pops: readonly Pop[]): Promise<void> {
    if (this.probing) return;
    this.probing = true;
    const rtts = await measure(pops, this.clock, this.popsConfig);
    this.probing = false;
    this.feed({ type: "probed", rtts });
  }

  private connect(): void {
    this.drop();
    const Socket = this.options.WebSocket ?? WebSocket;
    let socket: WebSocket;
    try {
      socket = new Socket(this.url, [this.codec.subprotocol]);
    } catch (error) {
      // An address no socket can be made for does not get better by waiting; but that of a PoP is not the only one.
      this.feed({ type: "closed", code: this.url === this.options.url ? 1002 : 1006, reason: String(error) });
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    // A socket that was let go may still speak: only the present one is heard.
    const ifCurrent = (input: () => Input | null) => () => {
      const next = this.socket === socket ? input() : null;
      if (next) this.feed(next);
    };
    // The close behind it says what there is to say; without a listener some runtimes throw.
    socket.onerror = () => {};
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

  private async ask(round: number): Promise<void> {
    let token: unknown = null;
    let failed = false;
    try {
      token = await this.options.refreshToken?.();
    } catch {
      failed = true;
    }
    this.feed({ type: "token_answer", round, token: typeof token === "string" && token !== "" ? token : null, failed });
  }

  /** The token in use, once it is clear which: the app may be thinking. */
  private settledToken(): Promise<string | null> {
    if (this.auth.status !== "refreshing") return Promise.resolve(this.core.auth.token);
    return new Promise((done) => {
      const settle = (): void => {
        off();
        cancel();
        done(this.core.auth.token);
      };
      const off = this.on("auth", ({ status }) => {
        if (status !== "refreshing") settle();
      });
      const cancel = this.clock.after(CORE_DEFAULT.auth.answerTimeoutMs, settle);
    });
  }

  private schedule(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    const dueMs = this.core.nextDeadlineMs();
    if (dueMs === null) return;
    const nowMs = this.clock.nowMs();
    const waitMs = Math.min(TICK_MS, Math.max(0, dueMs - nowMs));
    this.sleep.expect(nowMs + waitMs);
    this.cancelTimer = this.clock.after(waitMs, () => this.tick());
  }

  private tick(): void {
    const woke = this.sleep.woke();
    // Timers of a hidden page come late without any sleep, and when it is shown again that is told.
    const hidden = typeof document !== "undefined" && document.visibilityState === "hidden";
    if (woke && !hidden) this.feed({ type: "wake" });
    this.feed({ type: "timer" });
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

function fetchAs(url: string, init: RequestInit, token: string | null): Promise<Response> {
  if (token === null) return fetch(url, init);
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${token}`);
  return fetch(url, { ...init, headers });
}

/** One joined stream: what is known of it, and what may be done in it. */
export class StreamHandle {
  readonly streamId: string;
  private readonly core: Core;
  private readonly clock: Clock;
  private readonly decisions: DecisionPromises;
  private readonly feed: (input: Input) => void;

  constructor(streamId: string, core: Core, clock: Clock, decisions: DecisionPromises, feed: (input: Input) => void) {
    this.streamId = streamId;
    this.core = core;
    this.clock = clock;
    this.decisions = decisions;
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
    const clientId = newClientId();
    this.feed({ type: "post", streamId: this.streamId, clientId, content, wallMs: this.clock.wallMs(), ...options });
    return clientId;
  }

  /** Tries a post again that is unconfirmed, or was refused for want of a token; the same `client_id`, so it is stored at most once. */
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

  /**
   * Takes a comment away for everybody: one's own, or any as a moderator. Resolves once that is in force; rejects with a `DecisionError`, after
   * 30 s without an answer as `unconfirmed`. What is under way already is not begun again.
   */
  deleteComment(commentId: string): Promise<void> {
    const underWay = this.core.decisions.removalUnderWay(this.streamId, commentId);
    const before = underWay === null ? undefined : this.decisions.of(underWay);
    if (before) return before;
    const payload = { stream_id: this.streamId, comment_id: commentId, client_id: newClientId() };
    return this.decide({ type: "delete_comment", payload });
  }

  report(commentId: string, reason: string): void {
    this.send("report", { comment_id: commentId, reason });
  }

  /** Acts as a moderator, for example `moderate("remove", { comment_id })`. Resolves and rejects as `deleteComment` does. */
  moderate(action: string, fields: Record<string, unknown> = {}): Promise<void> {
    const payload = { ...fields, stream_id: this.streamId, action, client_id: newClientId() };
    return this.decide({ type: "moderate", payload });
  }

  leave(): void {
    this.feed({ type: "leave", streamId: this.streamId });
  }

  private decide(decision: Decision): Promise<void> {
    const promise = this.decisions.make(decision.payload.client_id);
    this.feed({ type: "decide", decision });
    return promise;
  }

  private send(type: ClientMessage["type"], fields: Record<string, unknown>): void {
    const message = { type, payload: { ...fields, stream_id: this.streamId } } as ClientMessage;
    this.feed({ type: "send", message });
  }
}
