// Evaluates flags with the browser's provider; prints what the SDK gives, and each request's status, as JSON.
import { OpenFeature } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const [baseUrl, key] = process.argv.slice(2);
const statuses = [];
const fetchImplementation = async (...request) => {
  const response = await fetch(...request);
  statuses.push(response.status);
  return response;
};
const provider = new OFREPWebProvider({
  baseUrl, fetchImplementation, headers: [["Authorization", `Bearer ${key}`]], cacheMode: "disabled", pollInterval: 200,
});
await OpenFeature.setContext({ targetingKey: "anna" });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
const ask = (flag) => client.getObjectDetails(flag, { none: true });

const first = { ab: ask("ab"), phones: ask("phones"), members: ask("members"), unknown: ask("nothing") };
await new Promise((resolve) => setTimeout(resolve, 700));
const polled = [...statuses];
await OpenFeature.setContext({ targetingKey: "anna", device: "mobile", customer_id: "c-7" });
const changed = { ab: ask("ab"), phones: ask("phones"), members: ask("members") };
await OpenFeature.setContext({ targetingKey: "bert" });
const other = { ab: ask("ab") };
let refused = null;
await OpenFeature.clearProviders();
await OpenFeature.setContext({});
try {
  await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers: [["X-API-Key", key]], cacheMode: "disabled" }));
} catch (error) {
  refused = error.message;
}
console.log(JSON.stringify({ first, polled, changed, other, refused, statuses }));
process.exit(0);
