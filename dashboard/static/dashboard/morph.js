// A region takes on the form of a fresh copy, and only what differs is touched, so
// that focus, selection, scrolling and opened details stay.

export function morph(from, to) {
  if (from.nodeName !== to.nodeName || (from.id ?? "") !== (to.id ?? "")) return from.replaceWith(to);
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.hasAttribute("data-keep")) return;
  morphAttributes(from, to);
  morphChildren(from, to);
}

const belongsToReader = (node, name) =>
  name === "open" || name === "data-at" || (name === "hidden" && node.matches("[data-copy], [data-copy-from], [data-hide], [data-hideable]"));

function morphAttributes(from, to) {
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !belongsToReader(from, name)) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !belongsToReader(from, name)) from.removeAttribute(name);
  }
}

function morphChildren(from, to) {
  const wantedIds = new Set([...to.children].map((child) => child.id).filter(Boolean));
  for (const child of [...from.children]) if (child.id && !wantedIds.has(child.id)) child.remove();
  const keyed = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const match = wanted.id ? keyed.get(wanted.id) : at && !at.id && at.nodeName === wanted.nodeName ? at : null;
    if (!match) {
      from.insertBefore(wanted, at);
      continue;
    }
    while (at && at !== match && !at.id) at = dropped(at);
    if (match === at) at = at.nextSibling;
    else from.insertBefore(match, at);
    morph(match, wanted);
  }
  while (at) at = dropped(at);
}

// Removes a node; answers the one after it.
function dropped(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}
