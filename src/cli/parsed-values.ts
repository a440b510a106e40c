/** What was typed, by the names of positionals and options. */
export type ParsedValues = Readonly<Record<string, string | boolean | undefined>>;
