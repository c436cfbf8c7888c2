import { createHash } from 'node:crypto'
import { promises as fileSystem } from 'node:fs'
import type Router from '@koa/router'
import type { Context, Middleware } from 'koa'

const POLICY = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'self'",
  'frame-ancestors': "'none'",
}

interface Page {
  readonly path: string
  readonly policy: Readonly<Record<string, string>>
  /** URLs are relative, so that the page also works behind a proxy that adds a prefix. */
  readonly body: string
  /** The assets of the page by path: files of a dependency, or text (because the policy forbids inline scripts). */
  readonly assets: Readonly<
    Record<string, { readonly type: string } & ({ readonly file: string } | { readonly text: string })>
  >
}

const NO_MARGIN = 'body { margin: 0 }\n'

/** The service has no OAuth clients, so the Authorize dialog needs no client credentials. */
const NO_CLIENT_CREDENTIALS = `
.swagger-ui .auth-container .wrapper:has(> label:is([for^="client_"], [for="password_type"])) { display: none; }
`

/** Swagger UI's tables are wider than a phone, and its column of links is always empty here. */
const SWAGGER_UI_STYLE = `${NO_MARGIN}${NO_CLIENT_CREDENTIALS}
@media (max-width: 640px) {
  .swagger-ui .wrapper, .swagger-ui .scheme-container .schemes { padding: 0 10px; }
  .swagger-ui .info { margin: 20px 0; }
  .swagger-ui .servers > label select { max-width: 100%; }
  .swagger-ui .response-col_links { display: none; }
  .swagger-ui .response-col_description { width: auto; }
  .swagger-ui .opblock-body { overflow-x: auto; }
}
`

/** Each form of the Authorize dialog takes the focus when it appears, so the last form, for a token, would keep the focus. */
const SWAGGER_UI_START = `const focusUsername = ({ React }) => ({
  wrapComponents: {
    authorizationPopup: (Popup) => class extends React.Component {
      componentDidMount() {
        document.getElementById('oauth_username')?.focus()
        document.querySelector('.modal-ux-content')?.scrollTo(0, 0)
      }
      render() {
        return React.createElement(Popup, this.props)
      }
    },
  },
})
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
  plugins: [focusUsername],
})
`

const swaggerUi: Page = {
  path: '/docs',
  policy: POLICY,
  body: `<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/page.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>`,
  assets: {
    '/docs/swagger-ui.css': { type: 'css', file: 'swagger-ui-dist/swagger-ui.css' },
    '/docs/swagger-ui-bundle.js': { type: 'js', file: 'swagger-ui-dist/swagger-ui-bundle.js' },
    '/docs/page.css': { type: 'css', text: SWAGGER_UI_STYLE },
    '/docs/start.js': { type: 'js', text: SWAGGER_UI_START },
  },
}

const reDoc: Page = {
  path: '/redoc',
  // ReDoc injects its styles into the page and searches in a worker created from a blob.
  policy: { ...POLICY, 'style-src': "'self' 'unsafe-inline'", 'worker-src': 'blob:' },
  body: `<link rel="stylesheet" href="redoc/page.css">
<redoc spec-url="openapi.json"></redoc>
<script src="redoc/redoc.standalone.js"></script>`,
  assets: {
    '/redoc/page.css': { type: 'css', text: NO_MARGIN },
    '/redoc/redoc.standalone.js': { type: 'js', file: 'redoc/bundles/redoc.standalone.js' },
  },
}

/** Locations are relative, so that redirects also work behind a proxy that strips a path prefix. */
const redirects = [
  { path: '/', status: 302, location: 'docs' },
  { path: '/docs/', status: 308, location: '../docs' },
  { path: '/redoc/', status: 308, location: '../redoc' },
] as const

/** Serves the documentation pages from files of the dependencies. The pages load nothing from another host. */
export function mountDocs(router: Router, title: string): void {
  for (const { path, status, location } of redirects) {
    router.get(path, (ctx) => {
      ctx.state.route = path
      ctx.status = status
      ctx.set('Location', location)
      ctx.body = ''
    })
  }
  for (const { path, policy, body, assets } of [swaggerUi, reDoc]) {
    const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
${body}
</html>
`
    const contentSecurityPolicy = Object.entries(policy)
      .map(([directive, sources]) => `${directive} ${sources}`)
      .join('; ')
    const pageHeaders = { 'Content-Security-Policy': contentSecurityPolicy, 'Cache-Control': 'no-cache' }
    const readPage = async () => Buffer.from(html)
    router.get(path, serve(path, 'html', pageHeaders, readPage))
    for (const [assetPath, asset] of Object.entries(assets)) {
      const file = 'file' in asset ? new URL(import.meta.resolve(asset.file)) : undefined
      const read = async () =>
        Buffer.from('text' in asset ? asset.text : selfContained(await fileSystem.readFile(file as URL, 'utf8')))
      router.get(assetPath, serve(assetPath, asset.type, { 'Cache-Control': 'public, max-age=3600' }, read))
    }
  }
}

/** ReDoc loads its vendor's logo from another host; developer tools request source maps, which are not served. */
const LOGO = 'https://cdn.redoc.ly/redoc/logo-mini.svg'
const SOURCE_MAP = /\n(?:\/\/|\/\*)# sourceMappingURL=.*\s*$/

/** Removes references that the policy blocks or that nothing serves. */
const selfContained = (text: string) => text.replace(SOURCE_MAP, '\n').replace(LOGO, 'data:,')

/** Maximum length of a header in characters; a longer one is ignored. */
const MAX_HEADER = 1_024
const isShort = (ctx: Context, header: string) => ctx.get(header).length <= MAX_HEADER

/** Reads the content at the first request and caches it with its ETag. After a failure, the next request reads again. */
function serve(
  path: string,
  type: string,
  headers: Readonly<Record<string, string>>,
  read: () => Promise<Buffer>,
): Middleware {
  let content: Promise<{ readonly bytes: Buffer; readonly etag: string }> | undefined
  const load = async () => {
    const bytes = await read()
    return { bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` }
  }
  return async (ctx) => {
    ctx.state.route = path
    content ??= load().catch((error) => {
      content = undefined
      throw error
    })
    const { bytes, etag } = await content
    ctx.status = 200
    ctx.set({ ...headers, ETag: etag })
    if (isShort(ctx, 'If-None-Match') && isShort(ctx, 'Cache-Control') && ctx.fresh) {
      ctx.status = 304
      return
    }
    ctx.type = type
    ctx.body = bytes
  }
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
