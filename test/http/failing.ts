import type { UserRepository } from '#src/domain/accounts/ports.ts'

/** A port whose methods all fail. */
export function failing<Port>(
  methods: readonly (keyof Port)[],
  fail: (...given: readonly unknown[]) => Promise<never>,
): Port {
  return Object.fromEntries(methods.map((method) => [method, fail])) as Port
}

export const failingUsers = (fail: (...given: readonly unknown[]) => Promise<never>): UserRepository =>
  failing<UserRepository>(['add', 'findById', 'findByEmail', 'list', 'replaceHash', 'write'], fail)
