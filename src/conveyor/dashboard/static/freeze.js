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

// True if the region is in the new page, too, which only an id proves.
export function isStillIn(html, region) {
  const named = region.hasAttribute("id") ? region : region.querySelector("[id]");
  return named !== null && html.includes(`id="${named.getAttribute("id")}"`); // form.id may be a field of that name
}

// Returns why the page is frozen, as a label (empty if it is over in a moment), or null if it is not.
export function freezeReason() {
  const selected = getSelection();
  if (selected && !selected.isCollapsed && main().contains(selected.anchorNode)) return "frozen while you select";
  if (document.querySelector("dialog[open]")) return "frozen while a dialog is open";
  if (document.querySelector("main details.menu[open]")) return "frozen while a menu is open";
  return pressed ? "" : null;
}

// `left` is called when the focus leaves a form, or a field outside of forms.
export function startFreeze(left) {
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel", "contextmenu", "blur"]) addEventListener(end, () => { pressed = false; });
  addEventListener("pointermove", ({ buttons }) => { if (!buttons) pressed = false; }); // let go of outside of the page
  document.addEventListener("focusout", ({ target, relatedTarget }) => {
    if (!main().contains(target) || !target.matches(FIELDS)) return;
    if (!(target.closest("form") ?? target).contains(relatedTarget)) left();
  });
}
