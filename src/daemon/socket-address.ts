/**
 * The address of a socket in a folder that is open: an address has room for 107 bytes, a path may be longer. Linux only, as is everything here.
 */
export function socketAddress(folderFd: number, name: string): string {
  return `/proc/self/fd/${String(folderFd)}/${name}`;
}
