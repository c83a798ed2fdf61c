// Evaluates flags with the Node provider; prints what the SDK gives as JSON.
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const [baseUrl, key] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers: [["Authorization", `Bearer ${key}`]] }));
const client = OpenFeature.getClient();
const ask = (flag, context) => client.getObjectDetails(flag, { none: true }, context);

const visitors = {};
for (let number = 0; number < 20; number++) visitors[`v${number}`] = await ask("ab", { targetingKey: `v${number}` });
console.log(JSON.stringify({
  visitors,
  phone: await ask("phones", { targetingKey: "anna", device: "mobile" }),
  desktop: await ask("phones", { targetingKey: "anna", device: "desktop" }),
  unknown: await ask("nothing", { targetingKey: "anna" }),
  nobody: await ask("ab", {}),
  text: await client.getStringDetails("ab", "none", { targetingKey: "anna" }),
}));
