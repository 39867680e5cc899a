// On the page that says the server is away: come back as soon as it answers.
const root = document.body.dataset.root;

async function look() {
  try {
    if (!document.hidden && (await fetch(`${root}/readyz`, { cache: "no-store" })).ok) {
      location.reload();
      return;
    }
  } catch { /* the page's own process is away, too; it may come back */ }
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
