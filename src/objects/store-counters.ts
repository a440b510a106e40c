import type { StoreCounters } from './object-store.js';

export function newStoreCounters(): StoreCounters {
  return { requests: { get: 0, put: 0, head: 0, list: 0, delete: 0 }, retries: 0, bytesIn: 0, bytesOut: 0 };
}
