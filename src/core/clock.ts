/** Wall-clock time as file times need it. Injected, so that tests can decide what time it is. */
export interface Clock {
  /** Sets `sec` and `nsec` of `target` to now. */
  now(target: { sec: number; nsec: number }): void;
}

const NANOSECONDS_PER_SECOND = 1_000_000_000;

/**
 * The system's clock with the resolution of the monotonic one: `Date.now` counts milliseconds, too coarse for programs that
 * compare mtimes. Re-anchored every second, so that it follows adjustments of the system time.
 */
class SystemClock implements Clock {
  #anchorMonotonicNs = 0;
  #anchorSec = 0;
  #anchorNsec = 0;

  now(target: { sec: number; nsec: number }): void {
    const elapsedNs = Math.floor(performance.now() * 1e6) - this.#anchorMonotonicNs;
    if (elapsedNs > NANOSECONDS_PER_SECOND || this.#anchorSec === 0) {
      this.#anchor(target);
      return;
    }
    const nsec = this.#anchorNsec + elapsedNs;
    const carry = Math.floor(nsec / NANOSECONDS_PER_SECOND);
    target.sec = this.#anchorSec + carry;
    target.nsec = nsec - carry * NANOSECONDS_PER_SECOND;
  }

  #anchor(target: { sec: number; nsec: number }): void {
    const nowMs = Date.now();
    this.#anchorMonotonicNs = Math.floor(performance.now() * 1e6);
    this.#anchorSec = Math.floor(nowMs / 1000);
    this.#anchorNsec = (nowMs % 1000) * 1e6;
    target.sec = this.#anchorSec;
    target.nsec = this.#anchorNsec;
  }
}

export const systemClock: Clock = new SystemClock();
