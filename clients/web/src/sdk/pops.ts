/**
 * Which PoP to be at: the nearest by measured round trip, another one when it dies. Decides only: `client.ts` asks for the list,
 * measures and connects. Times are those of a clock that nobody sets.
 */
import type { Millis } from "./protocol.js";

/** A PoP as `GET /api/pops` lists it. */
export interface Pop {
  pop: string;
  region: string;
  /** Without a slash at its end. Null: the address that the client was given. */
  url: string | null;
  connections: number;
  state: "serving" | "draining" | (string & {});
}

export interface MeasuredPop extends Pop {
  /** The least of several round trips; null when it did not answer, or was not asked. */
  rttMs: Millis | null;
}

/** Where the viewer is; null before the first list. */
export interface PopState {
  pop: string;
  region: string;
  rttMs: Millis | null;
  /** The user's choice, not that of the measurements. */
  chosen: boolean;
  /** Where it goes when this one dies. */
  backup: string | null;
  /** All of them, in the order of the list. */
  pops: readonly MeasuredPop[];
}

export interface PopsConfig {
  /** Round trips that differ by no more than this are equal. */
  nearMs: Millis;
  /** A backup of another region is preferred when it is no further than this behind the nearest other one. */
  backupMs: Millis;
  /** Between two looks: at first, and at most. It doubles with each look that finds nothing nearer: all viewers look at all PoPs. */
  lookMs: Millis;
  lookMsMax: Millis;
  /** Between the looks that are to confirm that another one is nearer. */
  confirmMs: Millis;
  /** A nearer one is moved to when so many looks in a row have found it. */
  looksToMove: number;
  /** After a failure a PoP is the last to be tried, and not moved to, for this long. */
  avoidMs: Millis;
  /** How long the choice is remembered. */
  rememberMs: Millis;
  /** PoPs measured in one look; of more, the first of the list. */
  probesMax: number;
}

export const POPS_DEFAULT: PopsConfig = {
  nearMs: 10,
  backupMs: 100,
  lookMs: 180_000,
  lookMsMax: 1_800_000,
  confirmMs: 20_000,
  looksToMove: 3,
  avoidMs: 600_000,
  rememberMs: 86_400_000,
  probesMax: 32,
};

/** What is kept for the next visit. `atMs` is the time of day. */
export interface RememberedPops {
  from: string;
  atMs: Millis;
  /** Null: the given address is good. */
  current: string | null;
  chosen: boolean;
  pops: MeasuredPop[];
}

/** The address that the client was given, as the last resort among the PoPs. */
const GIVEN = "";
const GOING_AWAY = 1001;

/** The nearest that answers; of those that are equally near the present one, or else the one with the fewest connections. */
export function nearest(pops: readonly MeasuredPop[], current: string | null, nearMs: Millis): MeasuredPop | null {
  const up = pops.filter((one) => one.state !== "draining" && one.rttMs !== null);
  const bestMs = Math.min(...up.map(rtt));
  const near = up.filter((one) => rtt(one) <= bestMs + nearMs);
  const least = sorted(near, (one) => one.connections)[0] ?? null;
  return near.find((one) => one.pop === current) ?? least;
}

/** Where to go from `current`: the next nearest, of another region where one is within reason. */
export function backupFor(pops: readonly MeasuredPop[], current: MeasuredPop | null, backupMs: Millis): MeasuredPop | null {
  const others = sorted(pops.filter((one) => one.pop !== current?.pop && one.state !== "draining"), rtt);
  const [first] = others;
  if (!first) return null;
  const reach = Math.max(rtt(first), current ? rtt(current) : 0) + backupMs;
  return others.find((one) => one.region !== current?.region && rtt(one) <= reach) ?? first;
}

function rtt(pop: MeasuredPop): number {
  return pop.rttMs ?? Infinity;
}

