import { expect } from 'chai'
import fc from 'fast-check'
import type { Idna } from '#src/domain/accounts/ports.ts'
import { urlIdna } from '#src/idna.ts'

const idna: Idna = urlIdna

describe('Internationalised domain names (UTS #46)', () => {
  const ascii: Readonly<Record<string, string>> = {
    'example.com': 'example.com',
    'EXAMPLE.Com': 'example.com',
    'a-b.c-d.example': 'a-b.c-d.example',
    'r2---sn.example': 'r2---sn.example',
    'münchen.example': 'xn--mnchen-3ya.example',
    'mu\u0308nchen.example': 'xn--mnchen-3ya.example',
    'MÜNCHEN.example': 'xn--mnchen-3ya.example',
    'xn--mnchen-3ya.example': 'xn--mnchen-3ya.example',
    'XN--MNCHEN-3YA.example': 'xn--mnchen-3ya.example',
    // Not the same domain as strasse.example: registries sell them separately.
    'straße.example': 'xn--strae-oqa.example',
    'STRASSE.example': 'strasse.example',
    'İstanbul.example': 'xn--istanbul-o0e.example',
    'ısparta.example': 'xn--sparta-o9a.example',
    ΒΌΛΟΣ: 'xn--nxasmq6b',
    'βόλος.example': 'xn--nxasmm1c.example',
    'ｅｘａｍｐｌｅ．ｃｏｍ': 'example.com',
    '例え。テスト': 'xn--r8jz45g.xn--zckzah',
    'ﬁne.example': 'fine.example',
    'exa\u00admple.com': 'example.com',
    'i❤.ws': 'xn--i-7iq.ws',
    '💩.la': 'xn--ls8h.la',
    '1.com': '1.com',
    '１２７.com': '127.com',
    '127.1.example': '127.1.example',
    'a.1e5': 'a.1e5',
    [`${'a'.repeat(63)}.example`]: `${'a'.repeat(63)}.example`,
  }
  for (const [domain, expected] of Object.entries(ascii)) {
    it(`turn ${domain.slice(0, 30)} into ${expected.slice(0, 30)}`, () => {
      expect(idna.toAscii(domain)).to.equal(expected)
    })
  }

  const none: Readonly<Record<string, readonly string[]>> = {
    'an IPv4 address': [
      ...['127.1', '127.0.0.1', '0x7f.1', '0x7F.0x1', '017.1', '2130706433', '0', '1.2.3.4', 'example.1', 'example.09'],
      ...['example.0x1', '１２７.１', '127。1', '٣.٣', 'x.99999999999999999999'],
    ],
    'an IPv6 address': ['[::1]', '::1', '1::'],
    'invalid Punycode': ['xn--a', 'xn--.com', 'xn--abc-.com', 'xn--zzzzzz99999.com', 'xn--iñvalid.com', 'a.xn--a.com'],
    'Punycode of ASCII, or of what is not allowed in a domain': ['xn--ascii-.com', 'xn--a-ecp.ru', 'xn--1ug.com'],
    'an empty label': [
      '',
      '.',
      '..',
      '.com',
      'a..b',
      'example.com.',
      'example.com..',
      'example。',
      '\u00ad',
      'a.\u00ad',
    ],
    'a label of more than 63 characters': [`${'a'.repeat(64)}.com`, `${'例'.repeat(60)}.jp`, `${'💩'.repeat(63)}.la`],
    'more than 253 characters': [
      `${'a.'.repeat(126)}aa`,
      'a.'.repeat(150),
      `${'a'.repeat(300)}.com`,
      `${'例.'.repeat(130)}jp`,
    ],
    'the syntax of a URL': [
      ...[
        'a/b',
        'a\\b',
        'a?b',
        'a#b',
        'a@b.com',
        'a:80',
        'a:b@c.com',
        'a%2e.com',
        '%65xample.com',
        'a b.com',
        '[a].com',
      ],
      ...[
        'a\tb.com',
        'a\nb.com',
        ' a.com',
        'a.com ',
        'a<b.com',
        'a^b.com',
        'a|b.com',
        'a\0b.com',
        'a.com/',
        '／.com',
        '％41.com',
        'ａ＆ｂ.com',
        '⑴.com',
      ],
    ],
    'characters that no domain has': [
      'a\u200cb.com',
      '\ud800.com',
      '\ufffd.com',
      '\u202ea.com',
      '\u200b',
      'a\u2028b.com',
    ],
  }
  for (const [what, domains] of Object.entries(none)) {
    it(`have no ASCII form for ${what}`, () => {
      for (const domain of domains)
        expect(idna.toAscii(domain), JSON.stringify(domain).slice(0, 80)).to.equal(undefined)
    })
  }

  it('have an ASCII form that is its own, in lower case and within the limits of DNS, or none (property-based)', () => {
    const labels = fc.string({ unit: 'grapheme', maxLength: 12 })
    fc.assert(
      fc.property(fc.array(labels, { maxLength: 5 }), (labels) => {
        const found = idna.toAscii(labels.join('.'))
        if (found === undefined) return
        expect(found).to.match(/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/)
        expect(found.length).to.be.at.most(253)
        expect(idna.toAscii(found)).to.equal(found)
        expect(idna.toAscii(found.toUpperCase())).to.equal(found)
      }),
      { numRuns: 1_000 },
    )
  })

  it('are refused at once if they are long', () => {
    for (const part of ['例', 'a', 'a.', 'xn--', '💩', '\u0301', '\u00ad'])
      expect(idna.toAscii(part.repeat(1_000_000))).to.equal(undefined)
  })
})
