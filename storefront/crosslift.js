// Shows visitors the placements that they were assigned, and logs exposures and what came of them: docs/storefront.md.
(() => {
	"use strict";
	const script = document.currentScript;
	if (!script || !script.dataset.key || window.crosslift?.page) return;
	const settings = script.dataset;
	const server = settings.server || new URL(script.src).origin;
	const url = (path) => `${server}/v1/${path}?key=${settings.key}`;
	const ask = (path, body, more) => fetch(url(path), { method: "POST", body, credentials: "include", ...more });
	const labels = {
		add: "Add",
		addItem: "Add {title}",
		addAll: "Add all {count} to cart",
		addChosen: "Add what is ticked",
		added: "Added",
		failed: "That did not work. Please try again.",
		inCart: "{title}: in your cart",
		decline: "No, thanks",
		close: "Close",
		continue: "Continue",
		saving: "You save {amount}",
		offer: "For you",
	};
	const listeners = { offer: [], add: [] };
	let allowed = settings.consent !== "ask";
	let page;
	let answer; // what the server said for this page
	let offers; // what it said of each experiment
	let turn = 0; // counts pages, single-page navigation included
	let entered; // when this browser met each experiment's trigger
	let metHere; // triggers met on this page
	let early; // those met before the answer came

	const attempt = (action) => {
		try {
			return action();
		} catch {
			return null;
		}
	};
	const parsed = (text) => attempt(() => JSON.parse(text)) || {};

	// Storage: none of it before consent, and all of it optional.
	const storage = (area) => {
		const kept = attempt(() => window[area]);
		return {
			read: (name) => attempt(() => JSON.parse(kept.getItem(`crosslift.${name}`))),
			keep: (name, value) => may() && attempt(() => kept.setItem(`crosslift.${name}`, JSON.stringify(value))),
			drop: (name) => attempt(() => kept.removeItem(`crosslift.${name}`)),
			names: (start) => Object.keys(kept || {}).filter((name) => name.startsWith(`crosslift.${start}`)).map((name) => name.slice(10)).sort(),
		};
	};
	const local = storage("localStorage");
	const session = storage("sessionStorage");
	const may = () => allowed && !(settings.gpc && navigator.globalPrivacyControl);
	const unique = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
	const now = () => Date.now() + answer.offset;

	// The outbox: an event leaves it when the server has said that it has it.
	const waiting = new Map(); // what no beacon has taken
	const beaconed = new Map(); // beacon -> ids of its events
	const isFinal = (status) => [200, 202, 400, 403, 413].includes(status);
	const forget = (ids) => ids.forEach((id) => (waiting.delete(id), local.drop(id)));

	const log = (event) => {
		if (!may()) return;
		const id = `e.${Date.now().toString(36)}.${unique()}`;
		waiting.set(id, event);
		local.keep(id, event);
		forget(local.names("e.").slice(0, -200));
		log.due ||= setTimeout(beacon);
	};

	// Browsers take 64 KiB in flight.
	const packed = (ids) => {
		const packs = [];
		for (const id of ids) {
			const event = JSON.stringify(waiting.get(id) || local.read(id));
			if (event === "null") continue;
			let last = packs.at(-1);
			if (!last || last.size + event.length > 4e4) packs.push((last = { ids: [], events: [], size: 0 }));
			last.ids.push(id);
			last.events.push(event);
			last.size += event.length;
		}
		return packs.map(({ ids, events }) => [ids, `{"events":[${events}]}`]);
	};

	const beacon = () => {
		log.due = 0;
		for (const [ids, body] of packed(waiting.keys())) {
			const own = `${url("events")}&beacon=${unique()}`;
			if (!navigator.sendBeacon(own, body)) continue;
			beaconed.set(own, ids);
			ids.forEach((id) => waiting.delete(id));
		}
		clearTimeout(beacon.check);
		beacon.check = setTimeout(deliver, 5000);
	};

	// A beacon tells nothing itself; the timing of it does, where it may.
	const confirm = (timings) => {
		for (const { name, responseStatus } of timings.getEntries()) {
			if (beaconed.has(name) && isFinal(responseStatus)) forget(beaconed.get(name));
		}
	};

	// Sends again what nothing has confirmed.
	const deliver = () => {
		if (!may()) return;
		for (const [ids, body] of packed(local.names("e."))) {
			ask("events", body, { keepalive: true })
				.then((response) => isFinal(response.status) && forget(ids))
				.catch(() => {});
		}
	};

	const record = (type, one, more) => {
		if (!one.exposure_token || !one.variant) return; // previews, and who is not in the experiment
		const unit = one.unit === "visitor_id" ? answer.visitor_id : page.context[one.unit];
		const { experiment, variant, placement } = one;
		log({ type, event_id: unique(), experiment, variant, visitor_id: `${unit}`, placement, occurred_at_ms: now(), ...more });
	};

	const load = async () => {
		if (!may()) return;
		deliver();
		const mine = ++turn;
		if (document.prerendering) await new Promise((seen) => document.addEventListener("prerenderingchange", seen, { once: true }));
		const late = new AbortController();
		const timer = setTimeout(() => late.abort(), Number(settings.deadline) || 150);
		const given = new URLSearchParams(location.search).get("crosslift_preview");
		if (given !== null) session.keep("preview", given);
		const body = JSON.stringify({ context: page.context, preview: session.read("preview") || undefined });
		const fetched = async () => {
			const response = await ask("page", body, { signal: late.signal });
			if (response.status === 400) session.drop("preview"); // it may have been that
			return response.ok ? response.json() : null;
		};
		try {
			// Two tabs that open at once must not both be given a new id.
			const locks = !local.read("known") && navigator.locks;
			const found = await (locks ? locks.request("crosslift", { signal: late.signal }, fetched) : fetched());
			clearTimeout(timer);
			if (!found || typeof found.visitor_id !== "string" || typeof found.assignments !== "object") return;
			if (document.readyState === "loading") await new Promise((ready) => document.addEventListener("DOMContentLoaded", ready));
			if (mine !== turn || !may()) return;
			offers = Object.entries(found.assignments).map(([experiment, one]) => ({ experiment, ...one }));
			answer = { ...found, offset: found.now_ms - Date.now() || 0 };
			begin();
		} catch {
			// The page stays as it is, and nobody is exposed.
		} finally {
			clearTimeout(timer);
		}
	};

	const begin = () => {
		local.keep("known", 1);
		const kept = local.read("entered") || {};
		entered = Object.fromEntries(Object.entries(kept).filter(([, at]) => at > Date.now() - 7 * 864e5));
		linkCart();
		if (page.name) trigger(page.name);
		else showAll();
		early.forEach((name) => trigger(name));
		const added = session.read("added");
		session.drop("added");
		if (added > Date.now() - 60000) showAdded();
		watchExit();
	};

	// A trigger exposes every arm, the control too.
	const trigger = (name, leaving) => {
		if (!answer) early.push(name);
		if (!answer || !may()) return;
		const first = !metHere.has(name);
		metHere.add(name);
		for (const one of offers.filter((one) => one.trigger === name)) {
			entered[one.experiment] = Date.now();
			if (!first || !one.exposure_token) continue;
			const { product_id, cart, ...attributes } = page.context;
			log({ type: "exposure", exposure_token: one.exposure_token, exposed_at_ms: now(), attributes });
		}
		local.keep("entered", { ...local.read("entered"), ...entered }); // another tab has its own
		if (leaving) return;
		showAll();
		if (first) showPopup(name);
		if (name === "add_to_cart") showAdded();
		if (name === "order_completed") session.drop("linked"); // the next cart is another
	};

	const watchExit = () => {
		if (watchExit.on || !offers.some((one) => one.trigger === "exit_intent")) return;
		watchExit.on = true;
		let lowest = 0;
		document.addEventListener("mouseout", (event) => !event.relatedTarget && event.clientY <= 0 && trigger("exit_intent"));
		addEventListener("scroll", () => {
			lowest = Math.max(lowest, scrollY);
			const back = lowest > innerHeight && scrollY < 50; // up to the address bar again
			if (back && matchMedia("(pointer: coarse)").matches) trigger("exit_intent");
		}, { passive: true });
	};

	const shown = new Set();
	const active = () =>
		offers.filter((one) => one.offer && !shown.has(one) && (entered[one.experiment] || one.reason === "preview"));

	const slotOf = (one) => document.querySelector(`[data-crosslift-slot="${one.placement}"]`);

	const showAll = () => {
		for (const one of active()) {
			const slot = slotOf(one);
			if (slot && !slot.firstElementChild && !/popup|after_add/.test(one.placement)) show(one, slot);
		}
	};

	const showPopup = (name) => {
		const one = active().find((one) => one.placement === "popup" && one.trigger === name);
		if (!one) return;
		const since = Date.now() - (settings.popupHours ?? 24) * 36e5;
		if (one.reason !== "preview" && local.read("popup") > since) return;
		const mine = turn;
		const open = () => {
			if (mine !== turn || document.querySelector("dialog[open]")) return;
			local.keep("popup", Date.now());
			show(one);
		};
		setTimeout(open, name === page.name ? Number(settings.popupDelay ?? 1000) : 0);
	};

	const showAdded = () => {
		const one = active().find((one) => one.placement === "after_add_to_cart");
		if (one) show(one, slotOf(one));
	};

	const show = (one, slot) => {
		try {
			shown.add(one);
			const own = {
				...one,
				slot,
				observe: (element) => observe(element, one),
				log: (type, more) => record(type, one, more),
				add: (products) => add(products, one),
			};
			if (listeners.offer.some((listener) => listener(own) === true)) return;
			const element = render(one);
			if (!slot) return dialog(element, one);
			slot.append(element);
			observe(element, one);
		} catch (error) {
			console.warn("crosslift:", error);
		}
	};

	// Half of it seen for a second; of what is taller than the window, half a window.
	const observe = (element, one) => {
		const seen = session.read("seen") || [];
		const place = `${one.experiment} ${location.pathname}`;
		const [navigation] = performance.getEntriesByType("navigation");
		const again = turn === 1 && navigation?.type !== "navigate"; // Back, Forward or Reload
		if (again && seen.includes(place)) return;
		let timer;
		const observer = new IntersectionObserver((entries) => {
			const entry = entries.at(-1);
			const half = entry.intersectionRatio >= 0.5 || entry.intersectionRect.height >= innerHeight / 2;
			clearTimeout(timer);
			if (!half) return;
			timer = setTimeout(function look() {
				if (document.hidden) return (timer = setTimeout(look, 1000));
				observer.disconnect();
				session.keep("seen", [...seen.slice(-50), place]);
				if (element.isConnected) record("impression", one);
			}, 1000);
		}, { threshold: [0, 0.1, 0.2, 0.3, 0.4, 0.5] });
		observer.observe(element);
	};

	// Text goes in as text, and an address only if it is one of the web.
	const h = (tag, attributes, ...children) => {
		const element = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes)) {
			if (value != null) element.setAttribute(name, value);
		}
		element.append(...children.filter(Boolean));
		return element;
	};
	const address = (text) => attempt(() => (text && /^https?:$/.test(new URL(text, location.href).protocol) ? text : null));
	const say = (name, values = {}) => labels[name].replace(/\{(\w+)\}/g, (_, word) => values[word] ?? "");
	const money = (amount) => {
		const { lang } = document.documentElement;
		return new Intl.NumberFormat(lang || undefined, { style: "currency", currency: answer.currency }).format(amount);
	};
	const button = (text, kind, action, label) => {
		const element = h("button", { type: "button", class: `crosslift-${kind}`, "aria-label": label }, text);
		element.addEventListener("click", () => action(element));
		return element;
	};

	const render = (one) => {
		const { kind, headline, decline } = one.offer;
		const id = `crosslift-${one.experiment}`;
		const status = h("p", { role: "status" });
		const place = `crosslift crosslift-in-${one.placement.replace(":", "-")}`;
		const box = h("section", { class: place, "aria-labelledby": id, "data-crosslift-variant": one.variant });
		const products = one.bundle?.products || one.offer.products || [];
		const own = kind === "build_your_own";
		const together = own || kind === "bundle";
		const take = async (chosen, pressed) => {
			pressed.disabled = true;
			const done = await add(chosen, one);
			pressed.disabled = done;
			if (done) pressed.textContent = say("added");
			if (done) box.onadded?.();
			status.textContent = done ? say("inCart", { title: chosen.map(title).join(", ") }) : say("failed");
		};
		box.append(h("h2", { id }, headline || say("offer")));
		if (products.length) box.append(list(products, one, own, together ? null : take));
		if (one.bundle) box.append(total(one.bundle));
		if (together) {
			const ticked = () => products.filter((_, index) => !own || box.querySelectorAll("input")[index].checked);
			const text = own ? say("addChosen") : say("addAll", { count: products.length });
			box.append(button(text, "add", (pressed) => ticked().length && take(ticked(), pressed)));
		}
		if (decline) {
			box.append(button(say("decline"), "decline", () => {
				record("decline", one);
				if (box.onclosed) box.onclosed();
				else box.remove();
			}));
		}
		box.append(status);
		return box;
	};

	const title = (product) => product.title || product.id;

	const list = (products, one, own, take) => {
		const items = products.map((product) => {
			const picture = address(product.image);
			const name = [picture && h("img", { src: picture, alt: "", width: 96, height: 96 }), h("span", {}, title(product))];
			const href = address(product.url);
			const link = h(href ? "a" : "span", { href }, ...name);
			if (href) link.addEventListener("click", () => record("click", one, { product_id: product.id }));
			const tick = own && h("input", { type: "checkbox", "aria-label": title(product), checked: "" });
			const price = product.price && h("b", {}, money(product.price));
			const press = take && button(say("add"), "add", (pressed) => take([product], pressed), say("addItem", { title: title(product) }));
			return h("li", {}, tick, link, price, press);
		});
		return h("ul", {}, ...items);
	};

	const total = (bundle) =>
		h("p", {},
			Number(bundle.saving) && h("s", {}, money(bundle.full)),
			" ",
			h("strong", {}, money(bundle.price)),
			" ",
			Number(bundle.saving) && h("span", {}, say("saving", { amount: money(bundle.saving) })),
		);

	const dialog = (content, one) => {
		const box = h("dialog", { class: "crosslift-dialog", tabindex: -1, "aria-labelledby": `crosslift-${one.experiment}` });
		const close = (type) => {
			if (type) record(type, one);
			box.close();
			box.remove();
		};
		let dismissed = "dismiss"; // who has taken the offer dismisses nothing
		content.onclosed = () => close();
		content.onadded = () => {
			dismissed = null;
			content.querySelector(".crosslift-decline")?.remove();
			const go = button(say("continue"), "decline", () => close());
			content.append(go);
			go.focus();
		};
		box.append(content, button("×", "close", () => close(dismissed), say("close")));
		box.addEventListener("cancel", (event) => (event.preventDefault(), close(dismissed)));
		box.addEventListener("click", (event) => event.target === box && close(dismissed));
		box.addEventListener("keydown", (event) => {
			if (event.key !== "Tab") return;
			const stops = [...box.querySelectorAll("a[href], button:not(:disabled), input")];
			const [end, start] = event.shiftKey ? [0, -1] : [-1, 0];
			if (![box, stops.at(end)].includes(document.activeElement)) return;
			event.preventDefault();
			stops.at(start).focus();
		});
		document.body.append(box);
		box.showModal();
		box.focus();
		observe(box, one);
	};

	// What is added says which offer it came from, and the cart which visitor.
	const platform = () => settings.platform || answer.platform;
	const path = () => window.Shopify?.routes?.root || "/";
	const post = async (url, body) => {
		const headers = typeof body === "string" ? { "Content-Type": "application/json" } : {};
		const response = await fetch(url, { method: "POST", headers, body });
		// WooCommerce says 200 of what it has not added.
		if (!response.ok || (await response.json().catch(() => null))?.error) throw new Error(`${url}: ${response.status}`);
	};

	const add = async (products, one) => {
		const { experiment, variant } = one;
		const offer = one.exposure_token && variant ? `${experiment}:${variant}` : undefined; // a preview is nobody's order
		const properties = { _crosslift_offer: offer, _crosslift_bundle: one.bundle && `${experiment}:${variant}` };
		try {
			if (listeners.add.length) {
				for (const listener of listeners.add) await listener({ products, properties });
			} else if (platform() === "shopify") {
				await post(`${path()}cart/add.js`, JSON.stringify({ items: products.map(({ id }) => ({ id, quantity: 1, properties })) }));
			} else if (platform() === "woocommerce") {
				for (const { id } of products) {
					await post("/?wc-ajax=add_to_cart", new URLSearchParams({ product_id: id, quantity: 1, crosslift_offer: offer || "" }));
				}
			} else {
				record("click", one, { product_id: products[0].id });
				if (address(products[0].url)) location.assign(products[0].url);
				return false;
			}
		} catch (error) {
			console.warn("crosslift:", error);
			return false;
		}
		for (const { id } of products) record("add_to_cart", one, { product_id: id });
		linkCart();
		document.dispatchEvent(new CustomEvent("crosslift:added", { detail: { products, experiment, variant } }));
		return true;
	};

	const linkCart = () => {
		if (!may()) return;
		const visitor = answer.visitor_id;
		if (platform() === "woocommerce") {
			for (const form of document.querySelectorAll("form.cart, form.checkout")) {
				const field = form.querySelector("[name=crosslift_visitor]") || form.appendChild(h("input", { type: "hidden", name: "crosslift_visitor" }));
				field.value = visitor;
			}
		} else if (platform() === "shopify" && session.read("linked") !== visitor) {
			post(`${path()}cart/update.js`, JSON.stringify({ attributes: { __crosslift_visitor: visitor } }))
				.then(() => session.keep("linked", visitor))
				.catch(() => {});
		}
	};

	const setPage = (name, context) => {
		const product = !context.product_id && may() && local.read("product");
		page = { name, context: { ...product, ...context } }; // the cart's page speaks of the last product
		if (context.product_id) {
			const { cart, ...kept } = context;
			local.keep("product", kept);
		}
		metHere = new Set();
		early = [];
		shown.clear();
		answer = null;
		offers = [];
		for (const element of document.querySelectorAll(".crosslift, .crosslift-dialog")) element.remove();
	};

	const api = {
		on: (name, listener) => listeners[name].push(listener),
		trigger: (name) => trigger(name),
		page: (name, context = {}) => (setPage(name, context), load()),
		push: (action) => action(api),
		identify: (customer_id, company_id) => may() && ask("identify", JSON.stringify({ customer_id, company_id })),
		consent: (given) => {
			const before = may();
			allowed = Boolean(given);
			if (may() && !before) api.page(page.name, page.context);
			if (given) return;
			turn++;
			waiting.clear();
			for (const area of [local, session]) area.names("").forEach(area.drop);
		},
	};

	const style = new CSSStyleSheet();
	style.replaceSync(`
		.crosslift, .crosslift-dialog {
			color: var(--crosslift-text, inherit);
			& h2 { margin: 0 0 .75rem; font-size: 1.125rem; }
			& ul { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: .75rem; margin: 0; padding: 0; list-style: none; }
			& li { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; padding: .75rem; background: var(--crosslift-surface, Canvas); border: 1px solid var(--crosslift-border, GrayText); border-radius: var(--crosslift-radius, .5rem); }
			& li > :is(a, span) { display: flex; flex: 1 1 7rem; align-items: center; gap: .75rem; color: inherit; }
			& li > b { font-weight: inherit; }
			& img { width: 3rem; height: 3rem; border-radius: .25rem; }
			& p { margin: .75rem 0; }
			& button { min-height: 2.75rem; padding: .5rem .875rem; font: inherit; color: inherit; background: none; border: 1px solid transparent; border-radius: var(--crosslift-radius, .5rem); cursor: pointer; text-decoration: underline; }
			& .crosslift-add { font-weight: 600; text-decoration: none; }
			& .crosslift-add:enabled { color: var(--crosslift-on-accent, Canvas); background: var(--crosslift-accent, CanvasText); }
			& :focus-visible { outline: 3px solid; outline-offset: 2px; }
			& [role=status] { min-height: 1.3em; margin: .5rem 0 0; }
		}
		.crosslift-dialog {
			width: min(26rem, 100vw - 2rem); padding: 1.5rem; outline: 0; color: var(--crosslift-text, CanvasText); background: var(--crosslift-surface, Canvas); border: 1px solid var(--crosslift-border, GrayText); border-radius: calc(2 * var(--crosslift-radius, .5rem));
			&::backdrop { background: rgb(0 0 0 / .5); }
			& h2 { padding-right: 2.5rem; }
			& .crosslift-close { position: absolute; top: .75rem; right: .75rem; width: 2.75rem; padding: 0; font-size: 1.5rem; text-decoration: none; }
		}
		.crosslift-in-announcement_bar {
			overflow-x: auto;
			&, & ul, & li { display: flex; flex-wrap: nowrap; justify-content: safe center; align-items: center; gap: 1rem; padding: 0; border: 0; background: none; white-space: nowrap; }
			& :is(h2, p) { margin: 0; font-size: 1rem; text-wrap: nowrap; }
			& img { display: none; }
		}
	`);
	document.adoptedStyleSheets = [...document.adoptedStyleSheets, style];

	Object.assign(labels, parsed(settings.labels));
	const queued = Array.isArray(window.crosslift) ? window.crosslift : [];
	window.crosslift = api;
	new PerformanceObserver(confirm).observe({ type: "resource", buffered: true });
	addEventListener("pagehide", beacon);
	addEventListener("visibilitychange", () => document.hidden && waiting.size && beacon());
	addEventListener("online", deliver);
	addEventListener("pageshow", (event) => event.persisted && deliver());
	document.addEventListener("submit", (event) => {
		if (!event.target.matches('form[action*="/cart/add"], [data-crosslift-add]')) return;
		const leaving = !event.defaultPrevented; // what is shown after adding is shown by the next page
		if (leaving) session.keep("added", Date.now());
		trigger("add_to_cart", leaving);
	});
	window.jQuery?.(document.body).on("added_to_cart", () => trigger("add_to_cart"));
	setPage(settings.page || "", parsed(settings.context));
	queued.forEach(api.push);
	if (!turn) load();
})();
