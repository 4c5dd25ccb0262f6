// Questions to the server that sent this page, and to no other.

async function answer(response) {
  if (response.ok) return response.json();
  let text = `${response.status} ${response.statusText}`;
  try {
    const told = await response.json();
    text = told.error ?? text;
  } catch { /* a refusal in plain words */ }
  throw new Error(text);
}

export async function get(path, query = {}, signal = undefined) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== "" && value !== null && value !== undefined) words.set(name, value);
  const text = words.toString();
  return answer(await fetch(text ? `${path}?${text}` : path, { signal, credentials: "same-origin" }));
}

export async function post(what, change) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(change), credentials: "same-origin" };
  return answer(await fetch(`/api/change/${what}`, options));
}
