// Events inside one page: pulse (numbers), changed (a page has a new version), state (of the channel), morphed.
const target = new EventTarget();

export const root = document.body.dataset.root;

export function send(kind, detail) {
  target.dispatchEvent(new CustomEvent(kind, { detail }));
}

export function listen(kind, take) {
  target.addEventListener(kind, (event) => take(event.detail));
}

export function remembered(name, otherwise) {
  try { return localStorage.getItem(`conveyor-${name}`) ?? otherwise; } catch { return otherwise; }
}

export function remember(name, value) {
  try { localStorage.setItem(`conveyor-${name}`, value); } catch { /* storage is off: it holds for this page */ }
}
