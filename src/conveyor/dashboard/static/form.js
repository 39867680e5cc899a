// To be filled.
export function startForms() {}
