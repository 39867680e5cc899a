// Keeps updates away from what the user is using: the form or field that has the focus is not updated, and the whole
// page is frozen only while text is selected, a dialog or menu is open, or the pointer is down.
const FIELDS = "input:not([type=checkbox]), textarea, select";

let pressed = false;
const main = () => document.getElementById("main");

// The form or field that has the focus, or null.
export function heldRegion() {
  const active = document.activeElement;
  if (!active || !main().contains(active) || !active.matches(FIELDS)) return null;
  return active.closest("form") ?? active;
}

// Whether the region is in the new page, too; only by an id is that certain.
export function isStillIn(html, region) {
  const named = region.hasAttribute("id") ? region : region.querySelector("[id]");
  return named !== null && html.includes(`id="${named.getAttribute("id")}"`); // form.id may be a field of that name
}

// Why all must hold still, in words (none for what is over in a moment); null where nothing must.
export function holdsStill() {
  const selected = getSelection();
  if (selected && !selected.isCollapsed && main().contains(selected.anchorNode)) return "holding still while you select";
  if (document.querySelector("dialog[open]")) return "holding still while a dialog is open";
  if (document.querySelector("main details.menu[open]")) return "holding still while a menu is open";
  return pressed ? "" : null;
}

// `left` is called when the focus leaves a form or a field that is none's.
export function startHold(left) {
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel", "contextmenu", "blur"]) addEventListener(end, () => { pressed = false; });
  addEventListener("pointermove", ({ buttons }) => { if (!buttons) pressed = false; }); // let go of outside of the page
  document.addEventListener("focusout", ({ target, relatedTarget }) => {
    if (!main().contains(target) || !target.matches(FIELDS)) return;
    if (!(target.closest("form") ?? target).contains(relatedTarget)) left();
  });
}
