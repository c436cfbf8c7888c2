/** An error that the operator can fix: its message says how, so it is printed without a stack. */
export class OperatorError extends Error {}

/** Prints the error and ends the process. */
export function exitWith(error: unknown): never {
  console.error(error instanceof OperatorError ? error.message : error)
  process.exit(1)
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'port already in use',
  EACCES: 'no permission to use this port',
  EADDRNOTAVAIL: 'not an address of this machine',
  ENOTFOUND: 'unknown host',
}

/** The API or the metrics cannot listen on the configured address. */
export class ListenError extends OperatorError {
  /**
   * @param portVariable environment variable with the port
   * @param code Node's error code
   */
  constructor(host: string, port: number, portVariable: string, code: string) {
    const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
    super(`Cannot listen on ${address} (HOST, ${portVariable}): ${REASONS[code] ?? code}.`)
  }
}
