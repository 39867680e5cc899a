// Joins messages about one matter into sentences: each ends with one mark, and none runs into the next.
export function sentences(...parts) {
  return parts.map((part) => String(part ?? "").trim()).filter(Boolean)
    .map((part) => (/[?!…:]$/.test(part) ? part : `${part.replace(/[.\s]+$/, "")}.`)).join(" ");
}

// Of what begins as the reason of an error: with a capital letter.
export const opened = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

// The nodes of a text in which what stands between backticks is a command.
export function withCommands(text) {
  const parts = text.split("`");
  if (parts.length % 2 === 0) return [text];
  return parts.map((part, at) => (at % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part));
}
