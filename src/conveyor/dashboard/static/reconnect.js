// On a page that says what is missing, the server or what the page is about: load it again as soon as that is there.
const { root, status } = document.body.dataset;
const away = status === "503";
const PAUSE = away ? 2000 : 3000; // ms

async function isThere() {
  const reply = await fetch(away ? `${root}/readyz` : location.href, { cache: "no-store" });
  return away ? reply.ok : String(reply.status) !== status;
}

async function look() {
  try {
    if (!document.hidden && (await isThere())) {
      location.reload();
      return;
    }
  } catch { /* the page's own process is away, too; it may come back */ }
  setTimeout(look, PAUSE);
}
setTimeout(look, PAUSE);
