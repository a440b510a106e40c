import { rm } from 'node:fs/promises';
import { auditCache } from '../blocks/index.js';
import { auditLocalManifests, dropLocalManifest, fetchManifest } from '../manifest/index.js';
import { nameOf, type CheckParts } from './check-parts.js';

/** The cached blocks of the home: each is only a copy. Returns how many there are. */
export async function checkCache({ cacheDir, reporter, step }: CheckParts): Promise<number> {
  let count = 0;
  for await (const { id, path, bytes, sound } of auditCache(cacheDir)) {
    count += 1;
    await step(bytes);
    if (sound) continue;
    await reporter.found(
      {
        place: 'cache',
        what: `cached block ${id} is not what was fetched`,
        advice: 'it is fetched again when it is read; cairn fsck --repair removes it now',
      },
      async () => {
        await rm(path, { force: true });
        return true;
      },
    );
  }
  return count;
}

/** The home's copies of manifests. Returns how many there are. */
export async function checkLocalManifests(parts: CheckParts): Promise<number> {
  const { manifestDir, reporter, source, objects } = parts;
  let count = 0;
  for await (const { root, state } of auditLocalManifests(manifestDir)) {
    count += 1;
    await parts.step();
    if (state !== 'damaged') continue;
    await reporter.found(
      {
        place: 'manifests',
        what: `the copy of manifest ${root} in ${manifestDir} does not verify`,
        versions: parts.versions.filter((version) => version.root === root).map(nameOf),
        advice: 'it is fetched again when it is used; cairn fsck --repair does so now',
      },
      async () => {
        await dropLocalManifest(manifestDir, root);
        // A mount that is in use looks for it under this name.
        await fetchManifest({ root, dir: manifestDir, blocks: source, objects });
        return true;
      },
    );
  }
  return count;
}
