// eslint-disable-next-line no-control-regex -- control characters are what it is about
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** Longer ones are shown by their two ends. */
const SHOWN_CHARACTERS = 400;

/** A path as it may stand in a message of one line: control characters are escaped, and what is immense is shortened. */
export function pathText(path: Uint8Array): string {
  const text = escaped(path);
  if (text.length <= SHOWN_CHARACTERS) return text;
  const end = SHOWN_CHARACTERS / 2;
  return `${text.slice(0, end)}…${text.slice(-end)}`;
}

function escaped(path: Uint8Array): string {
  return Buffer.from(path.buffer, path.byteOffset, path.byteLength)
    .toString()
    .replace(CONTROL, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
