import type { StoreCounters } from './object-store.js';

export function newStoreCounters(): StoreCounters {
  const requests = { get: 0, put: 0, head: 0, list: 0, delete: 0 };
  return { requests, retries: 0, bytesIn: 0, bytesOut: 0, outage: undefined };
}
