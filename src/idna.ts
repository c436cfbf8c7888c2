import { domainToASCII, domainToUnicode } from 'node:url'

/** Maximum length of a domain, and of each of its labels, in characters (RFC 1035, section 2.3.4). */
const MAX_DOMAIN = 253
const LABEL = /^[\w-]{1,63}$/
/** Longer text has no ASCII form within the limit, and converting it would take quadratic time. */
const MAX_UNITS = 2 * MAX_DOMAIN

/** ASCII characters with a meaning in URLs, and blanks, which a URL parser removes: `domainToASCII` would interpret them. */
const URL_SYNTAX = /[^\w.\-\u0080-\u{10FFFF}]/u
const IPV4_ADDRESS = /(?:^|\.)\d+$/
const ENCODED_LABEL = /(?:^|\.)xn--/

/**
 * Internationalised domain names by Node's URL parser (UTS #46, non-transitional, as browsers use it). Migrated and new
 * accounts must get the same keys.
 */
export const urlIdna = {
  /** The ASCII form of a domain, in lower case; undefined if it has none. Never an IP address. */
  toAscii(domain: string): string | undefined {
    if (domain.length > MAX_UNITS || URL_SYNTAX.test(domain)) return undefined
    const ascii = domainToASCII(domain)
    if (ascii.length > MAX_DOMAIN || !ascii.split('.').every((label) => LABEL.test(label))) return undefined
    // A host whose last label is a number is an IPv4 address for a URL parser, or invalid.
    return IPV4_ADDRESS.test(ascii) || hasInvalidLabel(ascii) ? undefined : ascii
  },
}

/** `domainToASCII` accepts any ASCII label unchanged, and `domainToUnicode` leaves one that it cannot decode. */
const hasInvalidLabel = (ascii: string) => ENCODED_LABEL.test(ascii) && ENCODED_LABEL.test(domainToUnicode(ascii))
