// Puts a newer page in the place of an older one, as soon as there is one. Without it, reloading does the same.
let seen = null;
setInterval(async () => {
  try {
    const answer = await fetch("/version");
    if (answer.redirected) return location.reload();
    const version = await answer.text();
    if (!answer.ok || version === seen) return;
    if (seen !== null) {
      const page = await (await fetch(location.href)).text();
      const main = new DOMParser().parseFromString(page, "text/html").querySelector("main");
      document.querySelector("main").replaceChildren(...main.childNodes);
    }
    seen = version;
  } catch {
    // The dashboard is away; the next turn will tell.
  }
}, 2000);
