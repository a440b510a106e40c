import { crc32 } from 'node:zlib';

/** A line of text, and on the next one its CRC-32 in hex: of small files in which a character that changed must not be believed. */
export function checkedLine(line: string): string {
  return `${line}\n${crc32(line).toString(16)}\n`;
}

/** What `checkedLine` made a text of. `fits`: undefined where nothing follows the line. */
export function lineOfChecked(text: string): { line: string; fits: boolean | undefined } {
  const end = text.indexOf('\n');
  if (end === -1) return { line: text, fits: undefined };
  const line = text.slice(0, end);
  return { line, fits: text === checkedLine(line) };
}
