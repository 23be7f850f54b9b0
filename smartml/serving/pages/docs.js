// Shows the OpenAPI description of this server, with nothing from elsewhere.
"use strict";

const $ = (id) => document.getElementById(id);
let token = "";

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function shown(title, value) {
  return [make("p", { textContent: title }), make("pre", { textContent: JSON.stringify(value, null, 2) })];
}

// Puts what a schema refers to in its place.
function whole(schema, schemas) {
  if (Array.isArray(schema)) return schema.map((part) => whole(part, schemas));
  if (schema === null || typeof schema !== "object") return schema;
  if (schema.$ref) {
    const { $ref, ...rest } = schema;
    return { ...whole(schemas[$ref.split("/").pop()], schemas), ...rest };
  }
  return Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, whole(part, schemas)]));
}

function command(method, path, content) {
  const place = new URL(path.slice(1), location.href).href;
  if (method === "get") return `curl ${place}`;
  // As a shell reads it: a quote ends the text, is escaped, and begins it again.
  const body = JSON.stringify(content.example).replaceAll("'", "'\\''");
  return `curl -X ${method.toUpperCase()} -H 'Content-Type: application/json' \\\n  -d '${body}' ${place}`;
}

function operation(path, method, described, schemas) {
  const parts = [
    make("h2", {}, make("span", { className: "method", textContent: method.toUpperCase() }), ` ${path}`),
    make("p", { textContent: described.summary || "" }),
  ];
  const body = described.requestBody && described.requestBody.content["application/json"];
  parts.push(make("pre", { textContent: command(method, path, body) }));
  if (body) parts.push(...shown("Body", whole(body.schema, schemas)));
  for (const [status, response] of Object.entries(described.responses)) {
    const content = Object.values(response.content || {})[0];
    const details = make("details", {}, make("summary", { textContent: `${status}: ${response.description}` }));
    if (content) details.append(...shown("", whole(content.schema, schemas)));
    parts.push(details);
  }
  return make("section", {}, ...parts);
}

async function begin() {
  const response = await fetch("openapi.json", token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  $("access").hidden = response.status !== 401;
  if (!response.ok) return;
  const description = await response.json();
  const schemas = (description.components || {}).schemas || {};
  $("operations").replaceChildren(...Object.entries(description.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, described]) => operation(path, method, described, schemas))));
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  begin();
});
begin();
