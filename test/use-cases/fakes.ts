import { InvalidToken } from '#src/domain/errors.ts'
import type { AccessToken, Clock, PasswordHasher, TokenService } from '#src/domain/ports.ts'

/** Remembers what it was asked to verify. */
export class FakePasswordHasher implements PasswordHasher {
  readonly verified: (string | undefined)[] = []

  async hash(password: string): Promise<string> {
    return `hash of ${password}`
  }

  async verify(password: string, hash: string | undefined): Promise<boolean> {
    this.verified.push(hash)
    return hash === (await this.hash(password))
  }
}

export class FakeTokenService implements TokenService {
  issue(userId: number): AccessToken {
    return { token: `token of ${userId}`, expiresIn: 3_600 }
  }

  verify(token: string): number {
    const [, id] = /^token of (\d+)$/.exec(token) ?? []
    if (id === undefined) throw new InvalidToken()
    return Number(id)
  }
}

export class FakeClock implements Clock {
  time = new Date('2026-01-31T09:30:00.000Z')

  now(): Date {
    return this.time
  }
}
