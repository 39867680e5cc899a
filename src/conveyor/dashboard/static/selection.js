// To be filled.
export function startSelection() {}
