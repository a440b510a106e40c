import { bind, bindAsync, checked, cString } from './libc.js';

/** Flags of mount(2) and umount2(2) (sys/mount.h). */
export const MS_RDONLY = 1;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

const mountCall = bind(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);
const umountCall = bindAsync('int umount2(const void *target, int flags)');

/** mount(2). Throws FsError. */
export function mount(source: string, target: Buffer, type: string, flags: number, data: string): void {
  checked(
    mountCall(
      cString(Buffer.from(source)),
      cString(target),
      cString(Buffer.from(type)),
      flags,
      cString(Buffer.from(data)),
    ),
    'mount',
  );
}

/** umount2(2), on another thread: it may have to wait for requests this process answers. Rejects with FsError. */
export async function unmount(target: Buffer, flags: number): Promise<void> {
  await umountCall(cString(target), flags);
}
