import { closeSync } from 'node:fs';
import { fsError } from '../core/index.js';
import { addressOf, bind, checked } from './libc.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_DONTWAIT = 0x40;
const SOCKET_NAME_MAX_BYTES = 107;

const socketpairCall = bind('int socketpair(int domain, int type, int protocol, void *fds)');
const socketCall = bind('int socket(int domain, int type, int protocol)');
const bindCall = bind('int bind(int fd, const void *address, unsigned int length)');
const sendmsg = bind('int64_t sendmsg(int fd, const void *message, int flags)');
const recvmsg = bind('int64_t recvmsg(int fd, void *message, int flags)');

/** Two connected unix stream sockets, closed on exec; `fs.closeSync` closes them. */
export function socketPair(): [number, number] {
  const fds = Buffer.alloc(8);
  checked(socketpairCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 'socketpair');
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/** A unix datagram socket with a name in the file system (at most 107 bytes), which must be free: for `receiveFd`. */
export function bindDatagramSocket(path: string): number {
  const fd = checked(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
  try {
    const address = socketName(path);
    checked(bindCall(fd, address, address.length), 'bind');
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** Sends `fd` by SCM_RIGHTS to the datagram socket of that name. Does not wait. */
export function sendFd(path: string, fd: number): void {
  const socket = checked(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
  try {
    const name = socketName(path);
    const data = Buffer.alloc(1);
    const iovec = ioVector(data);
    const control = Buffer.alloc(24);
    control.writeBigUInt64LE(20n, 0);
    control.writeInt32LE(SOL_SOCKET, 8);
    control.writeInt32LE(SCM_RIGHTS, 12);
    control.writeInt32LE(fd, 16);
    const message = messageHeader(iovec, control);
    message.writeBigUInt64LE(addressOf(name), 0);
    message.writeUInt32LE(name.length, 8);
    checked(sendmsg(socket, message, MSG_DONTWAIT), 'sendmsg');
  } finally {
    closeSync(socket);
  }
}

/** sockaddr_un. */
function socketName(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length > SOCKET_NAME_MAX_BYTES) throw fsError('ENAMETOOLONG', 'the name of a socket');
  const address = Buffer.alloc(2 + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  return address;
}

function ioVector(data: Buffer): Buffer {
  const iovec = Buffer.alloc(16);
  iovec.writeBigUInt64LE(addressOf(data), 0);
  iovec.writeBigUInt64LE(BigInt(data.length), 8);
  return iovec;
}

function messageHeader(iovec: Buffer, control: Buffer): Buffer {
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(addressOf(iovec), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  return message;
}

/**
 * Takes one descriptor that was sent over a unix socket with SCM_RIGHTS. Does not wait: EAGAIN when nothing was sent, EBADF
 * when what was sent carries no descriptor. Structures: msghdr and cmsghdr of a 64-bit Linux (sys/socket.h).
 */
export function receiveFd(socketFd: number): number {
  const data = Buffer.alloc(1);
  const iovec = ioVector(data);
  const control = Buffer.alloc(24);
  const message = messageHeader(iovec, control);
  checked(recvmsg(socketFd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT), 'recvmsg');
  const controlBytes = Number(message.readBigUInt64LE(40));
  const carriesFd =
    controlBytes >= 20 && control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS;
  if (!carriesFd) throw fsError('EBADF', 'no descriptor in the message');
  return control.readInt32LE(16);
}
