/** A core with a clock in the test's hand and a server spoken by the test. */
import type { ChorusEvents } from "../../src/sdk/events.js";
import type { ClientMessage, Comment, Joined, ProtocolError, ServerMessage } from "../../src/sdk/protocol.js";
import { CORE_DEFAULT, type CoreConfig, type Effect, type Input } from "../../src/sdk/inputs.js";
import type { Pops } from "../../src/sdk/pops.js";
import { Core } from "../../src/sdk/state.js";

export function token(sub: string, expS = 9_999_999_999): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256" })}.${part({ sub, name: sub, exp: expS })}.x`;
}

export function comment(id: number | string, content = `text ${id}`, user = "u-other"): Comment {
  return { id: String(id), stream_id: "demo", user_id: user, username: user, content, created_at_ms: 0 };
}

export function joined(fields: Partial<Joined> = {}): ServerMessage {
  return { type: "joined", payload: { stream_id: "demo", resume: "r0", gap: false, comments: [], ...fields } };
}

export function batch(comments: Comment[], resume = "r1"): ServerMessage {
  return { type: "comments_batch", payload: { stream_id: "demo", comments, resume } };
}

export class Rig {
  nowMs = 1_000_000;
  readonly core: Core;
  effects: Effect[] = [];

  constructor(config: Partial<CoreConfig> = {}, pops: Pops | null = null) {
    this.core = new Core({ ...CORE_DEFAULT, random: () => 0.5, canRefresh: false, ...config }, pops);
  }

  /** A rig that is joined to `demo` as `u1`. */
  static joined(config: Partial<CoreConfig> = {}, pops: Pops | null = null): Rig {
    const rig = new Rig(config, pops);
    rig.feed({ type: "token", token: token("u1") });
    rig.feed({ type: "join", streamId: "demo" });
    rig.feed({ type: "start" });
    rig.feed({ type: "opened" });
    rig.taken();
    rig.receive(joined());
    return rig;
  }

  feed(input: Input): Effect[] {
    this.effects = this.core.handle(this.nowMs, input);
    return this.effects;
  }

  receive(...messages: ServerMessage[]): Effect[] {
    this.effects = messages.flatMap((message) => this.core.handle(this.nowMs, { type: "received", message }));
    return this.effects;
  }

  /** The server has taken the last token: it answers the ping behind it. */
  taken(): Effect[] {
    return this.receive({ type: "pong", payload: { auth: this.core.auth.sequence } });
  }

  error(code: string, fields: Partial<ProtocolError> = {}): Effect[] {
    return this.receive({ type: "error", payload: { code, message: code, ...fields } });
  }

  refusedPost(clientId: string, reason: string): Effect[] {
    return this.receive({ type: "receipt", payload: { client_id: clientId, status: "rejected", reason } });
  }

  /** What the app's `refreshToken` brought; null with `failed` is a throw. */
  answer(value: string | null, failed = false): Effect[] {
    return this.feed({ type: "token_answer", round: this.core.auth.round, token: value, failed });
  }

  /** Lets time pass on a connection that the server keeps alive. */
  idle(ms: number): Effect[] {
    const all: Effect[] = [];
    for (let left = ms; left > 0; left -= 20_000) {
      all.push(...this.pass(Math.min(left, 20_000)), ...this.receive({ type: "pong", payload: {} }));
    }
    return all;
  }

  /** Lets time pass up to the next question for a token, at most 15 s; false when none comes. */
  untilAsked(effects: Effect[]): boolean {
    if (asks(effects) > 0) return true;
    for (let n = 0; n < 150; n += 1) if (asks(this.pass(100)) > 0) return true;
    return false;
  }

  /** Lets time pass, with every deadline on the way; returns all that happened. */
  pass(ms: number): Effect[] {
    const untilMs = this.nowMs + ms;
    const all: Effect[] = [];
    for (let due = this.core.nextDeadlineMs(); due !== null && due <= untilMs; due = this.core.nextDeadlineMs()) {
      this.nowMs = Math.max(this.nowMs, due);
      all.push(...this.core.handle(this.nowMs, { type: "timer" }));
    }
    this.nowMs = untilMs;
    this.effects = all;
    return all;
  }

  lose(code = 1006): Effect[] {
    return this.feed({ type: "closed", code, reason: "" });
  }

  /** From `waiting` to joined again. */
  comeBack(answer: ServerMessage = joined()): Effect[] {
    this.pass((this.core.connection.state.retryAtMs ?? this.nowMs) - this.nowMs);
    const opened = this.feed({ type: "opened" });
    return [...opened, ...this.taken(), ...this.receive(answer)];
  }

  post(clientId: string, content: string): Effect[] {
    return this.feed({ type: "post", streamId: "demo", clientId, content });
  }

  ids(): string[] {
    return this.core.views.get("demo")?.comments.map((held) => held.id) ?? [];
  }
}

export function sent(effects: Effect[], type?: ClientMessage["type"]): ClientMessage[] {
  return effects.flatMap((effect) =>
    effect.type === "send" && (type === undefined || effect.message.type === type) ? [effect.message] : [],
  );
}

export function asks(effects: Effect[]): number {
  return effects.filter((effect) => effect.type === "ask_token").length;
}

export function events<T extends keyof ChorusEvents>(effects: Effect[], type: T): ChorusEvents[T][] {
  const payloads = effects.flatMap((effect) =>
    effect.type === "emit" && effect.event.type === type ? [effect.event.payload] : [],
  );
  return payloads as ChorusEvents[T][];
}
