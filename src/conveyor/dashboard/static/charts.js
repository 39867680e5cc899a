// To be filled.
export function startCharts() {}
