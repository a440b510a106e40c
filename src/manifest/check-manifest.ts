import { BLOCK_MAX_BYTES, SYMLINK_MAX_BYTES, XATTR_VALUE_MAX_BYTES } from '../core/index.js';
import { ManifestQuery, openManifestDatabase } from './manifest-database.js';
import type { ManifestReader } from './manifest-reader.js';

/** One place where a manifest breaks a rule of FORMAT.md. */
export interface Violation {
  /** `M-3` */
  rule: string;
  what: string;
}

/** `select` finds a text for each place that breaks `rule`. */
interface Rule {
  rule: string;
  select: string;
}

const TYPE = '(mode & 0xF000)';
const REGULAR = `${TYPE} = 0x8000`;
const DIRECTORY = `${TYPE} = 0x4000`;
const SYMLINK = `${TYPE} = 0xA000`;
const UINT32 = 'BETWEEN 0 AND 4294967295';
const NANOSECONDS = 'BETWEEN 0 AND 999999999';
const SAFE_MAX = String(Number.MAX_SAFE_INTEGER);

const SECONDS = `BETWEEN -${SAFE_MAX} AND ${SAFE_MAX}`;

const RULES: readonly Rule[] = [
  {
    rule: 'M-2',
    select: `SELECT 'inode ' || ino || ' has a mode, owner, size, device number or time out of bounds' FROM inode
      WHERE ino < 1 OR ino > ${SAFE_MAX} OR mode NOT BETWEEN 0 AND 0xFFFF
         OR ${TYPE} NOT IN (0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xA000, 0xC000)
         OR uid NOT ${UINT32} OR gid NOT ${UINT32} OR rdev NOT ${UINT32}
         OR nlink NOT ${UINT32} OR nlink = 0 OR size NOT BETWEEN 0 AND ${SAFE_MAX}
         OR mtime NOT ${SECONDS} OR ctime NOT ${SECONDS} OR btime NOT ${SECONDS}
         OR mtime_nsec NOT ${NANOSECONDS} OR ctime_nsec NOT ${NANOSECONDS} OR btime_nsec NOT ${NANOSECONDS}`,
  },
  {
    rule: 'M-2',
    select: `SELECT 'inode ' || ino || ' has no content id though a regular file, or one though not' FROM inode
      WHERE CASE WHEN ${REGULAR} THEN length(content) IS NOT 32 ELSE content IS NOT NULL END`,
  },
  {
    rule: 'M-3',
    select: `SELECT 'inode 1 is not a directory' WHERE NOT EXISTS (SELECT 1 FROM inode WHERE ino = 1 AND ${DIRECTORY})`,
  },
  {
    rule: 'M-3',
    select: `WITH RECURSIVE reached(ino) AS
        (VALUES (1) UNION SELECT d.ino FROM reached JOIN dentry d ON d.parent = reached.ino)
      SELECT 'inode ' || ino || ' is not below the root' FROM inode WHERE ino NOT IN reached`,
  },
  {
    rule: 'M-3',
    select: `SELECT 'directory ' || ino || ' is named ' || (SELECT count(*) FROM dentry d WHERE d.ino = i.ino) || ' times'
      FROM inode i WHERE ${DIRECTORY} AND (SELECT count(*) FROM dentry d WHERE d.ino = i.ino) <> (ino <> 1)`,
  },
  {
    rule: 'M-3',
    select: `SELECT 'inode ' || ino || ' has nlink ' || nlink || ', not ' || expected FROM
      (SELECT ino, nlink, CASE WHEN ${DIRECTORY}
          THEN 2 + (SELECT count(*) FROM dentry d JOIN inode c ON c.ino = d.ino WHERE d.parent = i.ino
                    AND (c.mode & 0xF000) = 0x4000)
          ELSE (SELECT count(*) FROM dentry d WHERE d.ino = i.ino) END AS expected FROM inode i)
      WHERE nlink <> expected`,
  },
  {
    rule: 'M-3',
    select: `SELECT 'an entry of inode ' || parent || ' names inode ' || ino || ', which is not there' FROM dentry
      WHERE ino NOT IN (SELECT ino FROM inode)`,
  },
  {
    rule: 'M-4',
    select: `SELECT 'inode ' || parent || ' has entries but is no directory' FROM (SELECT DISTINCT parent FROM dentry)
      WHERE parent NOT IN (SELECT ino FROM inode WHERE ${DIRECTORY})`,
  },
  {
    rule: 'M-4',
    select: `SELECT 'inode ' || ino || ' has an impossible name in inode ' || parent FROM dentry
      WHERE length(name) NOT BETWEEN 1 AND 255 OR instr(name, x'00') > 0 OR instr(name, x'2f') > 0
         OR name IN (x'2e', x'2e2e')`,
  },
  { rule: 'M-4', select: `SELECT 'cookie ' || cookie || ' is below 3' FROM dentry WHERE cookie < 3` },
  {
    rule: 'M-4',
    select: `SELECT 'cookie ' || cookie || ' is not unique' FROM dentry GROUP BY cookie HAVING count(*) > 1`,
  },
  {
    rule: 'M-5',
    select: `SELECT 'inode ' || ino || ' has no target though a symbolic link, or one of a wrong length' FROM inode i
      LEFT JOIN symlink s USING (ino)
      WHERE ${SYMLINK} AND (target IS NULL OR length(target) <> size OR size NOT BETWEEN 1 AND ${String(SYMLINK_MAX_BYTES)}
        OR instr(target, x'00') > 0)`,
  },
  {
    rule: 'M-5',
    select: `SELECT 'inode ' || ino || ' has a target but is no symbolic link' FROM symlink
      WHERE ino NOT IN (SELECT ino FROM inode WHERE ${SYMLINK})`,
  },
  {
    rule: 'M-5',
    select: `SELECT 'inode ' || ino || ' has an extended attribute out of bounds, or is not there' FROM xattr
      WHERE length(name) NOT BETWEEN 1 AND 255 OR instr(name, x'00') > 0
         OR length(value) > ${String(XATTR_VALUE_MAX_BYTES)} OR ino NOT IN (SELECT ino FROM inode)`,
  },
  {
    rule: 'M-6',
    select: `SELECT 'block ' || idx || ' has no id of 32 bytes' FROM block WHERE length(id) <> 32`,
  },
  {
    rule: 'M-6',
    select: `SELECT 'inode ' || ino || ' has extents but is no regular file' FROM (SELECT DISTINCT ino FROM extent)
      WHERE ino NOT IN (SELECT ino FROM inode WHERE ${REGULAR})`,
  },
  {
    rule: 'M-6',
    select: `SELECT 'the extent at ' || offset || ' of inode ' || e.ino || ' is not within its file and its block'
      FROM extent e LEFT JOIN inode i ON i.ino = e.ino
      WHERE offset < 0 OR length < 1 OR length > i.size OR offset > i.size - length OR block_offset < 0
         OR length > ${String(BLOCK_MAX_BYTES)} OR block_offset > ${String(BLOCK_MAX_BYTES)} - length
         OR block NOT IN (SELECT idx FROM block)`,
  },
  {
    rule: 'M-6',
    select: `SELECT 'the extent at ' || offset || ' of inode ' || ino || ' overlaps the one before' FROM
      (SELECT ino, offset, lag(offset + length) OVER (PARTITION BY ino ORDER BY offset) AS before FROM extent)
      WHERE offset < before`,
  },
  {
    rule: 'M-7',
    select: `SELECT 'the embedded bytes of inode ' || e.ino || ' are not its size, or it is no regular file without extents'
      FROM embedded e LEFT JOIN inode i ON i.ino = e.ino
      WHERE i.ino IS NULL OR NOT ${REGULAR} OR length(bytes) <> size OR e.ino IN (SELECT ino FROM extent)`,
  },
  {
    rule: 'M-8',
    select: `SELECT 'meta ' || key || ' is ' || value || ', not ' || expected FROM meta JOIN
      (SELECT 'files' AS key, (SELECT count(*) FROM inode WHERE ${REGULAR}) AS expected
       UNION ALL SELECT 'directories', (SELECT count(*) FROM inode WHERE ${DIRECTORY})
       UNION ALL SELECT 'others', (SELECT count(*) FROM inode WHERE NOT (${REGULAR} OR ${DIRECTORY}))
       UNION ALL SELECT 'bytes', (SELECT coalesce(sum(size), 0) FROM inode WHERE ${REGULAR})) USING (key)
      WHERE value <> expected`,
  },
  {
    rule: 'M-8',
    select: `SELECT 'meta ' || key || ' is ' || value || ', not above ' || highest FROM meta JOIN
      (SELECT 'next_ino' AS key, (SELECT max(ino) FROM inode) AS highest
       UNION ALL SELECT 'next_cookie', (SELECT max(cookie) FROM dentry)) USING (key)
      WHERE value <= highest`,
  },
];

/**
 * Every place where a manifest breaks a rule M-1 to M-8, on a connection of its own. Takes a pass over each
 * table for each rule: for fsck and tests. Throws `CairnError('corrupt')` where the file is too damaged to be
 * asked.
 */
export function* checkManifest(reader: ManifestReader): IterableIterator<Violation> {
  const { database } = openManifestDatabase(reader.path);
  try {
    for (const [what] of new ManifestQuery(database, reader.path, 'PRAGMA integrity_check').each()) {
      if (what !== 'ok') yield { rule: 'M-1', what: String(what) };
    }
    for (const { rule, select } of RULES) {
      for (const [what] of new ManifestQuery(database, reader.path, select).each()) {
        yield { rule, what: String(what) };
      }
    }
  } finally {
    database.close();
  }
}
