import { join } from 'node:path';

/** Where things are in the home folder: everything local is below it, whoever uses it. */
export const homeLayout = {
  config: (home: string): string => join(home, 'config.json'),
  store: (home: string): string => join(home, 'store'),
  catalog: (home: string): string => join(home, 'catalog.sqlite'),
  cache: (home: string): string => join(home, 'cache'),
  manifests: (home: string): string => join(home, 'manifests'),
  mounts: (home: string): string => join(home, 'mounts'),
  log: (home: string): string => join(home, 'log'),
};
