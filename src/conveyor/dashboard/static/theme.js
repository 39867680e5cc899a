// Before anything is drawn: the theme that was chosen, if one was.
document.documentElement.classList.add("js");
try {
  const chosen = localStorage.getItem("conveyor-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is off: the system's theme it is */ }
