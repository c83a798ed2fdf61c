// The demo shop's own script. Without it, every form works as a form.
(() => {
  "use strict";
  const count = document.getElementById("count");
  const toast = document.getElementById("toast");
  const say = (text) => {
    toast.textContent = text;
    toast.classList.add("shown");
    setTimeout(() => toast.classList.remove("shown"), 3000);
  };

  for (const form of document.querySelectorAll('form[action="/cart/add"]')) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const items = [{ id: new FormData(form).get("id"), quantity: 1 }];
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("/cart/add.js", { method: "POST", headers, body: JSON.stringify({ items }) });
      if (!response.ok) return say("That did not work. Please try again.");
      count.textContent = (await response.json()).count;
      say("It is in your cart.");
    });
  }

  document.addEventListener("crosslift:added", (event) => {
    if (location.pathname === "/cart") return location.reload();
    count.textContent = Number(count.textContent) + event.detail.products.length;
  });
})();
