import { size as bytes } from './format.js'
import { StoredFile, roomFor } from './store.js'

/** Where a file goes that is received. */
export interface Sink {
  /** Resolves when there is room for more. */
  write: (b: Uint8Array<ArrayBuffer>) => Promise<void>
  /** All was written: the file is there. */
  close: () => Promise<void>
  /** Throws away what was written. */
  abort: () => Promise<void>
}

/** There is no room for a file. The message is for people. */
export class RoomError extends Error {
  override name = 'RoomError'
}

const MAX_MEMORY = 256 << 20 // bytes of a file, where there is no disk for pages
const FOLD = 8 << 20 // bytes in the page's own memory before the browser takes them over

interface Picker { showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle> }

/** Reports whether this browser lets somebody say where a file goes, before it comes. */
export function hasPicker (): boolean { return 'showSaveFilePicker' in globalThis }

/**
 * Opens where to put a file, within a click: where somebody says, or on the browser's private disk
 * and from there among the downloads, or in memory if there is none. It rejects with an
 * AbortError if nobody wants to say, and with a RoomError.
 */
export async function openSink (name: string, size: number): Promise<Sink> {
  const pick = (globalThis as Picker).showSaveFilePicker
  if (pick) return diskSink(await (await pick({ suggestedName: fileName(name) })).createWritable())
  let stored: StoredFile
  try {
    const room = await roomFor(size)
    if (size > room) throw new RoomError(`There is no room for it: this browser lets the page keep ${bytes(room)}.`)
    stored = await StoredFile.make()
  } catch (e) {
    if (e instanceof RoomError) throw e
    if (size > MAX_MEMORY) throw new RoomError(`This window lets the page keep nothing on the disk, so ${bytes(MAX_MEMORY)} is all that it can take. Is it a private window?`)
    return memorySink(fileName(name))
  }
  return storedSink(stored, fileName(name))
}

/** Returns a name of somebody else as one that is a file's, in no other directory. */
export function fileName (name: string): string {
  const safe = name.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\\/:*?"<>|]/gu, '_').replace(/^[\s.]+|[\s.]+$/g, '')
  return safe || 'file'
}

function diskSink (stream: FileSystemWritableFileStream): Sink {
  return {
    write: b => stream.write(b),
    close: () => stream.close(),
    abort: () => stream.abort()
  }
}

/** Collects a file on the browser's private disk. */
function storedSink (stored: StoredFile, name: string): Sink {
  return {
    write: b => stored.write(b),
    close: async () => download(await stored.close(), name),
    abort: () => stored.remove()
  }
}

/** Collects a file in memory. */
function memorySink (name: string): Sink {
  let blob = new Blob()
  let parts: Uint8Array<ArrayBuffer>[] = []
  let held = 0
  const fold = () => {
    blob = new Blob([blob, ...parts])
    parts = []
    held = 0
  }
  return {
    async write (b) {
      parts.push(b.slice()) // the rest of its buffer is not kept
      held += b.length
      if (held >= FOLD) fold()
    },
    async close () {
      fold()
      download(blob, name)
    },
    async abort () {
      parts = []
      blob = new Blob()
    }
  }
}

/** Hands a file over as a download, never as a type that a browser would run. */
function download (file: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file.slice(0, file.size, 'application/octet-stream'))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
