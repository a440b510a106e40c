import { isDirectory, ROOT_INO, type Extent, type Ino, type InodeAttributes } from '../core/index.js';
import {
  LISTING_PAGE_ROWS,
  type DentryRow,
  type DentryWithInode,
  type ManifestReader,
  type XattrRow,
} from '../manifest/index.js';
import { ZEROS } from './data-store.js';
import type { LayerExtent, LayerInode } from './layer-database.js';
import type { UpperLayer } from './upper-layer.js';

/** Where a stretch of a file's bytes is. In order and without gaps; `block` parts are the manifest's extents, cut to size. */
export type ContentPart =
  | { kind: 'zeros'; offset: number; length: number }
  | { kind: 'layer'; offset: number; length: number; layer: UpperLayer; extent: LayerExtent }
  | { kind: 'embedded'; offset: number; length: number; bytes: Buffer }
  | { kind: 'block'; offset: number; length: number; extent: Extent };

/**
 * One tree out of a stack: layers, the topmost first, over a manifest. Immutable but for what its topmost layer takes;
 * replacing a sealed layer and its manifest by the manifest they were published as gives an equal view.
 */
export class MergedView {
  readonly layers: readonly UpperLayer[];
  readonly manifest: ManifestReader;

  constructor(layers: readonly UpperLayer[], manifest: ManifestReader) {
    this.layers = layers;
    this.manifest = manifest;
  }

  /** The same without its topmost layer. */
  below(): MergedView {
    return new MergedView(this.layers.slice(1), this.manifest);
  }

  /** Also an inode without a name, for as long as a layer remembers it (`nlink` 0). */
  inode(ino: Ino): InodeAttributes | undefined {
    for (const layer of this.layers) {
      const inode = layer.inode(ino);
      if (inode !== undefined) return inode;
    }
    return this.manifest.inode(ino);
  }

  /** The entry of a name; a whiteout counts as none. */
  lookup(parent: Ino, name: Buffer): DentryRow | undefined {
    for (const layer of this.layers) {
      const dentry = layer.dentry(parent, name);
      if (dentry !== undefined) return dentry.ino === 0 ? undefined : dentry;
    }
    // A directory that a layer made has nothing below.
    return parent < this.manifest.nextIno ? this.manifest.lookup(parent, name) : undefined;
  }

