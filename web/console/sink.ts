/** Where a file goes that is received. */
export interface Sink {
  /** Resolves when there is room for more. */
  write: (b: Uint8Array<ArrayBuffer>) => Promise<void>
  /** All was written: the file is there. */
  close: () => Promise<void>
  /** Throws away what was written. */
  abort: () => Promise<void>
}

/** Most bytes of a file in a browser that writes to no disk for pages. */
export const MAX_MEMORY = 1 << 30

const FOLD = 8 << 20 // bytes in the page's own memory before the browser takes them over

interface Picker { showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle> }

/** Reports whether this browser lets a page write a file to the disk as it comes. */
export function hasDisk (): boolean { return 'showSaveFilePicker' in globalThis }

/**
 * Asks where to put a file, and opens it. It is called within a click. It rejects with an AbortError where nobody wants to say, and is
 * undefined where the file is too large for this browser.
 */
export async function openSink (name: string, size: number): Promise<Sink | undefined> {
  const pick = (globalThis as Picker).showSaveFilePicker
  if (pick) return diskSink(await (await pick({ suggestedName: fileName(name) })).createWritable())
  return size <= MAX_MEMORY ? memorySink(fileName(name)) : undefined
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

/** Collects a file and hands it over as a download. */
function memorySink (name: string): Sink {
  let blob = new Blob()
  let parts: Uint8Array<ArrayBuffer>[] = []
  let held = 0
  const fold = () => {
    blob = new Blob([blob, ...parts], { type: 'application/octet-stream' }) // never a type that a browser would run
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
      const link = document.createElement('a')
      link.href = URL.createObjectURL(blob)
      link.download = name
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
    },
    async abort () {
      parts = []
      blob = new Blob()
    }
  }
}
