// `src/main.ts` is a symbolic link to this file: a Node that does not know the extension .ts would refuse that file before
// reading it, but every version follows the link and knows .cjs. Nothing here needs `require`, so a copy of the project that
// has a file instead of the link works too.
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
