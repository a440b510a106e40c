import { messageOf } from '../core/index.js';
import type { Finding, Repair } from './finding.js';

type NewFinding = Pick<Finding, 'place' | 'what' | 'advice'> & Partial<Finding>;

/** Takes findings as they are made, has them repaired where that was asked for, and passes them on. Keeps none. */
export class Reporter {
  readonly #repair: boolean;
  readonly #onFinding: (finding: Finding) => Promise<void>;
  #findings = 0;
  #repaired = 0;

  constructor(repair: boolean, onFinding: (finding: Finding) => Promise<void>) {
    this.#repair = repair;
    this.#onFinding = onFinding;
  }

  get findings(): number {
    return this.#findings;
  }

  get repaired(): number {
    return this.#repaired;
  }

  /**
   * `repair`: how, where there is a way. One that fails leaves everything as it was, and its reason in the advice. What there is no way for is
   * not passed on where repairs were asked for: the check that follows says what is left.
   */
  async found(given: NewFinding, repair?: Repair): Promise<void> {
    const finding: Finding = { versions: [], paths: [], pathCount: given.paths?.length ?? 0, ...given };
    this.#findings += 1;
    if (!this.#repair) {
      await this.#onFinding(finding);
      return;
    }
    try {
      finding.repaired = (await repair?.()) ?? false;
      if (!finding.repaired) return;
      this.#repaired += 1;
    } catch (error) {
      finding.repaired = false;
      finding.advice = `the repair failed: ${messageOf(error)}`;
    }
    await this.#onFinding(finding);
  }
}
