/** What the page needs of the info document (docs/PROTOCOL.md, 2.1). */
export interface Info {
  quic: string
  webtransport: string
  certificate: { kind: string, hashes?: string[] }
}

/** Reads the info document of the gateway that the page is from. */
export async function readInfo (): Promise<Info> {
  const r = await fetch('/.well-known/swarmgate', { cache: 'no-store' })
  if (!r.ok) throw new Error(`HTTP status ${r.status}`)
  return await r.json() as Info
}

/** Reports whether a URL leads to the computer that it is opened on. */
export function isLocal (url: string): boolean {
  return /^((.+\.)?localhost\.?|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname)
}
