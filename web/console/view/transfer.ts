import type { Download } from '../download.js'
import { duration, size } from '../format.js'
import type { Meter } from '../meter.js'
import { RoomError, hasPicker, openSink } from '../sink.js'
import type { Upload } from '../upload.js'
import { h, setText } from './dom.js'

const AWAY = 'connection lost; it goes on when they are back'

/** A line that shows how far something is. */
class Progress {
  readonly element: HTMLElement
  readonly #bar = h('progress', { max: '1' })
  readonly #text = h('span', { class: 'numbers' })

  constructor (label: string) {
    this.#bar.setAttribute('aria-label', label)
    this.element = h('div', { class: 'progress', 'aria-live': 'off' }, this.#bar, this.#text)
  }

  /** Shows `meter` of `total` bytes; `said` stands instead. */
  show (meter: Meter, total: number, { said, away }: { said?: string | undefined, away: boolean }): void {
    const part = total === 0 ? 1 : meter.total / total
    this.#bar.value = part
    const left = meter.rate > 0 ? ` · ${duration((total - meter.total) / meter.rate)} left` : ''
    const how = away ? AWAY : `${size(meter.rate)}/s${left}`
    setText(this.#text, said ?? `${size(meter.total)} of ${size(total)} (${Math.floor(part * 100)} %) · ${how}`)
  }
}

/** A file that was offered to others. */
export class UploadView {
  readonly element: HTMLElement
  readonly #rows: Array<{ upload: Upload, name: string, progress: Progress, row: HTMLElement, cancel: HTMLButtonElement }>

  constructor (file: File, uploads: Upload[], nameOf: (u: Upload) => string) {
    this.#rows = uploads.map(upload => {
      const name = nameOf(upload)
      const progress = new Progress(`${file.name} to ${name}`)
      const cancel = h('button', {
        type: 'button', class: 'quiet', 'aria-label': `Cancel ${file.name} to ${name}`, onclick: () => upload.cancel('cancelled by the sender')
      }, 'Cancel')
      return { upload, name, progress, cancel, row: h('li', {}, h('span', { class: 'to', dir: 'auto' }, name), progress.element, cancel) }
    })
    this.element = h('div', { class: 'file' },
      h('p', { class: 'file-name' }, h('strong', { dir: 'auto' }, file.name), ' ', h('span', { class: 'numbers' }, size(file.size))),
      h('ul', {}, ...this.#rows.map(r => r.row)))
    this.tick()
  }

  /** Shows what has changed, and reports whether more may. */
  tick (): boolean {
    for (const { upload, progress, row, cancel } of this.#rows) {
      upload.sent.sample(performance.now())
      row.dataset['state'] = upload.state
      const said = {
        offered: upload.away ? AWAY : 'waiting to be accepted', moving: undefined, done: `saved, ${size(upload.file.size)}`,
        failed: `failed: ${upload.reason}`, refused: `declined: ${upload.reason}`
      }[upload.state]
      row.dataset['away'] = String(upload.away && !upload.over)
      progress.show(upload.sent, upload.file.size, { said, away: upload.away })
      cancel.hidden = upload.over
    }
    return this.#rows.some(r => !r.upload.over)
  }
}

/** A file that somebody offers. */
export class DownloadView {
  readonly element: HTMLElement
  readonly #download: Download
  readonly #progress: Progress
  readonly #save: HTMLButtonElement
  readonly #decline: HTMLButtonElement
  readonly #hint = h('p', { class: 'hint', role: 'status', hidden: true })

  constructor (download: Download) {
    this.#download = download
    const name = download.name || 'a file without a name'
    this.#progress = new Progress(name)
    this.#save = h('button', { type: 'button', class: 'primary', 'aria-label': `Save ${name}`, onclick: () => void this.#accept() }, hasPicker() ? 'Save as…' : 'Save')
    this.#decline = h('button', { type: 'button', 'aria-label': `Decline ${name}`, onclick: () => download.refuse(download.state === 'moving' ? 'cancelled' : 'not wanted') }, 'Decline')
    this.element = h('div', { class: 'file' },
      h('p', { class: 'file-name' }, h('strong', { dir: 'auto' }, name), ' ', h('span', { class: 'numbers' }, size(download.size))),
      this.#progress.element,
      this.#hint,
      h('p', { class: 'buttons' }, this.#save, this.#decline))
    this.tick()
  }

  /** Shows what has changed, and reports whether more may. */
  tick (): boolean {
    const d = this.#download
    d.written.sample(performance.now())
    this.element.dataset['state'] = d.state
    this.element.dataset['away'] = String(d.away && !d.over)
    const said = {
      offered: AWAY, moving: undefined, done: hasPicker() ? 'saved' : 'saved among your downloads',
      failed: `failed: ${d.reason}`, refused: `declined: ${d.reason}`
    }[d.state]
    this.#progress.element.hidden = d.state === 'offered' && !d.away
    this.#progress.show(d.written, d.size, { said, away: d.away })
    this.#save.hidden = d.state !== 'offered'
    this.#decline.hidden = d.over
    if (d.state === 'moving') setText(this.#decline, 'Cancel')
    return !d.over
  }

  async #accept (): Promise<void> {
    this.#save.disabled = true
    try {
      this.#download.accept(await openSink(this.#download.name, this.#download.size))
      this.#hint.hidden = true
    } catch (e) {
      if (e instanceof RoomError) {
        this.#hint.hidden = false
        this.#hint.textContent = e.message
      } else if (!(e instanceof DOMException && e.name === 'AbortError')) this.#download.refuse(`cannot be saved: ${String(e)}`)
    }
    this.#save.disabled = false // it is hidden, unless nobody said where to
    this.tick()
    if (this.#save.hidden && document.activeElement === document.body) this.#decline.focus() // which is where the next key would be meant for
  }
}
