// The log of a job: who has scrolled to its end stays there while lines come.

const list = () => document.querySelector("#logs .log");
let isAtEnd = true;

function noteScroll({ target }) {
  if (target === list()) isAtEnd = target.scrollTop + target.clientHeight >= target.scrollHeight - 8;
}

function follow() {
  const log = list();
  if (log && isAtEnd) log.scrollTop = log.scrollHeight;
}

document.addEventListener("scroll", noteScroll, { capture: true, passive: true });
new MutationObserver(follow).observe(document.getElementById("logs"), { childList: true, subtree: true });
follow();
