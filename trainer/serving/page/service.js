// Requests to the service: the token, waiting where it is busy, and errors as sentences.

const PATIENCE_MS = 120_000;

let token = sessionStorage.getItem("token") ?? "";

/** An answer that is none: `status` 401 asks for the token. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

/** Ask the service; wait and ask again while it has no room. Throws Refusal. */
export async function ask(path, parameters = {}, body = null) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null);
  const address = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body) headers["Content-Type"] = body.type || "application/octet-stream";
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    let response;
    try {
      response = await fetch(address, { method: body ? "POST" : "GET", headers, body });
    } catch {
      throw new Refusal(0, "the service does not answer; is it still running?");
    }
    if (response.ok) return response;
    if (response.status !== 503 || performance.now() > until) throw new Refusal(response.status, await reason(response));
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((done) => setTimeout(done, 1000 * Math.min(10, seconds)));
  }
}

async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the service answers ${response.status}`;
  }
}

/** Picture of a base64 text, PNG. */
export async function pictureOf(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
}