  /**
   * Entries after a cookie, in cookie order; an entry is left out when a layer above says anything of its name. Cookies of a layer are
   * not above all below it: another writer's, which the manifest may have come to hold, are from a range of their own.
   */
  *list(parent: Ino, afterCookie: number): IterableIterator<DentryWithInode> {
    const hiding = this.layers.filter((layer) => layer.hasDentriesIn(parent));
    const manifest = this.#listManifest(parent, afterCookie, hiding);
    if (hiding.length === 0) {
      yield* manifest;
      return;
    }
    yield* inCookieOrder([
      manifest,
      ...hiding.map((layer, index) => this.#listLayer(layer, parent, afterCookie, hiding.slice(0, index))),
    ]);
  }

  isEmptyDirectory(ino: Ino): boolean {
    return this.list(ino, 0).next().done === true;
  }

  /** The directory a directory is in; the root's is the root. */
  parentOf(ino: Ino): Ino | undefined {
    if (ino === ROOT_INO) return ROOT_INO;
    return this.namesOf(ino)[0]?.parent;
  }

  /** Every name of an inode. */
  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    const found: { parent: Ino; name: Buffer }[] = [];
    this.layers.forEach((layer, index) => {
      for (const entry of layer.namesOf(ino)) {
        if (!this.#hidden(entry.parent, entry.name, index)) found.push(entry);
      }
    });
    for (const entry of this.manifest.namesOf(ino)) {
      if (!this.#hidden(entry.parent, entry.name, this.layers.length)) found.push(entry);
    }
    return found;
  }

  symlink(ino: Ino): Buffer | undefined {
    for (const layer of this.layers) {
      const target = layer.symlink(ino);
      if (target !== undefined) return target;
    }
    return this.manifest.symlink(ino);
  }

  xattrs(ino: Ino): XattrRow[] {
    const owner = this.#xattrOwner(ino);
    return owner === undefined ? this.manifest.xattrs(ino) : owner.xattrs(ino);
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    const owner = this.#xattrOwner(ino);
    return owner === undefined ? this.manifest.xattr(ino, name) : owner.xattr(ino, name);
  }

  /** What [offset, offset + length) of a regular file is made of; the caller keeps it within the size. */
  content(ino: Ino, offset: number, length: number): ContentPart[] {
    const parts: ContentPart[] = [];
    this.#collect(0, ino, offset, offset + length, parts);
    return parts;
  }

  /** True when a layer holds changes to the content of `ino`. */
  contentChanged(ino: Ino): boolean {
    return this.layers.some((layer) => layer.inode(ino)?.contentChanged === 1);
  }

  #hidden(parent: Ino, name: Buffer, belowIndex: number): boolean {
    for (let index = 0; index < belowIndex; index += 1) {
      if (this.layers[index]?.dentry(parent, name) !== undefined) return true;
    }
    return false;
  }

  *#listManifest(parent: Ino, afterCookie: number, hiding: UpperLayer[]): IterableIterator<DentryWithInode> {
    if (parent >= this.manifest.nextIno) return;
    let after = afterCookie;
    for (;;) {
      const page = this.manifest.listWithInodes(parent, after, LISTING_PAGE_ROWS);
      for (const entry of page) {
        after = entry.cookie;
        if (hiding.some((layer) => layer.dentry(parent, entry.name) !== undefined)) continue;
        const changed = this.#layerInode(entry.ino);
        if (changed !== undefined) entry.inode = changed;
        yield entry;
      }
      if (page.length < LISTING_PAGE_ROWS) return;
    }
  }

  *#listLayer(
    layer: UpperLayer,
    parent: Ino,
    afterCookie: number,
    hiding: UpperLayer[],
  ): IterableIterator<DentryWithInode> {
    let after = afterCookie;
    for (;;) {
      const page = layer.list(parent, after, LISTING_PAGE_ROWS);
      for (const entry of page) {
        after = entry.cookie;
        if (hiding.some((above) => above.dentry(parent, entry.name) !== undefined)) continue;
        const inode = this.inode(entry.ino);
        if (inode !== undefined) yield { ...entry, inode };
      }
      if (page.length < LISTING_PAGE_ROWS) return;
    }
  }

  #layerInode(ino: Ino): LayerInode | undefined {
    for (const layer of this.layers) {
      const inode = layer.inode(ino);
      if (inode !== undefined) return inode;
    }
    return undefined;
  }

  #xattrOwner(ino: Ino): UpperLayer | undefined {
    return this.layers.find((layer) => layer.inode(ino)?.ownsXattrs === 1);
  }

  #collect(index: number, ino: Ino, from: number, to: number, parts: ContentPart[]): void {
    if (to <= from) return;
    const layer = this.layers[index];
    if (layer === undefined) {
      this.#collectManifest(ino, from, to, parts);
      return;
    }
    const inode = layer.inode(ino);
    if (inode === undefined || inode.contentChanged === 0) {
      this.#collect(index + 1, ino, from, to, parts);
      return;
    }
    let position = from;
    for (const extent of layer.extents(ino, from, to - from)) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      this.#collectBelow(index, inode, position, start, parts);
      if (extent.segment === ZEROS) pushZeros(parts, start, end);
      else parts.push({ kind: 'layer', offset: start, length: end - start, layer, extent });
      position = end;
    }
    this.#collectBelow(index, inode, position, to, parts);
  }

  /** A stretch that the layer holds nothing of: below up to the limit, zeros from there. */
  #collectBelow(index: number, inode: LayerInode, from: number, to: number, parts: ContentPart[]): void {
    const limit = Math.min(to, Math.max(from, inode.belowLimit));
    this.#collect(index + 1, inode.ino, from, limit, parts);
    pushZeros(parts, limit, to);
  }

  #collectManifest(ino: Ino, from: number, to: number, parts: ContentPart[]): void {
    const embedded = this.manifest.embedded(ino);
    if (embedded !== undefined) {
      const end = Math.min(to, embedded.length);
      if (end > from) {
        parts.push({
          kind: 'embedded',
          offset: from,
          length: end - from,
          bytes: embedded.subarray(from, end),
        });
      }
      pushZeros(parts, Math.max(from, end), to);
      return;
    }
    let position = from;
    for (const extent of this.manifest.extents(ino, from, to - from)) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      pushZeros(parts, position, start);
      const blockOffset = extent.blockOffset + (start - extent.offset);
      const cut = { offset: start, length: end - start, block: extent.block, blockOffset };
      parts.push({ kind: 'block', offset: start, length: end - start, extent: cut });
      position = end;
    }
    pushZeros(parts, position, to);
  }
}

