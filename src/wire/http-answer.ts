/** What `fetch` answers within `limitMs`; its body may take as long as it comes. */
export async function answerOf(
  url: URL | string,
  init: RequestInit,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const limit = new AbortController();
  const timer = setTimeout(() => {
    limit.abort(new Error(`no answer for ${String(limitMs / 1000)} s`));
  }, limitMs);
  try {
    return await fetch(url, {
      ...init,
      signal: signal === undefined ? limit.signal : AbortSignal.any([limit.signal, signal]),
    });
  } finally {
    clearTimeout(timer);
  }
}

/** The body, or undefined where it has more than `maxBytes`. */
export async function bodyWithin(response: Response, maxBytes: number): Promise<Buffer | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const body: AsyncIterable<Uint8Array> | null = response.body;
  if (body === null) return Buffer.alloc(0);
  for await (const part of body) {
    length += part.length;
    if (length > maxBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
