/** JSON documents, one a line: what is listed comes so, because it can be read as it comes. */
export const JSON_LINES_TYPE = 'application/x-ndjson';

export function jsonLines(documents: readonly object[]): string {
  return documents.map((document) => `${JSON.stringify(document)}\n`).join('');
}
