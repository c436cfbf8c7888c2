import { createHmac, generateKeyPairSync, sign } from 'node:crypto'

/** An object to encode as JSON, or text to encode as it is. */
type Claims = object | string | number | null

const base64url = (value: Claims) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A JSON Web Token (RFC 7519) with any header and claims, signed with an HMAC that may differ from `alg`. */
export function signed(claims: Claims, key: string, header: object = { alg: 'HS256', typ: 'JWT' }, hash = 'sha256') {
  const message = `${base64url(header)}.${base64url(claims)}`
  return `${message}.${createHmac(hash, key).update(message).digest('base64url')}`
}

/**
 * Invalid tokens by their single defect.
 *
 * @param userId of an existing user, so that the token has no other defect
 * @param key the service's key for HS256
 */
export function invalidTokens(userId: number, key: string, now: Date): Readonly<Record<string, string>> {
  const seconds = Math.floor(now.getTime() / 1_000)
  const claims = { sub: String(userId), iat: seconds, exp: seconds + 600 }
  const right = signed(claims, key)
  const [header, payload, signature] = right.split('.') as [string, string, string]
  const other = `${header}.${base64url({ ...claims, sub: String(userId + 1) })}.${signature}`
  const { exp: _, ...withoutExp } = claims
  const { sub: __, ...withoutSub } = claims

  const ids: Readonly<Record<string, unknown>> = {
    'is a number': userId,
    'is null': null,
    'is a list': [String(userId)],
    'is an object': { id: userId },
    'is true': true,
    'is empty': '',
    'is zero': '0',
    'is negative': `-${userId}`,
    'has a sign': `+${userId}`,
    'has a leading zero': `0${userId}`,
    'has a fraction': `${userId}.0`,
    'has an exponent': `${userId}e0`,
    'is hexadecimal': '0x1',
    'has a blank before it': ` ${userId}`,
    'has a line break after it': `${userId}\n`,
    'has a NUL after it': `${userId}\0`,
    'is in fullwidth digits': '１',
    'is text': 'jane@example.com',
    'is beyond 2^53': '9007199254740993',
    'is beyond 2^63': '9223372036854775808',
    'is huge': '9'.repeat(400),
  }
  const withId = ['sub', 'sid'].flatMap((claim) =>
    Object.entries(ids).map(([what, id]) => [`whose ${claim} ${what}`, signed({ ...claims, [claim]: id }, key)]),
  )
  const typed = (typ: unknown) => signed(claims, key, { alg: 'HS256', typ })

  return {
    'that is not a token': 'nonsense',
    'of two parts': `${header}.${payload}`,
    'of four parts': `${right}.${signature}`,
    'of three empty parts': '..',
    'without header': `.${payload}.${signature}`,
    'whose claims are not JSON': signed('{', key),
    'whose claims are text': signed('"1"', key),
    'whose claims are a list': signed([claims], key),
    'whose claims are null': signed(null, key),
    'signed with another key': signed(claims, `${key}!`),
    'signed with no key': signed(claims, ''),
    'without signature': `${header}.${payload}.`,
    'whose signature is cut': right.slice(0, -4),
    'whose claims were changed': other,
    'of algorithm none': `${base64url({ alg: 'none' })}.${payload}.`,
    'of algorithm nOnE': `${base64url({ alg: 'nOnE' })}.${payload}.`,
    'of algorithm none with a signature': signed(claims, key, { alg: 'none' }),
    'of algorithm HS384': signed(claims, key, { alg: 'HS384' }, 'sha384'),
    'of algorithm HS512': signed(claims, key, { alg: 'HS512' }, 'sha512'),
    'of algorithm RS256': rs256(claims),
    'of no algorithm': signed(claims, key, {}),
    'signed with HS384 that names HS256': signed(claims, key, { alg: 'HS256' }, 'sha384'),
    'with a critical extension': signed(claims, key, { alg: 'HS256', crit: ['b64'], b64: true }),
    'whose crit is empty': signed(claims, key, { alg: 'HS256', crit: [] }),
    'whose crit is null': signed(claims, key, { alg: 'HS256', crit: null }),
    'without exp': signed(withoutExp, key),
    'whose exp is text': signed({ ...claims, exp: String(claims.exp) }, key),
    'whose exp is null': signed({ ...claims, exp: null }, key),
    'whose iat is text': signed({ ...claims, iat: String(claims.iat) }, key),
    'whose iat is null': signed({ ...claims, iat: null }, key),
    'that has expired': signed({ ...claims, exp: seconds - 1 }, key),
    'that expires now': signed({ ...claims, exp: seconds }, key),
    'that is not valid yet': signed({ ...claims, nbf: seconds + 300 }, key),
    'without sub': signed(withoutSub, key),
    ...Object.fromEntries(withId),
    'of type rt+jwt': typed('rt+jwt'),
    'of an empty type': typed(''),
    'of type null': typed(null),
    'of a list of types': typed(['JWT']),
    'of type JWT with a blank': typed('JWT '),
    'of type JWT in letters that only look like it': typed('ＪＷＴ'),
    'that names an unknown key': signed(claims, key, { alg: 'HS256', kid: 'unknown-' }),
    'that names no key by an empty id': signed(claims, key, { alg: 'HS256', kid: '' }),
    'that names a key by null': signed(claims, key, { alg: 'HS256', kid: null }),
    'that names a file as its key': signed(claims, '', { alg: 'HS256', kid: '../../../dev/null' }),
    'that brings its own key': signed(claims, 'own', {
      alg: 'HS256',
      jwk: { kty: 'oct', k: base64url('own') },
      jku: 'https://example.com/keys',
    }),
  }
}

function rs256(claims: object): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const message = `${base64url({ alg: 'RS256', typ: 'JWT' })}.${base64url(claims)}`
  return `${message}.${sign('sha256', Buffer.from(message), privateKey).toString('base64url')}`
}
