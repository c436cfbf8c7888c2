/** An error that the operator can fix: its message says how, so it is printed without a stack. */
export class OperatorError extends Error {}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'port already in use',
  EACCES: 'no permission to use this port',
  EADDRNOTAVAIL: 'not an address of this machine',
  ENOTFOUND: 'unknown host',
}

/** The API or the metrics cannot listen where the configuration says. */
export class ListenError extends OperatorError {
  /**
   * @param portVariable the variable that names the port
   * @param code of Node's error
   */
  constructor(host: string, port: number, portVariable: string, code: string) {
    const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
    super(`Cannot listen on ${address} (HOST, ${portVariable}): ${REASONS[code] ?? code}.`)
  }
}
