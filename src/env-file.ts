import { isUtf8 } from 'node:buffer'

/** Names the first invalid line and its constraint, never its content. */
export class EnvFileError extends Error {}

/** An assignment, whose value may span lines if it is quoted; a comment; or a blank line. */
const STATEMENT =
  /[ \t]*(?:(?:export[ \t]+)?(?<name>[\w.-]+)[ \t]*=(?:[ \t]*(?<quote>["'`])(?<quoted>(?:(?!\k<quote>)[\s\S])*)\k<quote>[ \t]*(?:#[^\n]*)?|(?![ \t]*["'`])(?<unquoted>[^\n]*))|(?:#[^\n]*)?)(?:\n|$)/gy

/**
 * Parses a `.env` file. Node's `parseEnv` skips invalid lines and ends an unquoted value at any `#`; this parser rejects such
 * lines and, like Compose, keeps a `#` that does not follow a blank.
 *
 * @throws EnvFileError
 */
export function parseEnvFile(content: Buffer): Readonly<Record<string, string>> {
  const invalid = splitLines(content).findIndex((line) => !isUtf8(line) || line.includes(0))
  if (invalid !== -1) throw new EnvFileError(`line ${invalid + 1}: must be UTF-8 text; save the file as UTF-8`)
  // The decoder removes a byte order mark.
  const text = new TextDecoder().decode(content).replace(/\r\n?/g, '\n')
  const statements = [...text.matchAll(STATEMENT)]
  const end = statements.reduce((sum, [statement]) => sum + statement.length, 0)
  if (end < text.length) {
    const line = text.slice(0, end).split('\n').length
    throw new EnvFileError(
      `line ${line}: must be NAME=value; a value that begins with a quote ends with the same quote`,
    )
  }
  return Object.fromEntries(statements.flatMap(({ groups }) => (groups?.name ? [[groups.name, unquote(groups)]] : [])))
}

function unquote({ quote, quoted = '', unquoted = '' }: Readonly<Record<string, string | undefined>>): string {
  if (quote !== undefined) return quote === '"' ? quoted.replaceAll('\\n', '\n') : quoted
  return unquoted.replace(/[ \t]#.*$/s, '').replace(/^[ \t]+|[ \t]+$/g, '')
}

/** Splits bytes: no multi-byte character of UTF-8 contains the byte of a line feed. */
function splitLines(content: Buffer): Buffer[] {
  return content
    .toString('latin1')
    .split('\n')
    .map((line) => Buffer.from(line, 'latin1'))
}
