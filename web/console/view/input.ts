/** Lets a text area have as many lines as its text, up to what its style allows. */
export function growWithText (e: HTMLTextAreaElement): void {
  e.addEventListener('input', () => {
    e.style.height = 'auto'
    e.style.height = `${e.scrollHeight + 2}px`
  })
}

const HOVER = 1000 // ms without a word of something that is dragged: it is gone, or was taken back

/** Takes files that are dropped anywhere on the page; `curtain` is shown while they hover. */
export function acceptDrops (curtain: HTMLElement, take: (files: File[]) => void): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') === true
  const hide = () => { curtain.hidden = true }
  addEventListener('dragover', event => {
    if (!hasFiles(event)) return
    event.preventDefault()
    curtain.hidden = false
    clearTimeout(timer)
    timer = setTimeout(hide, HOVER)
  })
  addEventListener('dragleave', event => { if (!event.relatedTarget) hide() })
  addEventListener('keydown', event => { if (event.key === 'Escape') hide() })
  addEventListener('drop', event => {
    if (!hasFiles(event)) return
    event.preventDefault()
    hide()
    take([...event.dataTransfer!.files])
  })
}
