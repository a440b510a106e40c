const KIB = 1024;
const MIB = 1024 * KIB;

/** Raw bytes of one block, at most (FORMAT.md B-2). */
export const BLOCK_MAX_BYTES = 4 * MIB;

/** A pack of small files is closed when it reaches this. */
export const PACK_TARGET_BYTES = 1 * MIB;

/** Files up to this share blocks with their neighbours; larger ones are chunked (FORMAT.md C-3). */
export const PACKED_FILE_MAX_BYTES = 128 * KIB;

/** Files up to this are named by the SHA-256 of their bytes, larger ones by that of their chunk list (C-1, C-2). */
export const WHOLE_HASH_MAX_BYTES = 16 * MIB;

/** Files below this are held in the manifest itself, unless `--embed-below` says otherwise. */
export const EMBED_BELOW_DEFAULT_BYTES = 256;

/** A file in a manifest, at most, whatever `--embed-below` says (FORMAT.md M-7). */
export const EMBEDDED_FILE_MAX_BYTES = 16 * MIB;

/** All of manifest.sqlite, at most (FORMAT.md M-9): some 100,000,000 files. What an index says must not fill the disk. */
export const MANIFEST_MAX_BYTES = 16 * 1024 * MIB;

/** One piece of manifest.sqlite, as publishing and fetching see it (FORMAT.md M-*). */
export const MANIFEST_PIECE_BYTES = 16 * KIB;

/** A name within a directory, in bytes (NAME_MAX of limits.h). */
export const NAME_MAX_BYTES = 255;

/** A symbolic link's target, in bytes (PATH_MAX less the terminator). */
export const SYMLINK_MAX_BYTES = 4095;

/** One extended attribute's value, in bytes (XATTR_SIZE_MAX of linux/limits.h). */
export const XATTR_VALUE_MAX_BYTES = 64 * KIB;

/** The names of all extended attributes of a file, each with a terminator (XATTR_LIST_MAX of linux/limits.h). */
export const XATTR_LIST_MAX_BYTES = 64 * KIB;

/** A file's size, in bytes: the largest integer JavaScript counts exactly is the limit of the arithmetic. */
export const FILE_MAX_BYTES = Number.MAX_SAFE_INTEGER;

/** The payload of one FUSE READ or WRITE. */
export const IO_MAX_BYTES = 1 * MIB;

/** Blocks of the disk cache, unless `--cache-size` says otherwise. */
export const CACHE_BUDGET_DEFAULT_BYTES = 20 * 1024 * MIB;

/**
 * How many inode numbers, and cookies, a writer of a workspace reserves at once (`Catalog.reserveNumbers`): 2^53 of them are enough for 30 million
 * mounts. One that makes more between two snapshots goes on into numbers that may be another's, which merging notices.
 */
export const RESERVED_NUMBERS = 2 ** 28;
