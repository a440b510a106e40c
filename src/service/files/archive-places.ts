import { availableParallelism } from 'node:os';
import { HttpProblem } from '../http-problem.js';

/** Archives are made by one thread, of blocks that each holds in memory: more at once would all be slower, for as long as their readers take. */
const ARCHIVES_MAX = Math.max(4, 2 * availableParallelism());

/** Most are done by then. */
const TRY_AGAIN_S = 5;

/** How many archives are being made at once. */
export class ArchivePlaces {
  #free = ARCHIVES_MAX;

  /** Takes a place, until the function it returns is called, once. Throws 503 when there is none. */
  take(): () => void {
    if (this.#free === 0) {
      throw new HttpProblem(503, 'busy', 'as many archives are being made as the service makes at once', {
        hint: 'try again in some seconds, or read files by their paths',
        headers: { 'retry-after': String(TRY_AGAIN_S) },
      });
    }
    this.#free -= 1;
    return () => {
      this.#free += 1;
    };
  }
}
