const FOLDER = 'swarmgate-console'
const KEPT = 10 * 60_000 // ms for the browser to copy a file to where it goes
const FOLD = 1 << 20 // bytes that are written at once

/**
 * Opens the folder that the browser keeps for this origin on the disk, out of sight. It rejects
 * if there is none, as in some private windows.
 */
async function folder (): Promise<FileSystemDirectoryHandle> {
  const root = await navigator.storage.getDirectory()
  return await root.getDirectoryHandle(FOLDER, { create: true })
}

/** A file on the browser's private disk, until it is handed over. */
export class StoredFile {
  readonly #id: string
  readonly #handle: FileSystemFileHandle
  readonly #stream: FileSystemWritableFileStream
  readonly #release: () => void
  #parts: Uint8Array<ArrayBuffer>[] = []
  #held = 0

  private constructor (id: string, handle: FileSystemFileHandle, stream: FileSystemWritableFileStream, release: () => void) {
    this.#id = id
    this.#handle = handle
    this.#stream = stream
    this.#release = release
  }

  /** Makes a file, which is this page's as long as the page is there. */
  static async make (): Promise<StoredFile> {
    const id = crypto.randomUUID()
    const release = await hold(id)
    try {
      const handle = await (await folder()).getFileHandle(id, { create: true })
      return new StoredFile(id, handle, await handle.createWritable(), release)
    } catch (e) {
      release()
      throw e
    }
  }

  /** Appends bytes. */
  async write (b: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#parts.push(b)
    this.#held += b.length
    if (this.#held >= FOLD) await this.#fold()
  }

  /**
   * Ends it, and returns what was written. It is on the disk until `remove`, or for some minutes.
   */
  async close (): Promise<File> {
    await this.#fold()
    await this.#stream.close()
    setTimeout(() => void this.remove(), KEPT)
    return await this.#handle.getFile()
  }

  /** Throws it away, complete or not. */
  async remove (): Promise<void> {
    this.#parts = []
    await this.#stream.abort().catch(() => {}) // it was closed
    try {
      await (await folder()).removeEntry(this.#id)
    } finally {
      this.#release()
    }
  }

  async #fold (): Promise<void> {
    const blob = new Blob(this.#parts)
    this.#parts = []
    this.#held = 0
    if (blob.size > 0) await this.#stream.write(blob)
  }
}

/** Removes the files of pages that are gone. */
export async function removeLeftovers (): Promise<void> {
  const all = await folder()
  for await (const id of all.keys()) {
    await navigator.locks.request(lockOf(id), { ifAvailable: true }, async lock => { if (lock) await all.removeEntry(id) })
  }
}

/**
 * Returns for how many bytes there is room. Where that is less than wanted, somebody may be asked
 * to allow the page more.
 */
export async function roomFor (wanted: number): Promise<number> {
  const left = async () => {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate()
    return Math.max(0, quota - usage)
  }
  const room = await left()
  return room < wanted && await navigator.storage.persist() ? await left() : room
}

const lockOf = (id: string): string => `${FOLDER}/${id}`

/**
 * Takes a lock, which tells other pages that a file is somebody's. It resolves with what gives it
 * back.
 */
function hold (id: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    navigator.locks.request(lockOf(id), () => new Promise<void>(release => resolve(release))).catch(reject)
  })
}
