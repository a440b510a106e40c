import { readFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createSecureContext, Server as TlsServer } from 'node:tls';
import type { Logger } from 'pino';
import { CairnError, messageOf } from '../core/index.js';

/** Paths of PEM files. */
export interface CertificateFiles {
  /** The certificate and its chain. */
  cert: string;
  key: string;
}

export interface CertificatePair {
  cert: Buffer;
  key: Buffer;
}

/**
 * A certificate that is renewed in its files while it is in use. They are read again rather than watched: who renews may replace them, or a link, or a folder they are in.
 */
export class Certificate {
  readonly #files: CertificateFiles;
  /** What was read last, good or not. */
  #read: CertificatePair;

  private constructor(files: CertificateFiles, read: CertificatePair) {
    this.#files = files;
    this.#read = read;
  }

  /** Throws `usage` for files that cannot be read, or are no pair. */
  static async load(files: CertificateFiles): Promise<Certificate> {
    const read = await readPair(files);
    check(files, read);
    return new Certificate(files, read);
  }

  /** What was loaded. */
  get pair(): CertificatePair {
    return this.#read;
  }

  /** Has new connections of the server get what is in the files by now. What is no pair is told to the log, once, and the one before stays. */
  async renew(server: Server, log: Logger): Promise<void> {
    try {
      const read = await readPair(this.#files);
      if (read.cert.equals(this.#read.cert) && read.key.equals(this.#read.key)) return;
      this.#read = read;
      check(this.#files, read);
      if (server instanceof TlsServer) server.setSecureContext(read);
      log.info({ file: this.#files.cert }, 'new connections get the new certificate');
    } catch (error) {
      log.error({ err: error }, 'the certificate stays as it is');
    }
  }
}

async function readPair({ cert, key }: CertificateFiles): Promise<CertificatePair> {
  try {
    return { cert: await readFile(cert), key: await readFile(key) };
  } catch (error) {
    throw new CairnError('usage', `the certificate or its key cannot be read: ${messageOf(error)}`, {
      hint: '--tls-cert and --tls-key name them',
      cause: error,
    });
  }
}

function check({ cert, key }: CertificateFiles, pair: CertificatePair): void {
  try {
    createSecureContext(pair);
  } catch (error) {
    throw new CairnError('usage', `${cert} and ${key} are no certificate with its key: ${messageOf(error)}`, {
      hint: 'both are PEM files, and belong together',
      cause: error,
    });
  }
}
