// Select2 gives its boxes no name: they get that of the field's label.
const nameBoxes = () => {
  for (const field of document.querySelectorAll("select.admin-autocomplete")) {
    const label = document.querySelector(`label[for="${field.id}"]`);
    const name = label ? label.textContent.replace(":", "").trim() : field.name;
    const box = field.nextElementSibling;
    for (const part of box?.querySelectorAll("[role=combobox], [role=textbox]") ?? []) {
      part.removeAttribute("aria-labelledby");
      part.setAttribute("aria-label", name);
    }
  }
};
// Nor do the two halves of a time have names, nor hints a role that lets them have theirs.
for (const half of document.querySelectorAll(".datetime :is(.vDateField, .vTimeField):not([aria-label])")) {
  const whole = half.closest(".form-row").querySelector("legend, label").textContent.replace(":", "").trim();
  half.setAttribute("aria-label", `${half.matches(".vDateField") ? "Date" : "Time"} of ${whole.toLowerCase()}`);
}
addEventListener("load", () => {
  for (const hint of document.querySelectorAll(".help-tooltip[aria-label]")) hint.setAttribute("role", "img");
});
window.django?.jQuery?.(nameBoxes); // in its turn after the admin's own, which makes the boxes
document.addEventListener("formset:added", () => requestAnimationFrame(nameBoxes));
