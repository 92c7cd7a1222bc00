/** A viewer over real sockets to the fake server, with a clock that the test may hold. */
import assert from "node:assert/strict";
import { WebSocket as NodeWebSocket } from "ws";
import type { Clock } from "../../src/sdk/clock.js";
import { AUTH_DEFAULT, Chorus, CONNECTION_DEFAULT, type ChorusOptions, type StreamHandle } from "../../src/sdk/index.js";
import type { FakeServer } from "../fake-server.mjs";

/** What is sent and received, by the type of the message. */
export class ListeningSocket extends NodeWebSocket {
  static sent: string[] = [];
  static received: string[] = [];
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    this.on("message", (data) => ListeningSocket.received.push((JSON.parse(String(data)) as { type: string }).type));
  }
  override send(data: unknown): void {
    ListeningSocket.sent.push((JSON.parse(String(data)) as { type: string }).type);
    super.send(data as string);
  }
}

export class ManualClock implements Clock {
  private monotonicMs = 5_000_000;
  private offsetMs = 0;
  private readonly timers = new Map<() => void, number>();

  nowMs(): number {
    return this.monotonicMs;
  }

  wallMs(): number {
    return this.monotonicMs + this.offsetMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = (): void => run();
    this.timers.set(timer, this.monotonicMs + ms);
    return () => this.timers.delete(timer);
  }

  /** Somebody sets the time of day. */
  set(byMs: number): void {
    this.offsetMs += byMs;
  }

  /** Time passes and timers run when they are due. */
  advance(ms: number): void {
    const untilMs = this.monotonicMs + ms;
    for (;;) {
      const [timer, dueMs] = [...this.timers].sort((a, b) => a[1] - b[1])[0] ?? [];
      if (timer === undefined || dueMs === undefined || dueMs > untilMs) break;
      this.monotonicMs = Math.max(this.monotonicMs, dueMs);
      this.timers.delete(timer);
      timer();
    }
    this.monotonicMs = untilMs;
  }

  /** The machine sleeps: no timer runs. `stopped` are the systems on which the monotonic clock does not go on either. */
  sleep(ms: number, stopped: boolean): void {
    if (stopped) this.offsetMs += ms;
    else this.monotonicMs += ms;
  }
}

const opened: Chorus[] = [];
export const stopAll = (): void => opened.splice(0).forEach((chorus) => chorus.stop());

export function viewer(server: FakeServer, streamId: string, options: Partial<ChorusOptions> = {}): { chorus: Chorus; stream: StreamHandle } {
  const backoff = { baseMs: 20, capMs: 100, overloadedMinMs: 50 };
  const chorus = new Chorus({
    url: `${server.url.replace("http", "ws")}/v1/ws`,
    WebSocket: ListeningSocket as unknown as typeof WebSocket,
    config: { connection: { ...CONNECTION_DEFAULT, backoff }, auth: { ...AUTH_DEFAULT, askAgainMs: 10 } },
    ...options,
  });
  opened.push(chorus);
  const stream = chorus.join(streamId);
  chorus.start();
  return { chorus, stream };
}

export async function until(what: string, check: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 15_000; !check(); await new Promise((done) => setTimeout(done, 5))) {
    assert.ok(Date.now() < deadline, `waited 15 s for ${what}`);
  }
}

export const texts = (stream: StreamHandle): string[] => stream.view?.comments.map((held) => held.content) ?? [];
export const statusOf = (stream: StreamHandle, clientId: string): string | undefined =>
  stream.posts.find((post) => post.clientId === clientId)?.status;
