/** What a comment's text may be, measured as the server measures it. */

const EDGES = /^\p{White_Space}+|\p{White_Space}+$/gu;
const LONE_SURROGATES = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/** Trims by the Unicode White_Space property (`String.trim` differs at U+0085 and U+FEFF) and replaces
 * half characters, which no UTF-8 frame can carry. */
export function cleanContent(text: string): string {
  return text.replace(LONE_SURROGATES, "\uFFFD").replace(EDGES, "");
}

/** Unicode scalar values after trimming: an emoji outside the BMP is one, not two. */
export function scalarCount(text: string): number {
  let count = 0;
  for (const _ of cleanContent(text)) count += 1;
  return count;
}
