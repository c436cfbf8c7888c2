import type { Clock } from '../clock.ts'
import {
  DomainError,
  InvalidCredentials,
  InvalidGrant,
  InvalidToken,
  RegistrationDisabled,
  type StoreUnavailable,
} from '../errors.ts'
import { enforce } from '../rules.ts'
import type { ChangeSignal } from '../tasks/ports.ts'
import type { Caller } from './caller.ts'
import { checkNewPassword, type PasswordPolicy, passwordRule } from './password.ts'
import type {
  AccessToken,
  ApiTokenRepository,
  ApiTokenService,
  Audit,
  CommonPasswords,
  Idna,
  LoginThrottle,
  PasswordHasher,
  PresentedRefreshToken,
  RefreshTokenService,
  Requester,
  SessionRepository,
  TokenService,
  UserRepository,
} from './ports.ts'
import { type Refresh, Session, type SessionKey, type SessionLifetimes } from './session.ts'
import {
  type Credentials,
  emailRule,
  loginRules,
  normalizeEmail,
  normalizeLogin,
  toAddress,
  User,
  type UserSnapshot,
} from './user.ts'

/** What an operator decides about accounts. */
export interface AccountPolicy {
  readonly registrationEnabled: boolean
  /** In characters. */
  readonly passwordMinLength: number
  readonly sessions: SessionLifetimes
}

export interface TokenPair {
  readonly access: AccessToken
  readonly refreshToken: string
  /** When the session ends unless it is used. */
  readonly refreshExpiresAt: Date
}
