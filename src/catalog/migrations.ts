import { randomUUID } from 'node:crypto';
import { Migrator, type ColumnDefinitionBuilder, type Kysely, type Migration } from 'kysely';
import { CairnError } from '../core/index.js';
import { sealedTag, sealedVersion, sealedWorkspace } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';

/** What column definitions need to know of a dialect; everything else of the schema is common SQL. */
export interface SchemaDialect {
  /** The type of a column of bytes, compared byte by byte. */
  bytesType: 'blob' | 'bytea';
  /** Makes an integer column a primary key that counts by itself. */
  identity: (column: ColumnDefinitionBuilder) => ColumnDefinitionBuilder;
}

/**
 * Brings the schema to this release's. Any number of processes may do so at once; each migration happens once, whole. A
 * catalog that needs none is only read.
 * @throws CairnError `unsupported` when a newer release has migrated the catalog further; nothing is changed then.
 */
export async function migrateToLatest(
  db: Kysely<CatalogSchema>,
  dialect: SchemaDialect,
  url: string,
): Promise<void> {
  const migrations = catalogMigrations(dialect);
  if (!(await isBehind(db, migrations, url))) return;
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  // A newer release may have come first.
  await isBehind(db, migrations, url);
  throw error instanceof Error ? error : new Error('the migrations failed', { cause: error });
}

/** Whether there is a catalog of this release. Only reads. Throws `unsupported` for one of an earlier or a later release. */
export async function isMigrated(
  db: Kysely<CatalogSchema>,
  dialect: SchemaDialect,
  url: string,
): Promise<boolean> {
  if (!(await isBehind(db, catalogMigrations(dialect), url))) return true;
  if ((await executedMigrations(db)).length === 0) return false;
  throw new CairnError('unsupported', `${url} was written by an earlier release`, {
    hint: 'any command that uses it, as cairn log, brings it to this one',
  });
}

async function isBehind(
  db: Kysely<CatalogSchema>,
  migrations: Record<string, Migration>,
  url: string,
): Promise<boolean> {
  const executed = await executedMigrations(db);
  const unknown = executed.find((name) => !Object.hasOwn(migrations, name));
  if (unknown !== undefined) {
    throw new CairnError('unsupported', `${url} was written by a newer release (migration ${unknown})`, {
      hint: 'upgrade CairnFS on this machine',
    });
  }
  return Object.keys(migrations).some((name) => !executed.includes(name));
}

async function executedMigrations(db: Kysely<CatalogSchema>): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === 'kysely_migration')) return [];
  const rows = await db
    .withTables<{ kysely_migration: { name: string } }>()
    .selectFrom('kysely_migration')
    .select('name')
    .execute();
  return rows.map((row) => row.name);
}

/** Run in the order of their names. A migration that was released never changes; what it got wrong the next one mends. */
export function catalogMigrations(dialect: SchemaDialect): Record<string, Migration> {
  return {
    '0001_catalog': {
      up: async (db: Kysely<unknown>) => {
        await createVersions(db, dialect);
        await createContent(db, dialect);
        await createFiles(db, dialect);
        await createAccess(db, dialect);
      },
    },
    '0002_reserved_numbers': {
      up: async (db: Kysely<unknown>) => {
        await db.schema
          .alterTable('workspace')
          .addColumn('next_number', 'bigint', (column) => column.notNull().defaultTo(0))
          .execute();
      },
    },
    '0003_service': {
      up: async (db: Kysely<unknown>) => {
        await extendWorkspaces(db);
        await createTokens(db, dialect);
        await createAudit(db, dialect);
      },
    },
    '0004_block_access': {
      up: async (db: Kysely<unknown>) => {
        await createBlockAccess(db, dialect);
      },
    },
    '0005_open_commits': {
      up: async (db: Kysely<unknown>) => {
        await createCommits(db, dialect);
      },
    },
    '0006_fork_base': {
      up: async (db: Kysely<unknown>) => {
        await addBase(db);
      },
    },
    '0007_row_checksums': {
      up: async (db: Kysely<unknown>) => {
        await addChecksums(db);
      },
    },
    '0008_workspace_checksum': {
      up: async (db: Kysely<unknown>) => {
        await addWorkspaceChecksum(db);
      },
    },
  };
}

