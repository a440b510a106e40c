import { isUtf8 } from 'node:buffer';

const NAMED_ESCAPES: Readonly<Record<number, string>> = {
  7: '\\a',
  8: '\\b',
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
};

// Printable text; not the control characters of ASCII and Latin-1, nor those that reorder text on a terminal.
const PLAIN = /^[^\p{Cc}\p{Bidi_Control}]*$/u;

const escapeByte = (byte: number): string => NAMED_ESCAPES[byte] ?? `\\${byte.toString(8).padStart(3, '0')}`;

/**
 * A path for a terminal: as it is where that is harmless, else in the quoting of `ls` (GNU shell-escape), which can be pasted
 * into a shell: `'a'$'\n''b'`. The root, which has no name, is `.`.
 */
export function displayPath(path: Buffer): string {
  if (path.length === 0) return '.';
  const whole = path.toString('utf8');
  if (isUtf8(path) && PLAIN.test(whole)) return whole;

  let text = '';
  let escapes = '';
  let plain = '';
  const closePlain = (): void => {
    if (plain !== '') text += `'${plain.replaceAll("'", "'\\''")}'`;
    plain = '';
  };
  const closeEscapes = (): void => {
    if (escapes !== '') text += `$'${escapes}'`;
    escapes = '';
  };
  for (const { bytes, character } of charactersOf(path)) {
    if (character !== undefined && PLAIN.test(character)) {
      closeEscapes();
      plain += character;
    } else {
      closePlain();
      escapes += Array.from(bytes, escapeByte).join('');
    }
  }
  closePlain();
  closeEscapes();
  return text;
}

/** The characters of UTF-8 text, and single bytes where it is none. */
function* charactersOf(path: Buffer): Generator<{ bytes: Buffer; character: string | undefined }> {
  for (let at = 0; at < path.length;) {
    const length = [1, 2, 3, 4].find(
      (size) => at + size <= path.length && isUtf8(path.subarray(at, at + size)),
    );
    const bytes = path.subarray(at, at + (length ?? 1));
    yield { bytes, character: length === undefined ? undefined : bytes.toString('utf8') };
    at += bytes.length;
  }
}
