// What the page asks of the server. Errors are sentences that can be shown as they are.

export class Sentence extends Error {}

async function answer(response) {
  if (response.ok) return response;
  let sentence = "The server is busy. Please try again in a moment.";
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // not ours: the server had no room for one more connection
  }
  throw new Sentence(sentence);
}

async function ask(address, options) {
  try {
    return await answer(await fetch(address, options));
  } catch (error) {
    if (error instanceof Sentence || error.name === "AbortError") throw error;
    throw new Sentence("The server does not answer. Is “nucleus app” still running?");
  }
}

export const settings = async () => (await ask("/api/settings")).json();
export const example = async (key) => (await ask(`/examples/${key}.png`)).blob();
export const nuclei = async (key) => (await ask(`/api/images/${key}/nuclei`)).json();
export const pictureAddress = (key) => `/api/images/${key}/picture`;
export const forget = (key) => ask(`/api/images/${key}`, { method: "DELETE" }).catch(() => {});

export async function download(key, format, threshold) {
  const response = await ask(`/api/images/${key}/download/${format}?threshold=${threshold}`);
  const name = decodeURIComponent(/filename\*=UTF-8''([^;]+)/.exec(response.headers.get("Content-Disposition"))[1]);
  return { name, content: await response.blob() };
}

// Sends a file and yields each state of the work on it: waiting, running, choose, or done. A failure is thrown.
export async function* work(file, name, choice, signal) {
  const query = new URLSearchParams(Object.entries(choice).filter(([, value]) => value !== null && value !== undefined));
  const response = await ask(`/api/images?${query}`, {
    method: "POST",
    body: file,
    signal,
    headers: { "Content-Type": "application/octet-stream", "X-Image-Name": encodeURIComponent(name.slice(-200)) },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let last = null;
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      if (last.state === "failed") throw new Sentence(last.error);
      yield last;
    }
    if (done) break;
  }
  if (!["done", "choose"].includes(last?.state)) throw new Sentence("The server stopped before it was done.");
}
