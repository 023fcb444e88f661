import assert from "node:assert/strict";
import { test } from "node:test";
import { curl, envFile, variableName } from "../src/snippets.js";

test("a variable's name is made of what the key's name has of ASCII", () => {
  const names = ["Nightly export", "Zürich – Büro", "<img src=x>", "7 dwarfs", "مفتاح", "a".repeat(100)];
  assert.deepEqual(names.map(variableName), [
    "NIGHTLY_EXPORT_API_KEY",
    "ZURICH_BURO_API_KEY",
    "IMG_SRC_X_API_KEY",
    "API_KEY",
    "API_KEY",
    `${"A".repeat(40)}_API_KEY`,
  ]);
});

test("an .env file is one line that needs no quotes, whatever the name is", () => {
  assert.equal(envFile("a\nEVIL=1", "kg_key_1"), "A_EVIL_1_API_KEY=kg_key_1\n");
});

test("the command asks who the key is", () => {
  assert.equal(curl("https://k.example.com/v1/", "kg_key_1"), 'curl "https://k.example.com/v1/me" -H "Authorization: Bearer kg_key_1"');
});
