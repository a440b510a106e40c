/** What a step cost besides time: counted, so that another program on the machine does not change it. */
export interface Costs {
  /** Requests of the kernel by opcode. */
  fuse: Record<string, number>;
  store: StoreCosts;
}

interface StoreCosts {
  requests: number;
  bytesIn: number;
  bytesOut: number;
}

export function costsBetween(before: Costs, after: Costs): Costs {
  const fuse: Record<string, number> = {};
  for (const [opcode, count] of Object.entries(after.fuse)) {
    const more = count - (before.fuse[opcode] ?? 0);
    if (more > 0) fuse[opcode] = more;
  }
  return {
    fuse,
    store: {
      requests: after.store.requests - before.store.requests,
      bytesIn: after.store.bytesIn - before.store.bytesIn,
      bytesOut: after.store.bytesOut - before.store.bytesOut,
    },
  };
}
