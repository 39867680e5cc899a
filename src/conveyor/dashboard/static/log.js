// To be filled.
export function startLog() {}
