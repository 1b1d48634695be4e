const KEY = 'swarmgate-console-token'

/** Returns the token that was given in this tab, or nothing. */
export function loadToken (): string {
  try {
    return sessionStorage.getItem(KEY) ?? ''
  } catch {
    return '' // a browser that keeps nothing
  }
}

/** Keeps a token for this tab. */
export function saveToken (token: string): void {
  try {
    sessionStorage.setItem(KEY, token)
  } catch {
    // a browser that keeps nothing
  }
}
