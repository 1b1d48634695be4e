/** Lets a text area have as many lines as its text, up to what its style allows. */
export function growWithText (e: HTMLTextAreaElement): void {
  e.addEventListener('input', () => {
    e.style.height = 'auto'
    e.style.height = `${e.scrollHeight + 2}px`
  })
}

/** Takes files that are dropped anywhere on the page; `curtain` is shown while they hover. */
export function acceptDrops (curtain: HTMLElement, take: (files: File[]) => void): void {
  let depth = 0
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') === true
  const hover = (d: number) => {
    depth = Math.max(0, d)
    curtain.hidden = depth === 0
  }
  addEventListener('dragenter', event => { if (hasFiles(event)) hover(depth + 1) })
  addEventListener('dragleave', event => { if (hasFiles(event)) hover(depth - 1) })
  addEventListener('dragover', event => { if (hasFiles(event)) event.preventDefault() })
  addEventListener('drop', event => {
    if (!hasFiles(event)) return
    event.preventDefault()
    hover(0)
    take([...event.dataTransfer!.files])
  })
}
