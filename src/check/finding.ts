/** Where something is wrong. */
export type FindingPlace = 'catalog' | 'version' | 'store' | 'cache' | 'manifests' | 'mount';

/** One thing that is wrong. */
export interface Finding {
  place: FindingPlace;
  /** What is damaged, in one line. */
  what: string;
  /** The versions it concerns, as `name@7`. */
  versions: string[];
  /** Some of the paths it concerns, and how many there are. */
  paths: Buffer[];
  pathCount: number;
  /** What can be done about it. */
  advice: string;
  /** What a repair came to; undefined where none was asked for. */
  repaired?: boolean;
}

/** What a repair does about a finding: resolves with whether it is mended. */
export type Repair = () => Promise<boolean>;
