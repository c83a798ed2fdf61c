// Replaces the page by a newer one as soon as there is one. Without this script, reloading does the same.
let current = null;
setInterval(async () => {
  try {
    const response = await fetch("/version");
    if (response.redirected) return location.reload();
    const version = await response.text();
    if (!response.ok || version === current) return;
    if (current !== null) {
      const page = await (await fetch(location.href)).text();
      const main = new DOMParser().parseFromString(page, "text/html").querySelector("main");
      document.querySelector("main").replaceChildren(...main.childNodes);
    }
    current = version;
  } catch {
    // The dashboard does not answer; try again at the next turn.
  }
}, 2000);
