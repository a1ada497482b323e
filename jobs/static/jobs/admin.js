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
window.django?.jQuery?.(nameBoxes); // in its turn after the admin's own, which makes the boxes
document.addEventListener("formset:added", () => requestAnimationFrame(nameBoxes));
