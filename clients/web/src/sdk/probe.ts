/** What the choice of a PoP asks of the network and of the storage: the list, round trips, and what is kept for the next visit. */
import type { Clock } from "./clock.js";
import type { MeasuredPop, Pop, RememberedPops } from "./pops.js";
import type { Millis } from "./protocol.js";

export interface ProbeConfig {
  /** Requests that are measured for each PoP; the least counts. One more, which sets the connection up, does not. */
  probes: number;
  /** A request that takes longer has no answer. */
  timeoutMs: Millis;
  /** PoPs measured at once. */
  atOnce: number;
}

export const PROBE_DEFAULT: ProbeConfig = { probes: 3, timeoutMs: 2_000, atOnce: 4 };

const KEY = "chorus.pops";
/** PoPs that are read from a list. */
const POPS_MAX = 256;

/** `https://host` of `wss://host/v1/ws`. */
export function restUrl(socketUrl: string): string {
  const { protocol, host } = new URL(socketUrl);
  return `${protocol === "wss:" || protocol === "https:" ? "https:" : "http:"}//${host}`;
}

/** The socket of a PoP: its address with the path of the address that the client was given. */
export function socketUrl(popUrl: string, given: string): string {
  const { pathname, search } = new URL(given);
  return popUrl.replace(/^http/, "ws") + pathname + search;
}

async function get(url: string, clock: Clock, timeoutMs: Millis): Promise<string | null> {
  const abort = new AbortController();
  const cancel = clock.after(timeoutMs, () => abort.abort());
  try {
    const response = await fetch(url, { cache: "no-store", credentials: "omit", signal: abort.signal });
    // Read to its end, so that its connection can be used again.
    const text = await response.text();
    return response.ok ? text : null;
  } catch {
    return null;
  } finally {
    cancel();
  }
}

/** The list of the PoP at `base`; null when it gives none. */
export async function readPops(base: string, clock: Clock, timeoutMs: Millis): Promise<{ here: string; pops: Pop[] } | null> {
  const text = await get(`${base}/api/pops`, clock, timeoutMs);
  try {
    const { here, pops } = JSON.parse(text ?? "null") as { here: string; pops: Partial<Pop>[] };
    const known = pops.slice(0, POPS_MAX).flatMap(({ pop, region, url, connections, state }): Pop[] => {
      const own = url ?? (pop === here ? base : null);
      if (!pop || typeof own !== "string" || !/^https?:\/\//.test(own)) return [];
      return [{ pop, region: region ?? "", url: own.replace(/\/+$/, ""), connections: connections ?? 0, state: state ?? "serving" }];
    });
    return typeof here === "string" && known.length > 0 ? { here, pops: known } : null;
  } catch {
    return null;
  }
}

/** The least round trip to a PoP; null when it does not answer. */
async function roundTripMs(url: string, clock: Clock, config: ProbeConfig): Promise<Millis | null> {
  let least: Millis | null = null;
  for (let n = 0; n <= config.probes; n += 1) {
    const beganMs = clock.nowMs();
    if ((await get(`${url}/healthz`, clock, config.timeoutMs)) === null) break;
    const tookMs = Math.round((clock.nowMs() - beganMs) * 10) / 10;
    if (n > 0) least = Math.min(least ?? Infinity, tookMs);
  }
  return least;
}

/** The round trips by name, of those that answer. */
export async function measure(pops: readonly Pop[], clock: Clock, config: ProbeConfig): Promise<Map<string, Millis>> {
  const rtts = new Map<string, Millis>();
  const left = [...pops];
  const one = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      const rttMs = next.url === null ? null : await roundTripMs(next.url, clock, config);
      if (rttMs !== null) rtts.set(next.pop, rttMs);
    }
  };
  await Promise.all(Array.from({ length: config.atOnce }, one));
  return rtts;
}

export type PopStorage = Pick<Storage, "getItem" | "setItem">;

/** `localStorage`, where there is one and it may be used. */
export function defaultStorage(): PopStorage | null {
  try {
    return (globalThis as { localStorage?: Storage }).localStorage ?? null;
  } catch {
    return null;
  }
}

/** What was kept for this address and is young enough. */
export function recall(storage: PopStorage | null, from: string, nowMs: Millis, ageMs: Millis): RememberedPops | null {
  try {
    const kept = JSON.parse(storage?.getItem(KEY) ?? "null") as RememberedPops | null;
    const good = kept !== null && kept.from === from && Math.abs(nowMs - kept.atMs) < ageMs && kept.pops.every(isPop);
    return good ? kept : null;
  } catch {
    return null;
  }
}

function isPop({ pop, url, region }: MeasuredPop): boolean {
  return typeof pop === "string" && typeof region === "string" && typeof url === "string";
}

export function keep(storage: PopStorage | null, kept: RememberedPops | null): void {
  try {
    if (kept) storage?.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Storage may be full or denied: then the next visit measures first.
  }
}