/** Merges listings that are each in cookie order. */
function* inCookieOrder(
  listings: readonly IterableIterator<DentryWithInode>[],
): IterableIterator<DentryWithInode> {
  const heads: { entry: DentryWithInode; rest: IterableIterator<DentryWithInode> }[] = [];
  for (const rest of listings) {
    const first = rest.next();
    if (first.done !== true) heads.push({ entry: first.value, rest });
  }
  for (;;) {
    let lowest = heads[0];
    if (lowest === undefined) return;
    for (const head of heads) if (head.entry.cookie < lowest.entry.cookie) lowest = head;
    yield lowest.entry;
    const next = lowest.rest.next();
    if (next.done === true) heads.splice(heads.indexOf(lowest), 1);
    else lowest.entry = next.value;
  }
}

function pushZeros(parts: ContentPart[], from: number, to: number): void {
  if (to <= from) return;
  const last = parts.at(-1);
  if (last?.kind === 'zeros') last.length += to - from;
  else parts.push({ kind: 'zeros', offset: from, length: to - from });
}

/**
 * True when a layer differs from what is below it in anything a version holds. Times that a file made and removed again leaves behind in its
 * directory do not count.
 */
export function layerHasChanges(layer: UpperLayer, below: MergedView): boolean {
  if (layer.hasDentries()) return true;
  for (const inode of layer.inodes()) {
    if (!isDirectory(inode.mode)) {
      // Without a name it is not part of a version; if this layer took the last one away, it has an entry that says so.
      if (inode.nlink > 0) return true;
      continue;
    }
    const before = below.inode(inode.ino);
    if (before === undefined || directoryChanged(before, inode)) return true;
    if (inode.ownsXattrs === 1) return true;
  }
  return false;
}

/**
 * Whether all that a layer has of an inode are times that files made and removed again left behind in their directory: no version would hold them, and nobody
 * misses them.
 */
export function hasOnlyTimesOf(layer: UpperLayer, ino: Ino, below: MergedView): boolean {
  const inode = layer.inode(ino);
  const before = below.inode(ino);
  if (inode === undefined || before === undefined || !isDirectory(inode.mode)) return false;
  if (inode.created === 1 || inode.nlink === 0 || inode.ownsXattrs === 1) return false;
  return !layer.hasDentriesIn(ino) && !directoryChanged(before, inode);
}

/** Whether a program changed the attributes of a directory itself: an mtime that is not the ctime was set by one. */
export function directoryChanged(before: InodeAttributes, after: InodeAttributes): boolean {
  if (before.mode !== after.mode || before.uid !== after.uid || before.gid !== after.gid) return true;
  const wasSet = after.mtimeSec !== after.ctimeSec || after.mtimeNsec !== after.ctimeNsec;
  return wasSet && (before.mtimeSec !== after.mtimeSec || before.mtimeNsec !== after.mtimeNsec);
}
