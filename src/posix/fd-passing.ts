import { fsError } from '../core/index.js';
import { addressOf, bind, checked } from './libc.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_DONTWAIT = 0x40;

const socketpairCall = bind('int socketpair(int domain, int type, int protocol, void *fds)');
const recvmsg = bind('int64_t recvmsg(int fd, void *message, int flags)');

/** Two connected unix stream sockets, closed on exec; `fs.closeSync` closes them. */
export function socketPair(): [number, number] {
  const fds = Buffer.alloc(8);
  checked(socketpairCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 'socketpair');
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/**
 * Takes one descriptor that was sent over a unix socket with SCM_RIGHTS. Does not wait: EAGAIN when nothing was sent, EBADF
 * when what was sent carries no descriptor. Structures: msghdr and cmsghdr of a 64-bit Linux (sys/socket.h).
 */
export function receiveFd(socketFd: number): number {
  const data = Buffer.alloc(1);
  const iovec = Buffer.alloc(16);
  iovec.writeBigUInt64LE(addressOf(data), 0);
  iovec.writeBigUInt64LE(BigInt(data.length), 8);
  const control = Buffer.alloc(24);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(addressOf(iovec), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  checked(recvmsg(socketFd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT), 'recvmsg');
  const controlBytes = Number(message.readBigUInt64LE(40));
  const carriesFd =
    controlBytes >= 20 && control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS;
  if (!carriesFd) throw fsError('EBADF', 'no descriptor in the message');
  return control.readInt32LE(16);
}
