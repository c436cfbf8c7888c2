import { hash } from 'node:crypto'

/** A short text that stands for a long one. */
export const digest = (text: string): string => hash('sha256', text, 'base64url').slice(0, 22)
