import { promises as readline } from 'node:readline'
import { Writable } from 'node:stream'
import { PASSWORD_LIMITS } from '../../domain/accounts/password.ts'
import { OperatorError } from '../../operator-error.ts'

/** Maximum input; more than the longest password takes in UTF-8, in any normalisation form. */
const MAX_BYTES = 8_192

/**
 * Reads a new password from the terminal, twice and without echo; if stdin is no terminal, reads one line of it.
 *
 * @throws OperatorError when the password is missing, too long or not UTF-8, or when the two entries differ
 */
export async function readNewPassword(): Promise<string> {
  const password = process.stdin.isTTY ? await askTwice() : await readLine()
  if (password === '') throw new OperatorError('No password was given; nothing was changed.')
  return password
}

async function askTwice(): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = readline.createInterface({ input: process.stdin, output: silent, terminal: true, historySize: 0 })
  const tooLong = new AbortController()
  terminal.on('close', () => tooLong.abort())
  let bytes = 0
  process.stdin.on('data', (chunk) => {
    bytes += chunk.length
    if (bytes > MAX_BYTES) tooLong.abort()
  })
  const ask = async (prompt: string) => {
    process.stderr.write(prompt)
    try {
      return await terminal.question('', { signal: tooLong.signal })
    } catch {
      throw bytes > MAX_BYTES ? passwordTooLong() : new OperatorError('Cancelled; nothing was changed.')
    } finally {
      process.stderr.write('\n')
    }
  }
  try {
    const password = await ask('New password: ')
    if (password !== (await ask('Repeat the new password: ')))
      throw new OperatorError('The two passwords differ; nothing was changed.')
    return password
  } finally {
    terminal.close()
  }
}

/** Ignores a byte order mark before the line and a carriage return after it. */
async function readLine(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk)
    bytes += chunk.length
    if (chunk.includes('\n')) break
    if (bytes > MAX_BYTES) throw passwordTooLong()
  }
  const all = Buffer.concat(chunks)
  const end = all.indexOf('\n')
  const line = end === -1 ? all : all.subarray(0, end)
  if (line.length > MAX_BYTES) throw passwordTooLong()
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(line).replace(/\r$/, '')
  } catch {
    throw new OperatorError('The password is not UTF-8; nothing was changed.')
  }
}

const passwordTooLong = () =>
  new OperatorError(`The password must have at most ${PASSWORD_LIMITS.max} characters; nothing was changed.`)
