/** What REST says of a stream: its title and status before the socket has said them, or that there is none. */

export interface About {
  title: string | null;
  status: string | null;
  /** There is no stream of this id. */
  missing: boolean;
}

const UNKNOWN: About = { title: null, status: null, missing: false };

/** Never fails: what cannot be read is not known, and the socket will tell. */
export async function readAbout(base: string, streamId: string): Promise<About> {
  try {
    const response = await fetch(`${base}/api/streams/${encodeURIComponent(streamId)}`);
    if (response.status === 404) return { ...UNKNOWN, missing: true };
    if (!response.ok) return UNKNOWN;
    const { title, status } = (await response.json()) as { title?: unknown; status?: unknown };
    return { title: text(title), status: text(status), missing: false };
  } catch {
    return UNKNOWN;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
