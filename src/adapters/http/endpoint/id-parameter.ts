import * as v from 'valibot'
import { numeral } from './validation.ts'

/** The path parameter of a resource. */
export const idParameter = v.strictObject({ id: numeral(1, Number.MAX_SAFE_INTEGER, { examples: [1] }) })