/** The least first; equals keep their order. Infinite ones are equal. */
function sorted<T>(all: readonly T[], key: (one: T) => number): T[] {
  return [...all].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

export class Pops {
  /** Where it is to go when nothing is being written; null when it is to stay. */
  wanted: string | null = null;
  /** There are addresses to be tried besides the given one. A PoP that has always been alone is at that. */
  hasOther = false;
  private list: MeasuredPop[] = [];
  private current: MeasuredPop | null = null;
  /** It is at the address of `current`, not at the given one: that may have another name, and be the only way to it from here. */
  private roamed = false;
  private chosen = false;
  /** There was a choice: from here on only what is clearly nearer, several times, is moved to. */
  private settled = false;
  private lookAtMs: Millis | null = null;
  /** Looks in a row that found nothing nearer. */
  private calm = 0;
  private changed = false;
  private told = "";
  private nearer: { pop: string; looks: number } | null = null;
  private readonly failedAtMs = new Map<string, Millis>();
  private readonly config: PopsConfig;
  private readonly random: () => number;

  constructor(config: PopsConfig, random: () => number, remembered: RememberedPops | null) {
    this.config = config;
    this.random = random;
    if (!remembered) return;
    this.list = remembered.pops;
    this.hasOther = true;
    this.current = this.find(remembered.current ?? GIVEN);
    this.roamed = this.current !== null;
    this.chosen = remembered.chosen && this.roamed;
    this.settled = this.roamed;
  }

  get state(): PopState | null {
    const { current, chosen, list } = this;
    if (!current) return null;
    const { pop, region, rttMs } = current;
    return { pop, region, rttMs, chosen, backup: this.backup()?.pop ?? null, pops: list };
  }

  /** Null: the address that the client was given. */
  get url(): string | null {
    return this.roamed ? (this.current?.url ?? null) : null;
  }

  /** What is to be told, when it is not what was told last. */
  news(): PopState | null {
    if (!this.changed) return null;
    this.changed = false;
    const { state } = this;
    const told = JSON.stringify(state);
    if (told === this.told) return null;
    this.told = told;
    return state;
  }

  nextDeadlineMs(): Millis | null {
    return this.lookAtMs;
  }

  isDue(nowMs: Millis): boolean {
    return this.lookAtMs !== null && nowMs >= this.lookAtMs;
  }

  opened(nowMs: Millis): void {
    this.calm = 0;
    this.failedAtMs.delete(this.roamed ? (this.current?.pop ?? GIVEN) : GIVEN);
    // The first look is at once. Those of viewers that a dead PoP has sent to the same other one are not.
    this.lookAtMs = this.settled ? nowMs + Math.round(this.random() * this.config.confirmMs) : nowMs;
  }

  /** There is no connection now: nothing is asked and nothing measured. */
  rest(): void {
    this.lookAtMs = null;
    this.wanted = null;
  }

  /** The connection was lost, or did not open. A lost one is tried once more, unless the PoP has said that it goes. */
  lost(nowMs: Millis, code: number | null, wasOpen: boolean): void {
    if ((wasOpen && code !== GOING_AWAY) || !this.hasOther) return;
    if (!this.roamed) this.failedAtMs.set(GIVEN, nowMs);
    if (this.current) this.failedAtMs.set(this.current.pop, nowMs);
    this.chosen = false;
    this.be(this.elsewhere(nowMs));
  }

  /** The list is asked for. The next look comes also when there is no answer. */
  look(nowMs: Millis): void {
    const { lookMs, lookMsMax } = this.config;
    this.lookAtMs = nowMs + Math.round(Math.min(lookMs * 2 ** this.calm, lookMsMax) * (0.75 + this.random() / 2));
  }

  /** The list came, from `here`. What was measured before is kept until it is measured again; false when that is of no use. */
  heard(here: string, pops: Pop[]): boolean {
    this.changed = true;
    this.list = pops.map((pop) => ({ ...pop, rttMs: this.find(pop.pop)?.rttMs ?? null }));
    if (!this.roamed) this.failedAtMs.delete(here);
    // A PoP that is not listed (any more), and that this client is connected to all the same, is where it is.
    this.current = this.find(this.roamed ? (this.current?.pop ?? here) : here) ?? this.current;
    const several = pops.length > 1;
    this.hasOther ||= several;
    return several;
  }

  toProbe(): MeasuredPop[] {
    return this.list.filter((one) => one.state !== "draining").slice(0, this.config.probesMax);
  }

  /** The round trips of a look, by name; what is not among them did not answer. */
  probed(nowMs: Millis, rtts: ReadonlyMap<string, Millis>): void {
    this.changed = true;
    this.list = this.list.map((one) => ({ ...one, rttMs: rtts.get(one.pop) ?? null }));
    this.current = this.find(this.current?.pop ?? GIVEN) ?? this.current;
    this.consider(nowMs);
    this.settled = true;
  }

  /** The user's choice; null lets the measurements choose again. False when there is no such PoP. */
  choose(nowMs: Millis, name: string | null): boolean {
    const target = name === null ? this.best(nowMs) : this.find(name);
    this.changed = true;
    this.nearer = null;
    this.wanted = null;
    this.chosen = name !== null && target !== null;
    if (!target || target.pop === this.current?.pop) return false;
    this.be(target);
    return true;
  }

  /** Nothing is being written: what was found to be nearer is where the viewer is from here on. */
  go(): boolean {
    const target = this.find(this.wanted ?? GIVEN);
    this.wanted = null;
    this.nearer = null;
    if (target) this.be(target);
    return target !== null;
  }

  remembered(from: string, atMs: Millis): RememberedPops | null {
    if (!this.hasOther) return null;
    return { from, atMs, current: this.roamed ? (this.current?.pop ?? null) : null, chosen: this.chosen, pops: this.list };
  }

  /** Null: at the given address. */
  private be(target: MeasuredPop | null): void {
    this.changed = true;
    this.current = target;
    this.roamed = target !== null;
  }

  private consider(nowMs: Millis): void {
    const best = this.chosen ? null : this.best(nowMs);
    this.wanted = null;
    if (!best || best.pop === this.current?.pop) {
      this.nearer = null;
      this.calm = Math.min(this.calm + 1, 16);
      return;
    }
    this.calm = 0;
    const looks = this.nearer?.pop === best.pop ? this.nearer.looks + 1 : 1;
    this.nearer = { pop: best.pop, looks };
    if (!this.settled || looks >= this.config.looksToMove) this.wanted = best.pop;
    else this.lookAtMs = nowMs + Math.round(this.config.confirmMs * (0.5 + this.random()));
  }

  private best(nowMs: Millis): MeasuredPop | null {
    const good = this.list.filter((one) => this.failedAt(one.pop, nowMs) === 0);
    return nearest(good, this.current?.pop ?? null, this.config.nearMs);
  }

  private backup(): MeasuredPop | null {
    return backupFor(this.list, this.current, this.config.backupMs);
  }

  /** The next to try: what has not failed lately before what has, the backup first, the given address last; then around again. */
  private elsewhere(nowMs: Millis): MeasuredPop | null {
    const up = sorted(this.list.filter((one) => one.state !== "draining"), rtt);
    const backup = this.backup();
    const tries = [...(backup ? [backup] : []), ...up, null];
    return sorted(tries, (one) => this.failedAt(one?.pop ?? GIVEN, nowMs))[0] ?? null;
  }

  /** 0: not lately. */
  private failedAt(name: string, nowMs: Millis): Millis {
    const atMs = this.failedAtMs.get(name) ?? -Infinity;
    return nowMs - atMs < this.config.avoidMs ? atMs : 0;
  }

  private find(name: string): MeasuredPop | null {
    return this.list.find((one) => one.pop === name) ?? null;
  }
}
