// `src/main.ts` is a symbolic link to this file. An old Node refuses a file named .ts before reading it, but follows the link
// and runs .cjs. Nothing here uses `require`, so main.ts may also be a copy of this file instead of a link.
void start()

async function start() {
  await import('./node-version.cjs')
  const { enableCompileCache } = await import('node:module')
  const { join } = await import('node:path')
  const { setFlagsFromString } = await import('node:v8')

  // V8's allocation-site pretenuring can mistake per-request objects for long-lived ones and keep them in the old generation,
  // costing up to a fifth of CPU in GC. Disable it before enabling the compile cache: flags are part of the cache key.
  setFlagsFromString('--no-allocation-site-pretenuring')

  // Keep the compile cache in node_modules: anyone who can write there can already change the code. On a read-only file
  // system nothing is cached.
  const [, main = ''] = process.argv
  enableCompileCache({ directory: join(main, '../../node_modules/.cache/node') })

  await import('./service.ts')
}
