import fc from 'fast-check'

/** Any well-formed text, including NUL. fast-check's own `unit: 'binary'` takes half a second to prepare. */
export const anyText = (constraints: { readonly minLength?: number; readonly maxLength?: number } = {}) =>
  fc.string({ unit: codePoint, ...constraints })

/** Mostly code points that rules, encodings and stores tend to mishandle. */
const codePoint = fc
  .oneof(
    fc.integer({ min: 0, max: 0xff }),
    fc.constantFrom(0x300, 0x301, 0x130, 0x131, 0x1e9e, 0x200b, 0x2028, 0x202e, 0x3000, 0xfeff, 0xfffd, 0xffff),
    fc.integer({ min: 0x100, max: 0xd7ff }),
    fc.integer({ min: 0xe000, max: 0x10ffff }),
  )
  .map((point) => String.fromCodePoint(point))
