import t from 'tap';
import { ScanDetector } from '../../src/fuse/scan-detector.js';

/** A directory of files whose inodes are `directory * 100 + n`, listed in one reply. */
function list(detector: ScanDetector, directory: number, files = 10): number {
  detector.beginListing();
  for (let n = 0; n < files; n++) detector.addFile(directory * 100 + n, 3 + n);
  return detector.endListing(directory, 2 + files)?.listing ?? 0;
}

/** Makes the detector see a scan; the next directory is number 10. */
function beginScan(detector: ScanDetector): void {
  for (const directory of [1, 2, 3]) {
    const listing = list(detector, directory);
    detector.read(directory * 100, listing);
    if (detector.read(directory * 100 + 1, listing) !== undefined) detector.setOffered(listing);
  }
}

t.test('who only lists is offered nothing', async (t) => {
  const detector = new ScanDetector();
  for (let directory = 1; directory < 200; directory++) {
    list(detector, directory);
    t.equal(detector.continued(directory, 12), undefined);
  }
});

t.test('the second read of a directory offers the rest of it, in the direction of the reader', async (t) => {
  const detector = new ScanDetector();
  const forwards = list(detector, 1);
  t.equal(detector.read(100, forwards), undefined);
  const offering = detector.read(101, forwards);
  t.match(offering, { listing: forwards, directory: 1, files: 10, step: 1 });
  t.same([detector.inoAt(offering?.at ?? 0), detector.cookieAt(offering?.at ?? 0)], [100, 3]);
  detector.setOffered(forwards);
  t.equal(detector.read(102, forwards), undefined, 'once');
  const backwards = list(detector, 2);
  detector.read(209, backwards);
  const reversed = detector.read(208, backwards);
  t.match(reversed, { directory: 2, files: 10, step: -1 });
  t.equal(detector.inoAt(reversed?.at ?? 0), 209);
});

t.test(
  'a scan gets what was listed as soon as its listing goes on, but for a probe now and then',
  async (t) => {
    const detector = new ScanDetector();
    beginScan(detector);
    const offered: number[] = [];
    for (let directory = 10; directory < 26; directory++) {
      const listing = list(detector, directory);
      t.equal(detector.continued(directory, 11), undefined, 'of no other reply');
      offered.push(detector.continued(directory, 12)?.files ?? 0);
      detector.setOffered(listing);
      t.equal(detector.continued(directory, 12), undefined, 'once');
    }
    t.same([...new Set(offered)].sort(), [10, 9].sort());
    t.equal(offered.filter((files) => files === 9).length, 2, 'every eighth is a probe');
  },
);

t.test('a scan is over when no probe is asked for', async (t) => {
  const detector = new ScanDetector();
  beginScan(detector);
  let directory = 10;
  list(detector, directory);
  while (detector.continued(directory, 12) !== undefined && directory < 1000) list(detector, ++directory);
  t.ok(directory > 50 && directory < 100, `after ${String(directory - 10)} directories`);
  beginScan(detector);
  for (directory = 10; directory < 300; directory++) {
    const listing = list(detector, directory);
    if (directory % 8 === 0) detector.read(directory * 100, listing);
  }
  list(detector, directory);
  t.ok(detector.continued(directory, 12), 'and goes on while they are');
});

t.test('a tree that was listed long ago is offered as it is read', async (t) => {
  const detector = new ScanDetector();
  const listings = Array.from({ length: 10_000 }, (_, index) => list(detector, index + 1));
  let reads = 0;
  for (const [index, listing] of listings.entries()) {
    for (let n = 0; n < 10; n++) {
      reads += 1;
      if (detector.read((index + 1) * 100 + n, listing) === undefined) continue;
      detector.setOffered(listing);
      break;
    }
  }
  t.ok(reads < 10_010, `${String(reads)} reads of 100,000 files`);
});

t.test('files of a listing that was not completed are in no other', async (t) => {
  const detector = new ScanDetector();
  detector.beginListing();
  detector.addFile(7, 3);
  detector.beginListing();
  t.equal(detector.endListing(1, 3), undefined);
});
