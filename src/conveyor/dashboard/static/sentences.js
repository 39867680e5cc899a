// Joins what is said about one matter, whoever wrote the parts: each ends with one mark, and none runs into the next.
export function sentences(...parts) {
  return parts.map((part) => String(part ?? "").trim()).filter(Boolean)
    .map((part) => (/[?!…:]$/.test(part) ? part : `${part.replace(/[.\s]+$/, "")}.`)).join(" ");
}
