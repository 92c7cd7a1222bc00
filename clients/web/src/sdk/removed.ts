/** Ids of comments that were taken away: none of them may be shown again, whatever still brings it. */

/** Ids remembered; at the bound the oldest is forgotten. */
export const REMOVED_MAX = 10_000;

export class RemovedIds {
  private readonly ids = new Set<string>();
  private readonly max: number;

  constructor(max: number = REMOVED_MAX) {
    this.max = max;
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  add(id: string): void {
    this.ids.add(id);
    for (const oldest of this.ids) {
      if (this.ids.size <= this.max) return;
      this.ids.delete(oldest);
    }
  }

  /** False when it was not there. */
  delete(id: string): boolean {
    return this.ids.delete(id);
  }
}
