// Creates a key, finds it in the list and deletes it, with a client of openapi-fetch and the generated types.

import createClient from "openapi-fetch";
import type { paths } from "./build/keygate.js";

const client = createClient<paths>({
  baseUrl: process.env.KEYGATE_API_URL!,
  headers: { Authorization: `Bearer ${process.env.KEYGATE_KEY}` },
});

const created = await client.POST("/api-keys", {
  body: { name: "Generated in TypeScript", scopes: ["orders:read"], expires_in: 3600 },
});
if (created.error) {
  throw new Error(`the key is not created: ${created.error.title}`);
}
const { id } = created.data;

const listed = await client.GET("/api-keys", { params: { query: { name: "Generated in TypeScript" } } });
const found = listed.data?.items.map((key) => key.id);
if (!found?.includes(id)) {
  throw new Error(`the list has ${found}, and not ${id}`);
}

const deleted = await client.DELETE("/api-keys/{id}", { params: { path: { id } } });
if (deleted.response.status !== 204) {
  throw new Error(`the deletion responds with ${deleted.response.status}`);
}
const missing = await client.GET("/api-keys/{id}", { params: { path: { id } } });
console.log(missing.error?.status);