/** Workspaces that are there get a generation each, which no default can give. */
async function extendWorkspaces(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('workspace')
    .addColumn('generation', 'text', (column) => column.notNull().defaultTo(''))
    .execute();
  await db.schema
    .alterTable('workspace')
    .addColumn('read_only', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema.alterTable('workspace').addColumn('quota_bytes', 'bigint').execute();
  await db.schema.alterTable('workspace').addColumn('trashed_at_ms', 'bigint').execute();
  const workspaces = db.withTables<{ workspace: { id: number; generation: string } }>();
  for (const { id } of await workspaces.selectFrom('workspace').select('id').execute()) {
    await workspaces
      .updateTable('workspace')
      .set({ generation: randomUUID() })
      .where('id', '=', id)
      .execute();
  }
}

/** The tables of the first migration were never written to. */
async function createTokens(db: Kysely<unknown>, { bytesType }: SchemaDialect): Promise<void> {
  await db.schema.dropTable('token').execute();
  await db.schema
    .createTable('token')
    .addColumn('id', 'text', (column) => column.notNull().primaryKey())
    .addColumn('public_key', bytesType, (column) => column.notNull())
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('workspace_glob', 'text', (column) => column.notNull())
    .addColumn('path', bytesType, (column) => column.notNull())
    .addColumn('can', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute();
}

async function createAudit(db: Kysely<unknown>, { identity }: SchemaDialect): Promise<void> {
  await db.schema.dropTable('audit').execute();
  await db.schema
    .createTable('audit')
    .addColumn('id', 'integer', identity)
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('token_id', 'text')
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('workspace', 'text')
    .addColumn('target', 'text')
    .addColumn('status', 'integer')
    .addColumn('count', 'bigint', (column) => column.notNull())
    .addColumn('request_id', 'text', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('audit_at').on('audit').column('at_ms').execute();
  await db.schema.createIndex('audit_workspace').on('audit').columns(['workspace', 'id']).execute();
}

/** By block first: who asks for one names it, and not always the workspace. */
async function createBlockAccess(db: Kysely<unknown>, { bytesType }: SchemaDialect): Promise<void> {
  await db.schema
    .alterTable('workspace')
    .addColumn('recorded_seq', 'bigint', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema
    .createTable('workspace_block')
    .addColumn('block', bytesType, (column) => column.notNull())
    .addColumn('workspace_id', 'integer', (column) =>
      column.notNull().references('workspace.id').onDelete('cascade'),
    )
    .addPrimaryKeyConstraint('workspace_block_pk', ['block', 'workspace_id'])
    .execute();
  await db.schema.createIndex('workspace_block_of').on('workspace_block').column('workspace_id').execute();
  await db.schema
    .createTable('upload')
    .addColumn('id', bytesType, (column) => column.notNull())
    .addColumn('workspace_id', 'integer', (column) =>
      column.notNull().references('workspace.id').onDelete('cascade'),
    )
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('upload_pk', ['id', 'workspace_id'])
    .execute();
  await db.schema.createIndex('upload_at').on('upload').column('at_ms').execute();
  await db.schema.createIndex('upload_of').on('upload').column('workspace_id').execute();
  await db.schema.createIndex('version_root').on('version').column('root').execute();
}

/** What a commit is to change can be long: it is kept in parts. */
async function createCommits(db: Kysely<unknown>, { bytesType }: SchemaDialect): Promise<void> {
  await db.schema
    .createTable('open_commit')
    .addColumn('id', 'text', (column) => column.notNull().primaryKey())
    .addColumn('workspace_id', 'integer', (column) =>
      column.notNull().references('workspace.id').onDelete('cascade'),
    )
    .addColumn('key', 'text', (column) => column.notNull())
    .addColumn('base_seq', 'bigint', (column) => column.notNull())
    .addColumn('author', 'text', (column) => column.notNull())
    .addColumn('message', 'text', (column) => column.notNull())
    .addColumn('digest', bytesType, (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('seq', 'bigint')
    .addUniqueConstraint('open_commit_key', ['workspace_id', 'key'])
    .execute();
  await db.schema.createIndex('open_commit_end').on('open_commit').column('expires_at_ms').execute();
  await db.schema
    .createTable('commit_part')
    .addColumn('commit_id', 'text', (column) =>
      column.notNull().references('open_commit.id').onDelete('cascade'),
    )
    .addColumn('ordinal', 'integer', (column) => column.notNull())
    .addColumn('bytes', bytesType, (column) => column.notNull())
    .addPrimaryKeyConstraint('commit_part_pk', ['commit_id', 'ordinal'])
    .execute();
}

/** Forks that are there have all rows of their own. By the base: who deletes one looks for its forks. */
async function addBase(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('workspace')
    .addColumn('base_workspace_id', 'integer', (column) => column.references('workspace.id'))
    .execute();
  await db.schema.alterTable('workspace').addColumn('base_seq', 'bigint').execute();
  await db.schema
    .alterTable('workspace')
    .addColumn('purged', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema
    .createIndex('workspace_base')
    .on('workspace')
    .columns(['base_workspace_id', 'base_seq'])
    .execute();
}

/** Rows that are there are taken for what they should be. */
async function addChecksums(db: Kysely<unknown>): Promise<void> {
  for (const table of ['version', 'tag']) {
    await db.schema
      .alterTable(table)
      .addColumn('checksum', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
  }
  const tables = db.withTables<Pick<CatalogSchema, 'version' | 'tag'>>();
  const workspaces = await tables.selectFrom('version').select('workspace_id').distinct().execute();
  for (const { workspace_id } of workspaces) {
    const ofWorkspace = tables.selectFrom('version').selectAll().where('workspace_id', '=', workspace_id);
    for (const row of await ofWorkspace.execute()) {
      const { author, message, checksum } = sealedVersion(row);
      await tables
        .updateTable('version')
        .set({ author, message, checksum })
        .where('workspace_id', '=', workspace_id)
        .where('seq', '=', row.seq)
        .execute();
    }
  }
  for (const row of await tables.selectFrom('tag').selectAll().execute()) {
    await tables
      .updateTable('tag')
      .set({ checksum: sealedTag(row).checksum })
      .where('workspace_id', '=', row.workspace_id)
      .where('name', '=', row.name)
      .execute();
  }
}

/** As `addChecksums`. */
async function addWorkspaceChecksum(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('workspace')
    .addColumn('checksum', 'bigint', (column) => column.notNull().defaultTo(0))
    .execute();
  const tables = db.withTables<Pick<CatalogSchema, 'workspace'>>();
  for (const row of await tables.selectFrom('workspace').selectAll().execute()) {
    await tables
      .updateTable('workspace')
      .set({ checksum: sealedWorkspace(row).checksum })
      .where('id', '=', row.id)
      .execute();
  }
}

async function createVersions(db: Kysely<unknown>, { bytesType, identity }: SchemaDialect): Promise<void> {
  await db.schema
    .createTable('workspace')
    .addColumn('id', 'integer', identity)
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('head_seq', 'bigint', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('version')
    .addColumn('workspace_id', 'integer', (column) => column.notNull().references('workspace.id'))
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('parent_seq', 'bigint', (column) => column.notNull())
    .addColumn('root', bytesType, (column) => column.notNull())
    .addColumn('author', 'text', (column) => column.notNull())
    .addColumn('message', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('files', 'bigint', (column) => column.notNull())
    .addColumn('bytes', 'bigint', (column) => column.notNull())
    .addColumn('publish_id', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('version_pk', ['workspace_id', 'seq'])
    .addUniqueConstraint('version_publish_id', ['workspace_id', 'publish_id'])
    .execute();
  await db.schema
    .createTable('tag')
    .addColumn('workspace_id', 'integer', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('tag_pk', ['workspace_id', 'name'])
    .addForeignKeyConstraint('tag_version', ['workspace_id', 'seq'], 'version', ['workspace_id', 'seq'])
    .execute();
}

async function createContent(db: Kysely<unknown>, { bytesType }: SchemaDialect): Promise<void> {
  await db.schema
    .createTable('content')
    .addColumn('hash', bytesType, (column) => column.notNull().primaryKey())
    .addColumn('size', 'bigint', (column) => column.notNull())
    .addColumn('extents', bytesType, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('block')
    .addColumn('id', bytesType, (column) => column.notNull().primaryKey())
    .addColumn('raw_bytes', 'integer', (column) => column.notNull())
    .addColumn('stored_bytes', 'integer', (column) => column.notNull())
    .execute();
}

/**
 * One path of one version is found by the primary key, a listing by `file_fork`, and the changes between two versions by
 * `file_from` and `file_to`. That `file_fork` is unique also holds that a path has one row in a version: two rows of a path with
 * one fork node would both hold in that version.
 *
 * No reference from `from_seq` to a version: a row outlives the version it began with when gc deletes that.
 */
async function createFiles(db: Kysely<unknown>, { bytesType }: SchemaDialect): Promise<void> {
  await db.schema
    .createTable('file')
    .addColumn('workspace_id', 'integer', (column) => column.notNull().references('workspace.id'))
    .addColumn('path', bytesType, (column) => column.notNull())
    .addColumn('hash', bytesType)
    .addColumn('size', 'bigint', (column) => column.notNull())
    .addColumn('mode', 'integer', (column) => column.notNull())
    .addColumn('from_seq', 'bigint', (column) => column.notNull())
    .addColumn('to_seq', 'bigint')
    .addColumn('fork', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('file_pk', ['workspace_id', 'path', 'from_seq'])
    .addUniqueConstraint('file_fork', ['workspace_id', 'fork', 'path'])
    .execute();
  await db.schema.createIndex('file_from').on('file').columns(['workspace_id', 'from_seq']).execute();
  await db.schema
    .createIndex('file_to')
    .on('file')
    .columns(['workspace_id', 'to_seq'])
    .where('to_seq', 'is not', null)
    .execute();
}

async function createAccess(db: Kysely<unknown>, { bytesType, identity }: SchemaDialect): Promise<void> {
  await db.schema
    .createTable('lease')
    .addColumn('name', 'text', (column) => column.notNull().primaryKey())
    .addColumn('workspace_id', 'integer')
    .addColumn('seq', 'bigint')
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('epoch', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addForeignKeyConstraint('lease_version', ['workspace_id', 'seq'], 'version', ['workspace_id', 'seq'])
    .execute();
  await db.schema
    .createTable('token')
    .addColumn('id', 'text', (column) => column.notNull().primaryKey())
    .addColumn('hash', bytesType, (column) => column.notNull().unique())
    .addColumn('workspace_id', 'integer', (column) => column.references('workspace.id'))
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('permission', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute();
  await db.schema
    .createTable('audit')
    .addColumn('id', 'integer', identity)
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('workspace', 'text')
    .addColumn('seq', 'bigint')
    .addColumn('detail', 'text', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('audit_at').on('audit').column('at_ms').execute();
}
