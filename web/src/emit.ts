/** Dispatches a CustomEvent. */
export function emit (target: EventTarget, type: string, detail: unknown): void { target.dispatchEvent(new CustomEvent(type, { detail })) }
